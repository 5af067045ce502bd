# make demo   data, training and page in minutes on two CPU cores; EXTRA="key=value ..." overrides the configuration
# make test   lint, types and tests
# Both make .venv on first use: CPU torch, no CUDA download.

PYTHON ?= python3
EXTRA ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread per process: on busy cores OpenMP's barriers cost more than a second thread gains.
export OMP_NUM_THREADS := 1

.PHONY: demo test
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python scripts/prepare_data.py demo
	$(BIN)/accelerate launch --config_file configs/accelerate/cpu.yaml scripts/train_codec.py $(EXTRA)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=85

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older. Run: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml constraints-cpu.txt | $(VENV)/bin/python
	$(PIP) install --quiet -c constraints-cpu.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet -c constraints-cpu.txt -e ".[test]"
	@touch $@
