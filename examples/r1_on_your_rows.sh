#!/usr/bin/env bash
# The whole recipe on your rows: examples/r1_on_your_rows.sh train.jsonl test.jsonl
#
#     BASE     the base model (default Qwen/Qwen2.5-1.5B)
#     TEACHER  who rewrites, judges and answers general questions: http://HOST:PORT/v1#MODEL; its key stays in your
#              environment (docs/r1.md)
#
# What follows the two files is given to `aha r1`: `--dry-run` shows the plan, `zero.steps=50` changes a setting.
set -euo pipefail
train=${1:?"rows for training, as JSON Lines with question and answer"}
test=${2:?"rows for the test"}
shift 2
BASE=${BASE:-Qwen/Qwen2.5-1.5B}
TEACHER=${TEACHER:?"set TEACHER=http://HOST:PORT/v1#MODEL"}

aha r1 --base "$BASE" --tasks math --data "$train" --test-data "$test" --teacher "$TEACHER" "$@"
