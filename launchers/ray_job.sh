#!/usr/bin/env bash
# A job of a Ray cluster: RAY_ADDRESS=http://head:8265 launchers/ray_job.sh [stage.field=value ...]
# The command runs on the head and places one rank a GPU, on any of the nodes; ranks that are lost start again from
# the last checkpoint. aha must be installed on all nodes (launchers/Dockerfile makes such an image), and RUNS must be
# on a file system that all of them see, and outlive them.
set -euo pipefail

: "${RAY_ADDRESS:?the address of the dashboard, http://head:8265}"
MODEL="${MODEL:-Qwen/Qwen2.5-1.5B}"
TASK="${TASK:-countdown}"
RECIPE="${RECIPE:-r1_zero}"
RUNS="${RUNS:-/shared/runs}"
GPUS="${GPUS:-8}"

exec ray job submit --address "$RAY_ADDRESS" -- \
    aha run "$RECIPE" --model "$MODEL" --task "$TASK" --runs-dir "$RUNS" --plain \
    --ray-ranks "$GPUS" ranks.cpus=4 ranks.gpus=1 "$@"
