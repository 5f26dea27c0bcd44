# make demo   from a crawl to a scaling law, on this machine, in minutes
# make test   the whole test suite
# Both set everything up themselves: a virtual environment in .venv, installed once and used again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export LADDER_LAKE ?= $(CURDIR)/lake
# Test processes; a test may itself start several, so more than the cores would only make them wait.
PROCESSES ?= auto

.PHONY: install demo test check bench up down clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dataladder needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (some 2 GB, a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: install
	@$(BIN)/ladder demo $(ARGS)

test: install
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --maxprocesses 4 --dist loadscope --no-loadscope-reorder $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || without="$$without $$script"; done; \
	test -z "$$without" || { echo "these need data or a library, and said what:$$without"; exit 1; }

up: install
	@$(BIN)/ladder up

down: install
	@$(BIN)/ladder down

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
