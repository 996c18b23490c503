# Two commands: `make audit` gives the verdicts, `make test` checks the code. Both set up .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# pytest-xdist workers; 2 suits the smallest machines this is run on.
WORKERS ?= 2
ARGS   ?=
# One thread a worker: two torch processes of two threads each on two cores run several times slower.
export OMP_NUM_THREADS ?= 1
# glibc would hand the memory of every tensor back to the system and fault it in anew: a fifth of a forward pass.
export MALLOC_TRIM_THRESHOLD_ ?= 268435456
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
# Every worker would compile this project, and what pytest rewrites of hypothesis, anew: two seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit test rehearse lint setup clean
.DELETE_ON_ERROR:

# Tensors in pages of 2 MB, where the system offers them: a tenth of a forward pass again.
audit: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
audit: $(READY)
	$(BIN)/pytest audits/ -n $(WORKERS) --dist loadgroup $(ARGS)

test: lint
	$(BIN)/pytest tests/ -n $(WORKERS) --dist loadfile $(ARGS)

rehearse: $(READY)
	$(BIN)/specref rehearse $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "SpecRef needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
