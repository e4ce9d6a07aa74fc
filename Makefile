# Every target prepares what it needs: Python >= 3.11, git and make are enough to begin.
#   make bench    the first result: GCN and MLP on the digits graph, 10 seeds, table and report
#   make test     all tests
#   make install | lint | docs | claims | peers | gpu

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Raw data and peers' wheels, where this machine has them.
ifneq ($(wildcard ../shared/data),)
export GNNKIT_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/wheels),)
export GNNKIT_PEERS ?= $(abspath ../shared/wheels)
endif
# OpenMP threads that spin while they wait slow each other down on a machine that others use too.
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export NO_MKDOCS_2_WARNING ?= 1

.PHONY: bench test install lint docs claims peers gpu clean

bench: install
	$(BIN)/gnnkit bench digits --model gcn --out runs
	$(BIN)/gnnkit bench digits --model mlp --out runs
	$(BIN)/gnnkit report runs --out report

test: install
	$(BIN)/python -m pytest

install: $(READY)

$(READY): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python >= 3.11 (got $$($(PYTHON) --version)); run make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	@touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# mypy cannot follow the mapped packages of an editable install: it reads a plain one, from outside
	rm -rf $(VENV)/plain
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(VENV)/plain .
	cd $(VENV)/plain && ../bin/mypy --config-file ../../pyproject.toml -p gnnkit

docs: install
	$(BIN)/mkdocs build --strict --quiet

claims: install
	$(BIN)/python benchmarks/run_claims.py

peers: $(PEERS_VENV)/.ready
	$(PEERS_VENV)/bin/python benchmarks/peers.py
	$(PEERS_VENV)/bin/python benchmarks/claims/spmm_forward.py --graphs "power law 170k / 2.3M"
	$(PEERS_VENV)/bin/python benchmarks/claims/sampler.py --graphs "power law 170k / 2.3M"

$(PEERS_VENV)/.ready: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --constraint constraints.txt setuptools --editable ".[dgl,ogb]"
	$(PEERS_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
	  $(or $(wildcard $(GNNKIT_PEERS)/*.whl),torch-scatter torch-sparse)
	@touch $@

# On a machine with a GPU and its own torch: installs nothing but gnnkit itself.
gpu:
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(PYTHON) -m pytest -m cuda -p no:cacheprovider
	$(PYTHON) benchmarks/gpu.py

clean:
	rm -rf $(VENV) $(PEERS_VENV) runs report site build *.egg-info
