# make demo: see it. make test: the whole check. Needs git, make and python3 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PROJECTS := pyproject.toml torch2grid_core/pyproject.toml torch2grid_builtin/pyproject.toml constraints.txt

.PHONY: demo test traced lint types client template reference train fuzz scanners fuzz-torch fuzz-guided mutants baselines wheels sbom clean docs pictures bench

demo: $(VENV)/.demo
	$(BIN)/torch2grid demo

# Some tests run traced (tests/support/traced.py); tests/support/branches.py says how much must have been executed.
# Byte code is kept, as an installer keeps it, even where the environment says otherwise: tests start hundreds of commands.
test: export PYTHONDONTWRITEBYTECODE =
test: lint types client
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/python -m tests.support.branches

# Runs the tests with everything traced, for half an hour, and chooses those that `make test` traces (docs/tests.md).
traced: export PYTHONDONTWRITEBYTECODE =
traced: $(VENV)/.test
	rm -rf build/traced
	TORCH2GRID_TESTS_TRACED=$(CURDIR)/build/traced $(BIN)/coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m tests.support.traced build/traced

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.test
	$(BIN)/mypy

# Checks the types of the client's modules (JavaScript), lints and tests them, and lints the workflows, where node and npm are there.
CLIENT := tests/client
client:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	  cd $(CLIENT) && { test node_modules/.package-lock.json -nt package-lock.json || npm ci --silent --no-audit --no-fund; } && npm run --silent check; \
	else echo "the client's modules are not checked: node and npm are not installed"; fi

# Packs examples/plugin_template for 'torch2grid new-plugin'; a test compares the two.
template: $(BIN)/python
	$(BIN)/python examples/pack_template.py

# Writes docs/reference/api.md and hooks.md from signatures and docstrings; a test compares them.
reference: $(VENV)/.demo
	$(BIN)/python docs/_tools/api_reference.py

# Trains the small network again, prints its accuracy and compares it with the committed weights.
train: $(VENV)/.test
	$(BIN)/python examples/train_digits.py

# Changes bytes of small files of twelve formats, 24,000 times: each must open equal or be a clean error (docs/safety.md).
# Then plants a NaN in each of 2,000 random trees of mappings, lists and objects: check must find it and name its place.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz.fuzz
	$(BIN)/python -m tests.support.parts.planted 2000

# Changes PyTorch's archives, streams and their pickles 50,000 times, and opens each with PyTorch (weights_only=True) and with
# torch2grid: where both open, the tensors must be the same, bit by bit (docs/safety.md).
fuzz-torch: $(VENV)/.test
	$(BIN)/python -m tests.fuzz.agreement

# Changes small files for ten minutes towards code of the readers that no file reached yet (atheris, coverage-guided): nothing
# but a clean error may come of any (docs/safety.md).
fuzz-guided: $(VENV)/.guided
	$(BIN)/python -m tests.fuzz.guided

# Compares check with picklescan on the test files of picklescan, modelscan and fickling, whose checkouts are in FOLDER; fetches nothing
# and unpickles nothing. Ends with exit code 1 where a name that picklescan calls dangerous is not named (docs/safety.md).
FOLDER ?= ../scanners
scanners: $(VENV)/.test
	$(BIN)/python -m tests.scanners.compare $(FOLDER)

# Changes three kernels a little, more than 6,000 times, and counts what their tests notice; writes the table of docs/tests.md.
# Takes up to half an hour on two cores, and ends with exit code 1 where less than 90 % of a kernel's changes are noticed.
mutants: $(VENV)/.mutation
	$(BIN)/python -m tests.mutation.run

# Draws the pictures of docs/gallery.md, docs/compare.md, docs/gradients.md (with torch), docs/layouts.md and of the README again. Without a MODEL it says which one, and where it is.
MODEL ?= $(if $(TORCH2GRID_CORPUS),$(TORCH2GRID_CORPUS)/real/silero/)silero_vad_16k.safetensors
pictures: $(VENV)/.demo
	$(BIN)/python docs/draw_gallery.py
	test ! -e $(VENV)/.test || $(BIN)/python docs/draw_change_pictures.py
	$(BIN)/python docs/draw_pictures.py $(MODEL)

# Builds the documentation into site/, strictly, and looks for broken links and for anything that a page would fetch from another host.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/_tools/check_site.py site

# Draws the pictures of tests/images anew: look at them before they are committed.
baselines: $(VENV)/.test
	$(BIN)/python -m tests.support.images.drawn

# Measures everything, beside other tools where they can do it, for the better part of an hour on an idle machine, and writes benchmarks/RESULTS.md,
# the figures of docs/performance.md and the README's number. Takes 20 GB of disk in ~/.cache/torch2grid-bench (or TORCH2GRID_BENCH).
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# Wheels are made of files alone: two builds are equal, byte for byte (.ci/run compares them).
DISTRIBUTIONS := torch2grid_core torch2grid_builtin . examples/plugin_template $(addprefix plugins/torch2grid_,gguf explore remote dask)
wheels: $(VENV)/.test
	rm -rf dist
	for project in $(DISTRIBUTIONS); do $(BIN)/python -m build --wheel --no-isolation --outdir dist $$project >/dev/null || exit 1; done
	ls dist

# What is installed with torch2grid, its extras and its plugins, into dist/: a bill of materials (CycloneDX) and the licences.
sbom: wheels $(VENV)/.sbom
	.ci/bill_of_materials

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(PROJECTS)
	test -e $(VENV)/.test || $(PIP) -e ./torch2grid_core -e ./torch2grid_builtin -e .
	touch $@

# torch comes first and pinned: without the pin, an empty environment would take a build with gigabytes of CUDA.
$(VENV)/.test: $(BIN)/python $(PROJECTS)
	$(PIP) torch
	$(PIP) -e ./torch2grid_core -e ./torch2grid_builtin -e '.[test]'
	touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.test
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/.mutation: $(VENV)/.test
	$(PIP) -e '.[mutation]'
	touch $@

$(VENV)/.guided: $(VENV)/.test
	$(PIP) -e '.[fuzz]'
	touch $@

$(VENV)/.sbom: $(VENV)/.test
	$(PIP) -e '.[sbom]'
	touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist grids site
