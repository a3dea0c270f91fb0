# Each target makes what it needs first: a virtual environment in .venv with pinned versions.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin

.PHONY: demo test study lint format types docs clean

# Explains every head of a real language model on the built-in stories, then puts programs in the
# place of a quarter of them, lets the model tell a story with and without, and makes a page of it all.
demo: .venv/.installed
	@$(BIN)/headscript explain smollm2-135m --texts stories --max-texts 90 --max-tokens 128 \
	  --fit-cells 50000 --out runs/demo
	@$(BIN)/headscript generate runs/demo --replace 0.25 "Once upon a time"
	@$(BIN)/headscript report runs/demo

test: .venv/.installed
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

# The study of small models with its quick settings: some layers of each, in a few minutes.
study: .venv/.installed
	@$(BIN)/headscript study small --quick --out runs/study

lint: .venv/.installed
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "Some files are not formatted; 'make format' mends that." >&2; exit 1; }

format: .venv/.installed
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

types: .venv/.installed
	@$(BIN)/mypy

# Writes the pages that are made from the code.
docs: .venv/.installed
	@$(BIN)/python docs/generate.py

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "headscript needs Python 3.11 or newer, and $(PYTHON) is not ($$($(PYTHON) --version 2>&1)): name one that is, as in 'make PYTHON=python3.12 $(MAKECMDGOALS)'." >&2; exit 2; }
	@echo "Installing headscript into .venv, once; this takes a minute or a few." >&2
	@$(PYTHON) -m venv .venv >&2 || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv." >&2; exit 2; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,linguistics,figures,report,eval,llm,ray]'
	@touch $@
