# make run          set up, then the whole suite main: cells without data on disk are listed with the way to get it
# make reproduce    set up, then a published suite again (SUITE=main), cell by cell: inside its interval or not, and why
# make test         set up, then the tests
# make lint         ruff and mypy
# make check        are the published tables and the numbers in the texts what the records make?
# make sanity       what must hold before a result is believed, into docs/sanity.md
# make chaos        ten minutes of faults: kills, full disks, flipped and cut-off files, four drivers
# make bench        what the benchmark adds to the bare work, as ratios, into docs/scale.md
# make gpu-check    digits, one cell of imagenette64 and the bench on a GPU, into gpu-check.md and gpu-check.yaml
# make docs         the documentation, into docs/_build/html; a warning is an error
# make test-oldest  the tests with the lowest versions that pyproject.toml allows, in .venv-oldest
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SUITE ?= main
OLDEST ?= .venv-oldest
OLDEST_PYTHON ?= python3.11
TESTS ?= tests

.PHONY: run reproduce test lint check docs sanity chaos bench gpu-check test-oldest install clean

run: install
	$(BIN)/python -m benchmark run --suite $(SUITE)

reproduce: install
	$(BIN)/python -m benchmark reproduce --suite $(SUITE)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

sanity: install
	PYTHONPATH=.:tests/support $(BIN)/python tests/sanity/sanity.py

chaos: install
	PYTHONPATH=.:tests/support $(BIN)/python tests/chaos/chaos.py --seed 0 --seconds 600

bench: install
	PYTHONPATH=.:tests/support $(BIN)/python tests/bench/bench.py --write docs/scale.md

gpu-check: install
	PYTHONPATH=.:tests/support $(BIN)/python tests/bench/gpu_check.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# ``python -m benchmark report --check``, where an import of torch, ray or timm is an error
check: install
	$(BIN)/python -c "import sys; sys.modules.update(dict.fromkeys(['torch', 'ray', 'timm'])); \
	from benchmark.cli.main import main; main()" report --check

docs: install
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(TESTS)

install: $(VENV)/.installed

# environment FOLDER, PYTHON, CONSTRAINTS, EXTRA: uv does the work where it is installed, else Python's own venv and pip.
define environment
	@echo "Installing into $(1) (torch is large; this takes minutes the first time) ..."
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --allow-existing --quiet --python $(2) $(1) && \
		uv pip install --quiet --python $(1)/bin/python --constraint $(3) --editable '.[$(4)]'; \
	else \
		$(2) -m venv $(1) && \
		$(1)/bin/python -m pip install --quiet --constraint $(3) --editable '.[$(4)]'; \
	fi
	@touch $@
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(call environment,$(VENV),$(PYTHON),constraints.txt,dev)

# The lower end of every range in pyproject.toml is a pin here; what these packages need in turn is as new as they allow.
$(OLDEST)/.installed: pyproject.toml
	@mkdir -p $(OLDEST)
	@sed -nE 's/^ *"([A-Za-z0-9_.-]+)(\[[a-z,]+\])?>=([0-9a-z.]+)".*/\1==\3/p' pyproject.toml > $(OLDEST)/constraints.txt
	$(call environment,$(OLDEST),$(OLDEST_PYTHON),$(OLDEST)/constraints.txt,test)

clean:
	rm -rf $(VENV) $(OLDEST) docs/_build docs/reference .mypy_cache .pytest_cache .ruff_cache .hypothesis
