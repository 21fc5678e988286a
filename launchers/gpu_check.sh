#!/usr/bin/env bash
# Everything that only a GPU can show, in twelve minutes and without a network: launchers/gpu_check.sh [--dry-run]
# Verdicts go to OUT (gpu_check.json). PYTHON names the environment's python; AHA_PEERS the folder of TRL's and vLLM's.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
OUT="${OUT:-gpu_check.json}"
if [ -z "${PYTHON:-}" ]; then
    PYTHON="$ROOT/.venv/bin/python"
    [ -x "$PYTHON" ] || PYTHON="python3"
fi
if ! "$PYTHON" -c 'import torch, transformers' 2>/dev/null; then
    echo "$PYTHON has no torch and transformers: run 'make setup', or set PYTHON to an environment that has them." >&2
    exit 1
fi
export PYTHONPATH="$ROOT/src${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" -m aha bench gpu --out "$OUT" "$@"
