# Needs python3 (3.11 or newer), pip and make; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := check
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# The interpreter that .venv is made of, when it is made: 3.11 or newer.
PYTHON ?= python3
READY := .venv/.ready

# Without byte code the workflow sandbox compiles every module again for every workflow.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS ?= never

.PHONY: check test unit lint format demo sim parity campaign bench crash help

check: lint unit ## Format, lint, types, import rules and unit tests: under a minute

test: lint ## Everything: check, and the tests that start real servers and processes; ARGS="-m long" for the long ones
	$(BIN)/pytest -n 3 --dist loadfile $(or $(ARGS),-m "not long")

unit: $(READY) ## The fast tests alone
	$(BIN)/pytest -q -m "not slow and not e2e"

lint: $(READY) ## Format, lint, types and import rules, changing nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

demo: $(READY) ## A deployment that survives kill -9, under live traffic; ARGS="--kills 40 --seed 7"
	$(BIN)/stormsail demo $(ARGS)

sim: $(READY) ## Look for broken promises on a simulated machine; MINUTES=2 SEED=7 MUTANT=timer-early
	$(BIN)/stormsail sim --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED)) $(if $(MUTANT),--mutant $(MUTANT))

parity: $(READY) ## The same happenings for our core, our server and Temporal's; says how many agree
	PYTHONPATH=tests $(BIN)/python -m parity $(ARGS)

campaign: $(READY) ## Operations on a faulty cloud, the durable way and the polling way; ARGS="--operations 20000 --arm both"
	$(BIN)/stormsail campaign $(or $(ARGS),--operations 20000 --arm both --report bench/report)

bench: $(READY) ## The same workload on us and on our peers, side by side; writes bench/report/
	$(BIN)/python -m bench $(ARGS)

crash: $(READY) ## Kill -9 of a real server and worker under load; KILLS=30 SEED=7
	PYTHONPATH=tests $(BIN)/python -m crash --kills $(or $(KILLS),30) $(if $(SEED),--seed $(SEED))

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stormsail needs Python 3.11 or newer; $(PYTHON) is " + sys.version)'
	@# Distributions that split ensurepip off can still make an environment and fill it with their own pip.
	test -x $(BIN)/python || $(PYTHON) -m venv .venv 2>/dev/null || $(PYTHON) -m venv --clear --without-pip .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv 2>/dev/null || $(PYTHON) -m pip --python $(BIN)/python install --quiet uv
	$(BIN)/uv sync --frozen --quiet
	@touch $@
