# Every command of the project. On a machine with Python 3.11 or newer, git and make, nothing else is needed:
# each command makes the environment it uses (with uv when it can, with pip otherwise) from the pinned files in
# requirements/. A second run installs nothing unless pyproject.toml, the pins or scripts/env.sh changed.
#
# Variables: PYTHON=/path/to/python3 chooses the interpreter, ARGS='...' goes on to the command.

.DEFAULT_GOAL := help
PYTHON ?=
ARGS ?=
UPGRADE ?=
export PYTHON

# A door has its own tests (tests/doors_x), its own pins (requirements/x.txt) and hence its own environment (.venv-x).
DOORS := $(foreach door,$(patsubst tests/doors_%,%,$(wildcard tests/doors_*)),$(if $(wildcard requirements/$(door).txt),$(door)))
DOOR_STAMPS := $(foreach door,$(DOORS),.venv-$(door)/.stamp)
LOCKS := dev demo litellm langchain agents
BIN := .venv/bin

.PHONY: help demo test check env doors bench bench-check arena torture fuzz docs dist lock format clean
.PRECIOUS: .venv-%/.stamp

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environments ---------------------------------------------------------------------------------------------------

.venv/.stamp: requirements/dev.txt pyproject.toml scripts/env.sh
	@sh scripts/env.sh .venv requirements/dev.txt

.venv-%/.stamp: requirements/%.txt pyproject.toml scripts/env.sh
	@sh scripts/env.sh .venv-$* requirements/$*.txt

env: .venv/.stamp ## the development environment, .venv

doors: $(DOOR_STAMPS) ## the environments of the doors that have tests

# --- what a user runs -------------------------------------------------------------------------------------------------

demo: .venv-demo/.stamp ## a real workload through the router against a simulated provider, with a report
	@.venv-demo/bin/apikeyrouter demo $(ARGS)

# --- what a developer runs --------------------------------------------------------------------------------------------

test: .venv/.stamp $(DOOR_STAMPS) ## everything: lint, types, import rules, all tests; the sum on the last line
	@$(BIN)/python scripts/run_tests.py $(ARGS)

check: .venv/.stamp ## the fast part: lint, format, types, import rules
	@$(BIN)/python scripts/run_tests.py --checks-only

format: .venv/.stamp ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: .venv/.stamp ## benchmarks of the decision and what surrounds it
	@mkdir -p .reports
	@$(BIN)/python -m pytest benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-json=.reports/bench.json --benchmark-columns=min,median,ops,rounds -q $(ARGS)

bench-check: .venv/.stamp ## the benchmarks' ratios against their stored values; fails when one is 10 % worse
	@$(BIN)/python scripts/bench_check.py $(ARGS)

arena: .venv/.stamp ## strategies against each other on recorded and generated traffic
	@$(BIN)/python benchmarks/arena $(ARGS)

torture: .venv/.stamp ## the long matrices; ARGS=pythons or ARGS=litellm runs one of them
	@$(BIN)/python scripts/torture.py $(ARGS)

fuzz: .venv/.stamp ## the property tests with many more examples
	@$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=fuzz -q $(ARGS)

docs: .venv/.stamp $(DOOR_STAMPS) ## run the documents' blocks and follow their links
	@$(BIN)/python -m pytest tests/repo/test_documents.py -q $(ARGS)

dist: .venv/.stamp ## build wheel and sdist, install each in a clean environment, run the demo there
	@$(BIN)/python scripts/dist.py $(ARGS)

lock: .venv/.stamp ## write requirements/*.txt anew; UPGRADE=1 moves to the newest versions
	@for name in $(LOCKS); do sh scripts/lock.sh $$name $(if $(UPGRADE),--upgrade) || exit 1; done

clean: ## remove environments, caches and build results
	rm -rf .venv .venv-* .reports .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find src tests scripts benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
