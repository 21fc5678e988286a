#!/usr/bin/env bash
# Several machines, without a scheduler. Start it on each of them, with the same HEAD and NODES:
#   HEAD=first-host NODES=2 launchers/several_nodes.sh [stage.field=value ...]
# RUNS must be on a file system that all of them see. The port must be closed to anyone else: whoever reaches it
# can join the run.
set -euo pipefail

HEAD="${HEAD:?the first machine by name or address}"
NODES="${NODES:?how many machines}"
PORT="${PORT:-29500}"
MODEL="${MODEL:-Qwen/Qwen2.5-7B}"
TASK="${TASK:-countdown}"
RECIPE="${RECIPE:-r1_zero}"
RUNS="${RUNS:-runs}"
GPUS="${GPUS:-$(nvidia-smi --list-gpus | wc -l)}"

exec torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" \
    --rdzv-backend c10d --rdzv-id "${ID:-aha}" --rdzv-endpoint "$HEAD:$PORT" \
    -m aha run "$RECIPE" --model "$MODEL" --task "$TASK" --runs-dir "$RUNS" --plain "$@"
