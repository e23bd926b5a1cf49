# `make help` lists the targets.
#
# PYTHON     the interpreter that makes .venv (3.11 or 3.12)
# PIP_FLAGS  more arguments for pip, for example an index with CPU builds of torch
# WORKERS    processes that run the tests

PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# Every call has the constraints, so that no version is fetched only to be replaced later. A CPU
# build such as 2.13.0+cpu satisfies the pin of torch, and pip prefers it wherever it is offered.
# Modules are compiled when they are first imported: most never are, and all of them take a minute.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	-c constraints.txt $(PIP_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## install, then train, evaluate and plot on T-Maze (about ten minutes)
	$(BIN)/retain demo

test: $(VENV)/.installed-dev  ## run the tests; at least 90 % of the code must be covered
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term-missing:skip-covered --cov-fail-under=90

check: $(VENV)/.installed-dev  ## lint, format, types, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## run every benchmark
	@set -e; for file in demo tmaze_memory valve_kinds retention certificates places items recall rich_memory lengths speed env_speed online_speed memory_rl short_corridors growing memory_chain memory_chain_ppo pendulum all_models; do \
		echo "== $$file"; $(BIN)/python benchmarks/$$file.py; done

docs: $(VENV)/.installed  ## write tables and figures of the documents anew, from the results
	$(BIN)/python benchmarks/tables.py

clean:  ## delete the environment, caches and build output; runs and datasets stay
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.egg-info' -type d -prune -exec rm -rf {} +

# The stamps are newer than these two files when what they ask for is installed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "retain needs Python 3.11 or 3.12; run: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
