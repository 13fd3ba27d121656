# make demo: install into .venv, then both papers on the embedded digits, offline; the last line is the path of the report in demo-out/.
# make test: install, then the tests.
# the first of these that runs (a name on the PATH may be an empty shim)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
DATA ?=
# the first minutes on a GPU: docs/howto/gpu.md. Nothing is installed where there is no .venv: a lent machine has its own packages
GPU_PYTHON ?= $(shell test -x $(BIN)/python && echo $(BIN)/python || echo python3)
GPU_ARGS ?=

.PHONY: install demo test test-all bench gpu docs lint clean
.DEFAULT_GOAL := install

install: $(STAMP)

# torch first and pinned by the constraints: unpinned, it would bring gigabytes of CUDA
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3 found; install Python 3.10 to 3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) -m venv failed; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (a minute or two)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo "compiling the kernels (once)" >&2
	@$(BIN)/python -m smalti.bench.warm
	@touch $(STAMP)

demo: install
	@$(BIN)/smalti demo --out demo-out

test: install
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

test-all: install
	@$(BIN)/python -m pytest -q -m "slow or not slow"

bench: install
	@$(BIN)/smalti bench $(if $(DATA),--data $(DATA)) --out bench-out --overwrite

gpu:
	@PYTHONPATH=src PYTHONUNBUFFERED=1 $(GPU_PYTHON) tools/gpu $(if $(OUT),--out $(OUT)) $(GPU_ARGS)

docs: $(DOCS_STAMP)
	@$(BIN)/python -m sphinx -b html -n -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS_STAMP)

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-out bench-out gpu-out docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
