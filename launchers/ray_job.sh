#!/usr/bin/env bash
# One node of a Ray cluster: RAY_ADDRESS=http://head:8265 launchers/ray_job.sh [stage.field=value ...]
# The job asks Ray for the GPUs and torchrun divides them among its ranks. aha must be installed on the nodes
# (launchers/Dockerfile makes such an image), and RUNS must outlive them.
set -euo pipefail

: "${RAY_ADDRESS:?the address of the dashboard, http://head:8265}"
MODEL="${MODEL:-Qwen/Qwen2.5-1.5B}"
TASK="${TASK:-countdown}"
RECIPE="${RECIPE:-r1_zero}"
RUNS="${RUNS:-/shared/runs}"
GPUS="${GPUS:-8}"

exec ray job submit --address "$RAY_ADDRESS" \
    --entrypoint-num-gpus "$GPUS" --entrypoint-num-cpus "$((4 * GPUS))" -- \
    torchrun --standalone --nproc-per-node "$GPUS" \
    -m aha run "$RECIPE" --model "$MODEL" --task "$TASK" --runs-dir "$RUNS" --plain "$@"
