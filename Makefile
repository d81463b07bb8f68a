# make setup | train | test | fuzz | check; ARGS="..." passes overrides to train.py
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= experiment=demo

.PHONY: setup train test fuzz check

setup: .venv/.complete

.venv/.complete: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	touch $@

train: setup
	$(BIN)/python train.py $(ARGS)

test: setup
	$(BIN)/python -m pytest

fuzz: setup
	$(BIN)/python -m pytest --hypothesis-profile=fuzz tests/test_fuzz.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
