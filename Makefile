# The main commands are make demo, make test and make check.
# Everything is installed into .venv; nothing outside this folder is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint coverage check bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The target is a stamp file: .venv/bin/python also exists if the upgrade of pip failed.
$(VENV)/pip.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.13 ..." >&2; exit 2; }
	@echo "creating $(VENV)..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo.done: $(VENV)/pip.done pyproject.toml
	@echo "installing elector-thread for the demo (about 20 seconds)..."
	@$(PIP) install -e '.[cli]'
	@touch $@

$(VENV)/test.done: $(VENV)/pip.done pyproject.toml
	@echo "installing elector-thread and its test tools (about a minute)..."
	@$(PIP) install -e '.[cli]' --group test --group check
	@echo "compiling uWSGI (about a minute)..."
	@$(PIP) install --group uwsgi >/dev/null 2>&1 \
		|| echo "uWSGI could not be compiled (no C compiler?): its tests are left out" >&2
	@touch $@

$(VENV)/nox.done: $(VENV)/pip.done pyproject.toml
	@echo "installing nox..."
	@$(PIP) install --group nox
	@touch $@

$(VENV)/bench.done: $(VENV)/pip.done pyproject.toml
	@echo "installing elector-thread and its benchmark tools (about 20 seconds)..."
	@$(PIP) install -e '.[local]' --group bench
	@touch $@

demo: $(VENV)/demo.done ## see a leader that dies, the takeover, and a leader that is cut off (15 s)
	@$(BIN)/python examples/demo.py || [ $$? = 141 ] # the reader has gone, as in: make demo | head

test: $(VENV)/test.done ## run the tests (about 2 minutes)
	@echo "running the tests (about 2 minutes on two cores)..."
	@$(BIN)/python -m pytest -q -n 5 --dist loadfile

test-all: $(VENV)/nox.done ## run the tests on each installed Python, and with the lowest versions
	@echo "running the tests several times (about 4 minutes each on two cores, with installation)..."
	@$(BIN)/python -m nox

lint: $(VENV)/test.done ## run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(VENV)/test.done ## run the tests and show what they cover (about 3 minutes)
	@rm -rf $(VENV)/coverage && mkdir $(VENV)/coverage
	$(BIN)/python -m coverage run -m pytest -q -n 5 --dist loadfile
	@$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report
	@$(BIN)/python -m coverage json -q -o - | $(BIN)/python -c 'import json, sys; \
		t = json.load(sys.stdin)["totals"]; \
		print("branches: {covered_branches} of {num_branches}".format(**t))'

check: lint ## run lint and the tests, as CI does
	$(MAKE) test

bench: $(VENV)/bench.done ## measure the figures in the documentation
	$(BIN)/python -m benchmarks

clean: ## remove .venv and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
