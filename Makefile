# `make demo` and `make test` need Python 3.11 or newer, git and make, and nothing before them.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test dev lint crash bench lock clean help

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install          ## play the main job on the real server and check every step
	$(BIN)/python -m demo

test: install          ## everything, on SQLite and PostgreSQL, unit to real server
	$(BIN)/python -m pytest -n 2 --dist loadfile

dev: install           ## the server for Studio and clients, with a seeded bank
	$(BIN)/clearance seed --if-empty
	LANGGRAPH_CLI_NO_ANALYTICS=1 $(BIN)/langgraph dev --config langgraph.dev.json --n-jobs-per-worker 10 --no-browser

lint: install          ## ruff, and mypy strict over src and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

crash: install         ## kill -9 the server a hundred times
	$(BIN)/python -m tests.support.crash --kills 100

bench: install         ## pause, approve, effect: ours beside bare LangGraph and LangChain's middleware
	$(BIN)/python -m bench.gate

lock: install          ## pin what pyproject.toml asks for, with hashes and without addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra bench \
		pyproject.toml -o requirements.lock --no-header --no-annotate

clean:
	rm -rf .venv .clearance .langgraph_api

help:                  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
