.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
DATA ?=

.PHONY: help demo test lint bench quality clean

help: ## what the targets do
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "tapewatch: needs Python 3.11 or 3.12 on the PATH, found $$(python3 --version 2>&1 || echo none)" >&2; exit 2; fi
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what tapewatch runs on ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## a simulated session (or DATA="a.dbn.zst b.dbn.zst"), judged and explained
	@$(BIN)/tapewatch demo $(DATA)

test: $(VENV)/.dev ## every test
	@$(BIN)/python -m pytest -q

lint: $(VENV)/.dev ## style, types and layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/.dev ## speed and memory, each beside its alternative
	@$(BIN)/python -m benchmarks

quality: $(VENV)/.dev ## alarm budget and recall on simulated sessions, into docs/
	@$(BIN)/python -m models.quality --out docs

clean: ## remove the environment and what the demo made
	@rm -rf $(VENV) demo
