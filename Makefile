.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11 python3.12 python3 python
FOUND = $(shell for p in $(PYTHON); do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?=
# Of which many dates are judged as first days.
FRESH ?=
# Labelled payments, those of the tests if they are there.
PAYMENTS ?= $(wildcard $(addsuffix /transactions/*,$(TAPEWATCH_TEST_DATA)))
SPEED ?= 60
PORT ?= 8501
# Of the study that `make evaluate` makes again: with five of them a single kind is told to within .07 only.
SEEDS = $(shell seq 72001 72025)
# One more than there are cores: many tests wait for a server.
TESTERS = $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4)))
STREAMLIT := $(BIN)/streamlit run dashboard/app.py --server.address 127.0.0.1 --server.port $(PORT) \
	--server.showEmailPrompt false --browser.gatherUsageStats false --client.toolbarMode minimal

.PHONY: help demo test lint bench quality evaluate real dashboard api live clean

help: ## what the targets do
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

# Marked last, so that an environment whose making broke off is made again.
$(VENV)/.made:
	$(if $(FOUND),,$(error tapewatch needs Python 3.11 or 3.12 as one of $(PYTHON); found \
		$(or $(shell for p in $(PYTHON); do $$p --version; done 2>/dev/null | sort -u | tr '\n' ' '),none)))
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(FOUND) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing what tapewatch runs on ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.dashboard: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing what the dashboard needs ..."
	@$(PIP) -e '.[dashboard]'
	@touch $@ $(VENV)/.run

$(VENV)/.api: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing what the API needs ..."
	@$(PIP) -e '.[api]'
	@touch $@ $(VENV)/.run

$(VENV)/.kafka: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing what Kafka needs ..."
	@$(PIP) -e '.[kafka]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing what the tests need ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.dashboard $(VENV)/.api $(VENV)/.kafka $(VENV)/.run

demo: $(VENV)/.run ## a simulated session (or DATA="a.dbn.zst b.dbn.zst"), judged and explained
	@$(BIN)/tapewatch demo $(DATA)

# The processes that tests start find the modules compiled, whatever the environment says.
test: $(VENV)/.dev ## every test
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(TESTERS) --dist loadgroup

lint: $(VENV)/.dev ## style, types and layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/.dev ## speed and memory, each beside its alternative
	@$(BIN)/python -m benchmarks

quality: $(VENV)/.dev ## alarm budget and recall on simulated sessions, into docs/
	@$(BIN)/tapewatch evaluate injected --out docs
	@$(BIN)/python -m models.rule_quality --out docs
	@$(BIN)/python -m models.model_quality --out docs
	@if [ -n "$(PAYMENTS)" ]; then $(BIN)/tapewatch evaluate transactions $(addprefix --data ,$(PAYMENTS)); \
	else echo 'No labelled payments: make quality PAYMENTS="seed003-train.csv" measures how frauds are ranked.'; fi

evaluate: $(VENV)/.dev ## detectors and baselines on bars: make evaluate DATA="a.parquet b.dbn.zst"
	@$(BIN)/tapewatch evaluate injected --bars $(addprefix --data ,$(DATA)) $(addprefix --seed ,$(SEEDS)) --out docs --json models/injected-bars.json

real: $(VENV)/.dev ## alarms on real days: make real DATA="day.dbn.zst" FRESH="day.dbn.zst bars.parquet"
	@$(BIN)/tapewatch evaluate real $(addprefix --data ,$(DATA)) $(addprefix --fresh ,$(FRESH)) --out docs --json models/real-days.json

dashboard: $(VENV)/.dashboard ## the demo's results in the browser, or those of `sinks.sqlite.path`
	@if [ -z "$$TAPEWATCH_SINKS__SQLITE__PATH" ] && [ -f demo/tapewatch.db ]; then \
		export TAPEWATCH_SINKS__SQLITE__PATH=demo/tapewatch.db; fi; exec $(STREAMLIT)

api: $(VENV)/.api ## the demo's results over HTTP, or those of `sinks.sqlite.path`
	@if [ -z "$$TAPEWATCH_SINKS__SQLITE__PATH" ] && [ -f demo/tapewatch.db ]; then \
		export TAPEWATCH_SINKS__SQLITE__PATH=demo/tapewatch.db; fi; exec $(BIN)/python -m api

live: $(VENV)/.dashboard ## a simulated market at SPEED=60 times real time, judged, with the dashboard
	@exec $(BIN)/python -m dashboard.live --speed $(SPEED) --port $(PORT)

clean: ## remove the environment and what the demo made
	@rm -rf $(VENV) demo
