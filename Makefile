# make demo | test | check | bench; each installs what it needs first
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test check bench clean

help:  ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*##/ -/'

install: .venv/.installed  ## make .venv and install everything into it; quick when nothing changed

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tilegate needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch .venv/.installed

demo: install  ## two images with known areas, measured through Prefect
	$(BIN)/tilegate demo

test: install  ## all tests
	$(BIN)/python -m pytest

check: install  ## lint, format, strict types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: install  ## speed and memory against a plain loop and against the limits; forty minutes; ARGS=--quick takes a few
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)

clean:  ## remove what was made
	rm -rf .venv demo-out bench-out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
