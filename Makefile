# make demo | test | test-long | lint: each sets up .venv by itself, on a machine where nothing was installed by hand.
#   make demo ARGS="--dataset ml-100k"      make test ARGS="tests/streamer -k sessions"
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help demo test test-long lint format clean

help:
	@sed -n 1,2p $(MAKEFILE_LIST)

demo: $(STAMP)
	$(BIN)/headwater demo $(ARGS)

test: $(STAMP)
ifeq ($(ARGS),)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore tests/integration
	$(BIN)/python -m pytest tests/integration -m "not long"
	@echo 'Workers, trainers and teachers killed again and again: make test-long'
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-long: $(STAMP)
	$(BIN)/python -m pytest tests/integration -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headwater needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --editable ".[embedded,test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
