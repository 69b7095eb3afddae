# The one door to everything: `make` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# Tests start many processes: none of them compiles again what another has compiled, whatever the environment says.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest
# `make test TESTS=tests/stats` runs a part.
TESTS ?=
WORKERS ?= auto
# `make bench-serving BENCH=--quick` measures for a shorter time; so does bench-releases.
BENCH ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow e2e check lint format types imports docs docs-serve docs-settings bench bench-drift bench-releases bench-serving bench-statistics requirements clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv with everything that is needed (only when something changed)

$(STAMP): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)'. Install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Homeostat needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about 2 minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## live through the simulated year of a phishing detector, and write its report
	@$(BIN)/homeostat demo

test: setup ## run the tests, two at a time on two cores
	@$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow" $(TESTS)

test-slow: setup ## run the tests that take longer than ten seconds each, two files at a time on two cores
	@$(PYTEST) -n $(WORKERS) --dist loadfile -m slow $(TESTS) || { status=$$?; test $$status -eq 5 && echo "There are no slow tests."; }

e2e: setup ## run the tests in a real browser
	@$(PYTEST) tests/e2e

check: lint types imports docs test ## everything that a change must pass

lint: setup ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## mend style and format where it can be done by machine
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

types: setup ## check types
	@$(BIN)/mypy

imports: setup ## check who imports whom
	@$(BIN)/lint-imports --no-cache

docs: setup ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

docs-serve: setup ## show the documentation while it is being written
	@$(BIN)/mkdocs serve

docs-settings: setup ## write the settings table of docs/settings.md anew
	@$(BIN)/python tests/docs/settings_page.py

bench-statistics: setup ## measure every error rate that the documentation states (about 10 minutes)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.statistics

bench-drift: setup ## time comparisons beside sorting the same columns
	@$(BIN)/python benchmarks/drift_speed.py

bench-serving: setup ## serve the same model with Homeostat and others, and write docs/serving-speed.md (about 25 minutes)
	@$(BIN)/python -m benchmarks.serving $(BENCH)

bench-releases: setup ## simulate rollouts, time rollbacks under load, and write docs/releases-measured.md (about 15 minutes)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.releases $(BENCH)

bench: setup ## run the other benchmarks
	@for script in benchmarks/backtest_speed.py benchmarks/log_speed.py; do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

requirements: setup ## lock the newest versions of everything into requirements/dev.txt (needs uv)
	@command -v uv >/dev/null || { echo "This needs uv: python3 -m pip install uv" >&2; exit 1; }
	@uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --group dev --output-file requirements/dev.txt pyproject.toml

clean: ## remove everything that was made, .venv and .venvs too
	@rm -rf $(VENV) .venvs site dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
