# make setup | train | test | quick | slow | fuzz | check | docs | bench; ARGS="..." passes overrides to train.py, DATA is where CIFAR-10 lies
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?= experiment=demo
DATA ?= data
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

.PHONY: setup train test quick slow fuzz check docs bench

setup: $(VENV)/.complete

VERSIONS := 3.10 3.11 3.12 3.13
FOUND = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
UNFIT = $(PYTHON) is $(if $(FOUND),Python $(FOUND),not there); what runs is $(VERSIONS), as in make PYTHON=python3.12

$(VENV)/.complete: requirements.lock
	$(if $(filter $(VERSIONS),$(FOUND)),,$(error $(UNFIT)))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock  # Python compiles what it imports
	touch $@

train: setup
	$(BIN)/python train.py $(ARGS)

test: setup
	$(PYTEST)

# On another system, in an environment that is there: make quick BIN=where/its/python/is
quick: $(if $(filter $(VENV)/bin,$(BIN)),setup)
	$(PYTEST) -m "not slow"

slow: setup
	$(PYTEST) -m slow

fuzz: setup
	$(BIN)/python -m pytest --hypothesis-profile=fuzz tests/test_fuzz.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m resnet.cli.reference conf > docs/configuration.md
	$(BIN)/python -m resnet.cli.api > docs/api.md
	$(BIN)/zensical build --strict --clean

bench: setup
	$(BIN)/python -m benchmarks.throughput --data $(DATA)
