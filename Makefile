# Two commands for a fresh machine with Python 3.11, make and network: `make demo`, `make test`.
# Targets: setup demo test lint slow fuzz lock format docs bench clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in /usr/bin/python3.11 python3.11 python3; do command -v $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST := $(BIN)/python -m pytest
UV := $(BIN)/python -m uv

.PHONY: setup demo test unit node accept lint slow slow-tests slow-as-other-user fuzz lock format docs bench peers clean

setup: $(VENV)/.dev

$(VENV)/.base:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed; $(PYTHON) is older" >&2; exit 2; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "make: python3-venv is missing, installing it" >&2; \
	  apt-get update -qq && apt-get install -y -qq python3-venv; fi
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.server: $(VENV)/.base requirements/build.txt requirements/server.txt pyproject.toml
	@s=$$(date +%s); echo "make: fetching and installing what the node needs …"; \
	$(PIP) install --require-hashes -r requirements/build.txt; \
	$(PIP) install --require-hashes -r requirements/server.txt; \
	$(PIP) install --no-deps --no-build-isolation -e .; \
	echo "make: installed in $$(( $$(date +%s) - s )) s (downloads included)"
	@touch $@

$(VENV)/.dev: $(VENV)/.server requirements/dev.txt
	@s=$$(date +%s); echo "make: fetching and installing the tools …"; \
	$(PIP) install --require-hashes -r requirements/dev.txt; \
	echo "make: installed in $$(( $$(date +%s) - s )) s (downloads included)"
	@touch $@

demo: $(VENV)/.server
	$(BIN)/zegel demo --meters 300 --days 3 --once

test: unit node accept

unit: $(VENV)/.dev
	$(PYTEST) -m "not slow" --ignore=tests/running --ignore=tests/accept tests

node: $(VENV)/.dev
	$(PYTEST) -m "not slow" tests/running

accept: $(VENV)/.dev
	$(PYTEST) -m "not slow" tests/accept

slow: slow-tests slow-as-other-user

slow-tests: $(VENV)/.dev
	$(PYTEST) -m slow --timeout=1800 tests

slow-as-other-user: $(VENV)/.dev
	tests/as_other_user.sh $(VENV)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy src tests benchmarks docs
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only --quiet src tests benchmarks docs
	$(BIN)/ruff format src tests benchmarks docs

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

fuzz: $(VENV)/.dev
	PYTHONPATH=src:tests $(BIN)/python tests/fuzz/fuzz_decode.py --count $${COUNT:-1000000}

peers: $(VENV)/.dev
	benchmarks/peers/setup.sh

bench: $(VENV)/.dev peers
	$(BIN)/zegel bench --peers .peers --json > benchmarks/results.json.new
	mv benchmarks/results.json.new benchmarks/results.json
	$(BIN)/python docs/generate.py

# Only this target writes requirements/*.txt; nothing else resolves versions.
lock: $(VENV)/.base
	$(PIP) install uv
	for name in build server dev base; do case $$name in \
	  build) what="--group build";; base) what="pyproject.toml";; \
	  server) what="pyproject.toml --extra server";; \
	  dev) what="pyproject.toml --extra server --group test --group lint";; esac; \
	$(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-header \
	  --no-emit-index-url --no-emit-find-links $$what -o requirements/$$name.txt; done

clean:
	rm -rf $(VENV) .peers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
