#!/usr/bin/env bash
# GRPO on Qwen2.5-1.5B-Instruct and GSM8K, on a GPU. Settings are in qwen_grpo.toml; words given here are stronger:
#
#     examples/qwen_grpo.sh rl.lora_rank=16 --trackers wandb
#     MODEL=Qwen/Qwen2.5-0.5B-Instruct examples/qwen_grpo.sh
#     DATA=train.jsonl examples/qwen_grpo.sh          # rows of your own, in place of the hub's
set -euo pipefail
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
RUN=${RUN:-qwen-grpo}

aha zero --model "$MODEL" --task gsm8k ${DATA:+--data "$DATA"} --run "$RUN" \
  --config "$(dirname "$0")/qwen_grpo.toml" "$@"
echo "The page: runs/$RUN/report.html. Talk to it: aha chat runs/$RUN/rl/final"
