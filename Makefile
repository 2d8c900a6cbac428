# `make demo` and `make test` need Python 3.11 or newer, git and make, and nothing before them.
PYTHON ?= python3
BIN := .venv/bin
# Aegra needs Python 3.12: the one on the path, else one of pyenv's, else say `make aegra PYTHON312=…`.
PYTHON312 ?= $(firstword $(shell python3.12 -c "import sys; print(sys.executable)" 2>/dev/null) \
	$(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python) python3.12)
AEGRA := .venv-aegra/bin
# More processes than cores, for these mostly wait: the server looks for work twice a second. tests/support/scheduling.py
# says which tests share a process, and tests/support/workers.py where the processes come from.
PYTEST := $(BIN)/python -m pytest -n 8

# What is not compiled is read anew by each of some hundred servers and commands that the tests start, whatever the
# environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test aegra check dev provider tickets lint attacks crash crash-machines explore bench bench-elsewhere bench-deciding bench-threads bench-scale bench-start bench-analysis bench-many bench-machines screenshots terminal lock clean help

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml scripts/install.sh
	@scripts/install.sh .venv requirements.lock "$(PYTHON)"

demo: install          ## play the main job on the real server and check every step
	$(BIN)/python -m demo

test: install          ## all but the attacks and Aegra: unit to real server and browser, both databases
	@$(BIN)/python -m tests.browser.chromium
	@$(PYTEST) tests --ignore=tests/aegra --ignore=tests/attacks

aegra: install .venv-aegra/installed ## the same package on Aegra, with PostgreSQL and Python 3.12
	@$(BIN)/python -m tests.support.redis_server
	@$(PYTEST) tests/aegra

check: install .venv-aegra/installed ## `make test`, the attacks and Aegra in one go, which is quicker than one after the other
	@$(BIN)/python -m tests.browser.chromium
	@$(BIN)/python -m tests.support.redis_server
	@$(PYTEST) tests

.venv-aegra/installed: requirements-aegra.lock pyproject.toml scripts/install.sh
	@scripts/install.sh .venv-aegra requirements-aegra.lock "$(PYTHON312)"

dev: install           ## the server for Studio and clients, with a seeded bank and tokens to try
	$(BIN)/clearance seed --if-empty
	@echo; echo "olga asks:     $$($(BIN)/clearance token olga)"
	@echo "ana decides:   $$($(BIN)/clearance token ana --role approver)"
	@echo "tess decides more than \$$25,000 (it takes two):"; echo "  $$($(BIN)/clearance token tess --role approver --role treasurer)"
	@echo "  $$($(BIN)/clearance token tom --role approver --role treasurer)"; echo
	@echo "The inbox: http://127.0.0.1:2024/inbox, signed in with one of these."; echo
	AUTH_BOTH_PARTS=true LANGGRAPH_CLI_NO_ANALYTICS=1 $(BIN)/langgraph dev --config langgraph.dev.json --n-jobs-per-worker 10 --no-browser

provider: install      ## a small payment provider for `make dev`: MOOD="breaks after" loses its answers
	$(BIN)/python -m demo.provider --mood "$(or $(MOOD),works)"

tickets: install       ## a small MCP server of a ticket desk for `make dev`
	$(BIN)/python -m demo.tickets

lint: install          ## ruff, and mypy strict over src and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

attacks: install       ## every known way around an approval: a stock agent, ours, and our gate alone; prints the table
	@$(PYTEST) tests/attacks

crash: install         ## kill -9 the server a hundred times, and a hundred times while it pays elsewhere
	$(BIN)/python -m tests.support.crash --kills 100
	$(BIN)/python -m tests.support.crash_outside --kills 100

crash-machines: install .venv-aegra/installed ## Aegra on two and three machines, with Redis: any of them killed or stopped under load, sixty times
	$(BIN)/python -m tests.support.crash_machines --machines 2 --kills 30
	$(BIN)/python -m tests.support.crash_machines --machines 3 --kills 30 --upgrade

explore: install       ## external actions in any order of events: a thousand stories, other ones each time
	EXAMPLES=1000 SHRINK=1 $(BIN)/python -m pytest -q tests/integration/test_external_generated.py

bench: install         ## pause, approve, effect: ours beside bare LangGraph and LangChain's middleware
	$(BIN)/python -m bench.gate

bench-elsewhere: install ## the same with an effect at a provider over HTTP, beside a bare interrupt()
	$(BIN)/python -m bench.elsewhere

bench-deciding: install ## decision to committed effect through the API of the real server, alone and beside a full queue
	$(BIN)/python -m bench.deciding

bench-threads: install ## turns 5, 50 and 300 of one thread: ms, and bytes of its checkpoints
	$(BIN)/python -m bench.threads --picture

bench-scale: install   ## lists, pages, scans and `audit verify` over 1,100,000 requests; an hour, and 60 GB of disk
	$(BIN)/python -m bench.scale --postgres --table docs/scale.md

bench-start: install   ## commands, the server beside an empty graph, a start over 10,000 open requests
	$(BIN)/python -m bench.start

bench-analysis: install ## the long job over 50 thousand to 5 million transfers, beside a plain scan
	$(BIN)/python -m bench.analysis

bench-many: install    ## one process under 1 to 64 clients, on both databases; 20 reviewers and 200 look-ups on the real server
	$(BIN)/python -m bench.many
	$(BIN)/python -m bench.crowd

bench-machines: install ## for how long a cycle holds the log's head, which bounds all machines; two processes beside one
	$(BIN)/python -m bench.machines

screenshots: install   ## docs/inbox-*.png, made anew in Chromium
	$(BIN)/python -m tests.browser.screenshots

terminal: install      ## docs/terminal.svg, the terminal's inbox drawn anew
	$(BIN)/python -m tests.support.picture

lock: install          ## pin what pyproject.toml asks for, with hashes and without addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev \
		pyproject.toml -o requirements.lock --no-header --no-annotate
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.12 --extra aegra \
		--constraint requirements.lock pyproject.toml -o requirements-aegra.lock --no-header --no-annotate

clean:
	rm -rf .venv .venv-aegra .clearance .langgraph_api

help:                  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
