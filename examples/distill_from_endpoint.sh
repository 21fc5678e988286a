#!/usr/bin/env bash
# A small model learns from the right answers of a larger one behind an address. No GPU is needed for the teacher:
# any server of OpenAI's API will do, also `aha serve MODEL` on another machine.
#
#     TEACHER=http://HOST:PORT/v1#MODEL examples/distill_from_endpoint.sh rows.jsonl
#
# The teacher answers each question several times; answers that the verifier calls right, and that are readable, become the
# student's training data (runs/distill/reject/data.jsonl).
set -euo pipefail
rows=${1:?"rows with question and answer, as JSON Lines"}
shift
STUDENT=${STUDENT:-Qwen/Qwen2.5-0.5B-Instruct}
TEACHER=${TEACHER:?"set TEACHER=http://HOST:PORT/v1#MODEL"}

aha distill --teacher "$TEACHER" --student "$STUDENT" --task math --data "$rows" "$@"
