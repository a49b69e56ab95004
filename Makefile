# `make run` and `make test` do all the set-up that a fresh clone on a fresh machine needs.

PORT ?= 8888
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run serve feed test lint format bench clean

run: $(VENV)/.run ## start the server and a feed of real recordings
	$(BIN)/python -m examples.run --port $(PORT)

serve: $(VENV)/.run ## start the server alone
	$(BIN)/python server.py --port $(PORT)

test: $(VENV)/.dev ## run all tests
	$(BIN)/python -m pytest

lint: $(VENV)/.dev ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy server.py handlers pipeline examples benchmarks tests models

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## compare with other servers, side by side
	$(BIN)/python -m benchmarks.streaming $(BENCH)

clean: ## remove everything that was installed or built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage

$(VENV)/bin/python:
	sh .ci/make-venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
