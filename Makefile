# make demo: see it. make test: the whole check. Needs git, make and python3 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PROJECTS := pyproject.toml torch2grid_core/pyproject.toml torch2grid_builtin/pyproject.toml constraints.txt

.PHONY: demo test lint types train wheels clean

demo: $(VENV)/.demo
	$(BIN)/torch2grid demo

test: lint types
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# Trains the small network again, prints its accuracy and compares it with the committed weights.
train: $(VENV)/.test
	$(BIN)/python examples/train_digits.py

wheels: $(VENV)/.test
	rm -rf dist
	for project in torch2grid_core torch2grid_builtin . examples/plugin_template; do \
	  $(BIN)/python -m build --wheel --outdir dist $$project >/dev/null || exit 1; done
	ls dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(PROJECTS)
	test -e $(VENV)/.test || $(PIP) -e ./torch2grid_core -e ./torch2grid_builtin
	touch $@

# torch comes first and pinned: without the pin, an empty environment would take a build with gigabytes of CUDA.
$(VENV)/.test: $(BIN)/python $(PROJECTS)
	$(PIP) torch
	$(PIP) -e ./torch2grid_core -e ./torch2grid_builtin -e '.[test]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) dist grids
