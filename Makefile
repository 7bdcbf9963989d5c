# isotrain. `make help` lists the targets; every one works from a fresh clone with python3 and make alone.
#
# `make setup` is remade only when the lock or pyproject.toml changed, so every other target may depend on it freely.
# With the locked packages already in uv's cache, nothing here needs the network.

SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup
WORKERS ?= 2
UPGRADE ?=

# The project's own uv is only built where the machine has none.
UV := $(shell command -v uv 2>/dev/null)
UV_VERSION := uv>=0.8,<1
ifeq ($(UV),)
UV := .tools/uv/bin/uv
endif

.DEFAULT_GOAL := help
.PHONY: setup demo test browser lint budget bench lock clean help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## make .venv from requirements.lock

# python3 without ensurepip (a Debian without python3-venv) can still install into a folder with its pip.
.tools/uv/bin/uv:
	@rm -rf .tools/uv
	@echo "setup: no uv on this machine, installing one into .tools/uv"
	@if $(PYTHON) -m venv .tools/uv >/dev/null 2>&1; then \
		.tools/uv/bin/python -m pip install --quiet '$(UV_VERSION)'; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		rm -rf .tools/uv; \
		$(PYTHON) -m pip install --quiet --target .tools/uv '$(UV_VERSION)'; \
	else \
		rm -rf .tools/uv; \
		echo "setup: $(PYTHON) has neither venv nor pip: install one of them (Debian: python3-venv), or put uv on PATH" >&2; \
		exit 1; \
	fi

$(STAMP): requirements.lock pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11' .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)  ## the lecture's experiment, in about a minute
	$(BIN)/isotrain demo

lint: $(STAMP)  ## style, types and import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# A report, not a gate.
budget:
	@echo "lines of Python"
	@for folder in src/isotrain/ src/isotrain/*/; do \
		test "$$folder" = src/isotrain/ && depth="-maxdepth 1" || depth=; \
		printf '%6d  %s\n' "$$(find "$$folder" $$depth -name '*.py' -exec cat {} + | wc -l)" "$$folder"; \
	done
	@printf '%6d  src (guide: under 9000)\n' "$$(find src -name '*.py' -exec cat {} + | wc -l)"

test: lint budget  ## everything that checks the project
	$(BIN)/pytest --numprocesses $(WORKERS)

# Debian's package; playwright drives it. Without it the tests of the page are skipped on a laptop, and fail in CI.
browser:  ## chromium, for the tests of the web page (Debian, Ubuntu; asks for root)
	@command -v chromium >/dev/null || { \
		test "$$(id -u)" = 0 && as= || as=sudo; \
		$$as apt-get update -qq && $$as apt-get install --yes -qq --no-install-recommends chromium fonts-dejavu-core; }

bench: $(STAMP)  ## step times and the MNIST experiment, dated reports into benchmarks/reports
	$(BIN)/python benchmarks/steptime.py
	$(BIN)/python benchmarks/mnist.py

# No index address may enter the lock: whoever installs from it chooses where from, the hashes choose what.
lock: | $(UV)  ## bring requirements.lock in step with pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --all-extras \
		--python-version 3.11 $(UPGRADE) pyproject.toml -o requirements.lock

clean:  ## remove what the other targets made
	rm -rf .venv .tools runs dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
