# Each target sets up what it needs the first time, in .venv. Needs make and Python 3.11 or newer.
PYTHON ?= $(or $(shell .ci/pythons | head -n 1),$(error no Python))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

.PHONY: demo
demo: $(VENV)/.installed ## a proxy with a plugin, then Kafka, in less than a minute (ARGS=--keep stays at the live table)
	$(BIN)/python -m l4proxy demo
	$(BIN)/python contrib/demo $(ARGS)

# The whole suite runs once, against the built wheel: what passes there is what a user gets. The checkout is held by
# `make lint` and by tests/test_packaging.py; `.venv/bin/pytest` runs any test on it, as an editable install.
.PHONY: test
test: servers ## the test suite against the built wheel (ARGS="-k name" for pytest)
	.ci/test-wheel $(PYTHON) $(ARGS)

.PHONY: test-all
test-all: servers ## the same under each supported Python on this machine
	status=0; for python in $$(.ci/pythons); do .ci/test-wheel $$python $(ARGS) || status=1; done; exit $$status

.PHONY: bench
bench: $(VENV)/.installed ## compare with Envoy, HAProxy and nginx on this machine (ARGS for contrib/bench)
	@tests/services/install.sh contrib/bench/packages.txt
	$(BIN)/python contrib/bench $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy -p l4proxy
	$(BIN)/mypy --explicit-package-bases tests
	for part in bench dashboards demo $(patsubst contrib/%,%,$(wildcard contrib/l4proxy-*)) plugin-template redis; do \
		MYPYPATH=contrib/$$part $(BIN)/mypy contrib/$$part || exit 1; done

.PHONY: venv
venv: $(VENV)/.installed ## an editable install with all tools

$(VENV)/.installed: pyproject.toml
	.ci/venv $(PYTHON) $(VENV) --editable . --group dev

.PHONY: servers
servers: ## the servers to test against: installed from Debian packages by root, named to anyone else
	@tests/services/install.sh tests/services/packages.txt

.PHONY: wheel
wheel: $(VENV)/.installed ## dist/: the wheel and the source distribution
	rm -rf dist
	$(BIN)/python -m build --no-isolation

.PHONY: clean
clean: ## remove all that these targets made
	rm -rf .venv .venv-* .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
