#!/usr/bin/env bash
# Every GPU of one machine: launchers/one_node.sh [stage.field=value ...]
# MODEL, TASK, RECIPE, GPUS and RUNS change what runs. The same command continues an interrupted run.
set -euo pipefail

MODEL="${MODEL:-Qwen/Qwen2.5-1.5B}"
TASK="${TASK:-countdown}"
RECIPE="${RECIPE:-r1_zero}"
RUNS="${RUNS:-runs}"
GPUS="${GPUS:-$(nvidia-smi --list-gpus | wc -l)}"

exec torchrun --standalone --nproc-per-node "$GPUS" \
    -m aha run "$RECIPE" --model "$MODEL" --task "$TASK" --runs-dir "$RUNS" --plain "$@"
