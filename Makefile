# Three commands are all one needs: make demo, make test, make check.
# Everything is installed into .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help demo test lint coverage check bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp, not the interpreter: without a network, that one is there and pip's upgrade is not.
$(VENV)/pip.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.13 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo.done: $(VENV)/pip.done pyproject.toml
	$(PIP) install -e '.[cli]'
	@touch $@

$(VENV)/test.done: $(VENV)/pip.done pyproject.toml
	$(PIP) install -e '.[cli]' --group test --group check
	@$(PIP) install --group uwsgi >/dev/null 2>&1 \
		|| echo "uWSGI could not be compiled (no C compiler?): its tests are left out" >&2
	@touch $@

$(VENV)/bench.done: $(VENV)/pip.done pyproject.toml
	$(PIP) install -e '.[local]' --group bench
	@touch $@

demo: $(VENV)/demo.done ## see three replicas, a leader that dies, and the takeover (10 s)
	@$(BIN)/python examples/demo.py || [ $$? = 141 ] # nobody reads any more: make demo | head

test: $(VENV)/test.done ## run the tests
	$(BIN)/python -m pytest -q -n 3 --dist loadfile

lint: $(VENV)/test.done ## run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(VENV)/test.done ## run the tests and show which lines and branches they reach (3 min)
	@rm -rf $(VENV)/coverage && mkdir $(VENV)/coverage
	$(BIN)/python -m coverage run -m pytest -q -n 3 --dist loadfile
	@$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report
	@$(BIN)/python -m coverage json -q -o - | $(BIN)/python -c 'import json, sys; \
		t = json.load(sys.stdin)["totals"]; \
		print("branches: {covered_branches} of {num_branches}".format(**t))'

check: lint ## run lint and the tests, as CI does
	$(MAKE) test

bench: $(VENV)/bench.done ## measure what the documentation states
	$(BIN)/python -m benchmarks

clean: ## remove .venv and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
