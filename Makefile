# Everything a user types. `make demo` and `make test` need Python >= 3.11, make and git, and nothing else.

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
# The torch wheel. On Linux the plain PyPI wheel carries CUDA (several GB); another build, on one line:
#   make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"     # no GPU, small download
#   make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cu128"   # GPU
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint format soak slurm benchmark lock clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(VENV)/.installed  ## make the virtual environment (does nothing when it is up to date)

# torch goes first: whatever else needs it then finds it installed, and pip does not look for another build.
# rpcm is a witness in the camera tests only: its own dependency srtm4 is compiled and wants libtiff's headers.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment; install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,slurm]'
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt rpcm
	@touch $@

demo: setup runs/demo_scene/config.yaml  ## simulate a small town, run the whole workflow on it, compare with its exact truth
	$(BIN)/rsmvs run config/demo.yaml --cores $(CORES)

runs/demo_scene/config.yaml: rsmvs/stages/simulate.py $(wildcard rsmvs/simulate/*.py) | setup
	$(BIN)/rsmvs simulate --out runs/demo_scene

run: setup  ## run a configuration: make run CONFIG=my.yaml
	@test -n "$(CONFIG)" || { echo "error: CONFIG is not set; make run CONFIG=my.yaml" >&2; exit 1; }
	$(BIN)/rsmvs run $(CONFIG) --cores $(CORES)

test: setup lint  ## lint and the test suite
	$(BIN)/python -m pytest

lint: setup  ## formatting, types, import contracts, workflow
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/python -m snakemake --lint --configfile config/demo.yaml

format: setup  ## put the sources into their standard form
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile rules

soak: setup  ## long fault and scale tests
	$(BIN)/python -m pytest -m soak --override-ini addopts=

slurm: setup  ## tests on a SLURM of their own (Debian: apt-get install slurm-wlm munge; root)
	$(BIN)/python -m pytest -m slurm --override-ini addopts= -rs

benchmark: setup  ## speed of the pieces; all the others: python -m benchmarks.NAME --help
	for name in adjust warp matchers depth planes simulate; do $(BIN)/python -m benchmarks.$$name || exit 1; done

lock: setup  ## pin what the virtual environment holds now
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+[a-z0-9]*$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove the virtual environment, caches and runs
	rm -rf $(VENV) build dist runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
