# make demo   data, training and page in minutes on two CPU cores; EXTRA="key=value ..." overrides the configuration
# make data   all that the experiments of the demo scale read: three quarters of an hour on two cores, 14 GB
# make test   lint, types and tests
# Both make .venv on first use: CPU torch, no CUDA download.

PYTHON ?= python3
EXTRA ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread per process: on busy cores OpenMP's barriers cost more than a second thread gains.
export OMP_NUM_THREADS := 1

.PHONY: demo data test
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python scripts/prepare_data.py demo
	$(BIN)/accelerate launch --config_file configs/accelerate/cpu.yaml scripts/train_codec.py $(EXTRA)

SEPARATED := --input separated/spectrogram --input separated/waveform --input mixture

# Other seeds make other songs.
data: $(VENV)/.installed
	$(BIN)/python scripts/prepare_data.py demo
	$(BIN)/python scripts/prepare_data.py demo --root data/more --seed 2 --train 96 --valid 1 --test 1 --no-separators
	$(BIN)/python scripts/prepare_data.py demo --root data/codec --seed 1 --train 120 --valid 8 --test 8 --no-separators
	for root in data/more data/codec; do for separator in spectrogram waveform; do \
		$(BIN)/python scripts/prepare_data.py separate --with $$separator --root $$root || exit 1; done; done
	for root in data/demo data/more data/codec; do \
		$(BIN)/python scripts/prepare_data.py encode --root $$root --stem all $(SEPARATED) --whole || exit 1; done

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
