# make run    set up, then the whole main suite: what has no data on disk is listed with the way to get it
# make test   set up, then the tests
# make chaos  set up, then ten minutes of faults: kills, full disks, flipped and cut-off files, four drivers
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SUITE ?= main

.PHONY: run test chaos install lint clean

run: install
	$(BIN)/python -m benchmark run --suite $(SUITE)

test: install
	$(BIN)/python -m pytest

chaos: install
	PYTHONPATH=.:tests/support $(BIN)/python tests/chaos/chaos.py --seed 0 --seconds 600

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed

# Versions come from constraints.txt; uv does the work where it is installed, else Python's own venv and pip.
$(VENV)/.installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --allow-existing --quiet --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
