# `make` prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
TOOLS := .tools
UV := $(TOOLS)/bin/uv
BIN := .venv/bin
DATA ?= data
PORT ?= 8080
SECONDS ?= 3600
RATE ?= 30000
EXAMPLES ?= 50
TEST_PROCESSES ?= 2
UV_VERSION := 0.13.8
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ENGINE ?= $(firstword $(foreach name,docker podman,$(if $(shell command -v $(name)),$(name))))
# A client alone builds nothing: something must answer behind it.
NEEDS_ENGINE = if [ -z "$(ENGINE)" ]; then \
	echo "no container engine on this machine: install Docker or Podman, or name one with ENGINE=..."; exit 1; \
	elif ! $(ENGINE) info >/dev/null 2>&1; then \
	echo "$(ENGINE) is here, but no engine answers it: start it ('$(ENGINE) info' says what is wrong)"; exit 1; fi

# uv and its caches stay inside the checkout's reach: a fresh machine needs only Python >= 3.11, make and git.
export UV_PROJECT_ENVIRONMENT := .venv
export UV_NO_PROGRESS ?= 1
# Behind a company proxy the right certificates are the machine's own.
export UV_SYSTEM_CERTS ?= 1
# Compiled once at installation: every start of every process is seconds faster.
export UV_COMPILE_BYTECODE ?= 1

help:  ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

##@ Use

run: install  ## Serve the demo plant on http://127.0.0.1:8080
	@$(BIN)/gaugehouse serve --demo --data $(DATA) --port $(PORT)

##@ Develop

install: .venv/installed  ## Install everything into .venv (uv is fetched from PyPI)

$(UV):
	@echo "fetching uv $(UV_VERSION)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(TOOLS) || { $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --quiet $(TOOLS); }
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/installed: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

test: install  ## Run the whole test suite
	@PYTHONPATH=tests $(BIN)/python -c 'import nursery; nursery.load()'  # compiled once, not by each process
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m "not torture and not alone" \
		tests/faults tests/functional tests/integration tests/unit  # the longest first
	@$(BIN)/pytest -m "alone and not torture" tests/faults

test-postgres: install  ## Run the whole suite with a throwaway PostgreSQL beside SQLite
	@.ci/postgres run $(MAKE) test

test-unit: install  ## Run the unit tests: no disk, no network
	@$(BIN)/pytest tests/unit

format: install  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

lint: install  ## Check format, lint, types and import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test  ## What CI runs

##@ Measure

bench: install  ## Benchmarks beside other databases, as ratios of one run (about 50 minutes)
	@$(BIN)/python -m benchmarks

soak: install  ## Mixed ingestion, readers and compaction with every bound checked (SECONDS=3600, RATE=30000)
	@$(BIN)/python -m benchmarks soak --seconds $(SECONDS) --rate $(RATE)

torture: install  ## Long fault and fuzz runs, of one file with TESTS=kills
	@$(BIN)/pytest -m torture -o addopts="--strict-markers --import-mode=importlib" --timeout 7200 \
		$(if $(TESTS),tests/faults/test_faults_$(TESTS).py)

schema: install  ## Ask the API all that its description allows, and more (schemathesis; EXAMPLES=50)
	@GAUGEHOUSE_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -m torture -o addopts="--strict-markers --import-mode=importlib" \
		--timeout 7200 tests/integration/web/test_web_schema.py

audit: install  ## Ask PyPI's advisories about every locked dependency (needs a way to them)
	@$(UV) export --frozen --quiet --no-emit-project --output-file .audited.txt
	@$(UV) tool run pip-audit --disable-pip --require-hashes --requirement .audited.txt; \
		status=$$?; rm -f .audited.txt; exit $$status

fuzz: install  ## Look for inputs on which decoders fail or disagree (SECONDS=3600; atheris, Python < 3.14)
	@$(UV) sync --frozen --inexact --quiet --group fuzz --python $(PYTHON)
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS)

##@ Deploy

docker-build:  ## Build the image gaugehouse:VERSION (needs a container engine)
	@$(NEEDS_ENGINE)
	@$(ENGINE) build --file deploy/Dockerfile --tag gaugehouse:$(VERSION) \
		--build-arg UV_VERSION=$(UV_VERSION) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" .

docker-run:  ## Run that image on http://127.0.0.1:8080, its data in the volume gaugehouse-data
	@$(NEEDS_ENGINE)
	@$(ENGINE) run --rm --init --name gaugehouse --publish 127.0.0.1:$(PORT):8080 --volume gaugehouse-data:/data \
		--read-only --tmpfs /tmp:size=256m,mode=1777 --cap-drop ALL --security-opt no-new-privileges \
		--stop-timeout 40 --ulimit nofile=65536 --pids-limit 512 --memory 4g gaugehouse:$(VERSION)

##@ Clean

clean:  ## Remove the virtual environment and caches, keep data
	@rm -rf .venv $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help run install test test-postgres test-unit format lint check bench soak torture schema audit fuzz docker-build docker-run clean
