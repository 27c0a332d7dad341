# Two commands do it all: `make figures` and `make test`. Both set up .venv on their first call.

PYTHON ?= python3
VENV   := .venv
ADAPTERS := .venv-adapters
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BENCHMARKS := doors discrete theory claims shrink twolayer streams explore images cpu_step compiled evaluation dash_share sweep
SCRIPTS := $(sort $(filter-out simulations/remedies.py, $(wildcard simulations/*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup figures check-figures quick notebooks lab test lint format test-slow test-wheel test-versions test-gpu test-adapters test-slurm bench app passes pages docs clean

help: ## list all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## build .venv with pinned dependencies (done by the others when needed)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
		{ echo "make: $(PYTHON) must be Python 3.11 to 3.14; say make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); } || \
		{ rm -rf $(VENV); echo "make: $(PYTHON) has no working venv module; install it (Debian: python3-venv)" >&2; exit 2; }
	@echo "Installing pinned dependencies into $(VENV) (some minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deep,test,lint,notebook,rl]'
	@touch $@

figures: $(READY) ## regenerate every figure of simulations/ into figures/; say how each compares with what was committed
	@$(BIN)/dashtheory figure --before
	@$(MAKE) --no-print-directory again BEGUN=build/figures.begun OPTIONS="$(OPTIONS)"
	@$(BIN)/dashtheory figure --report $(OPTIONS) || test $$? -eq 1

check-figures: $(READY) ## compute every figure anew into build/check/, figures/ untouched; fail where one differs
	@$(MAKE) --no-print-directory again BEGUN=build/check.begun OPTIONS="--out build/check $(OPTIONS)"
	@$(BIN)/dashtheory figure --report --against figures --out build/check $(OPTIONS)

quick: $(READY) ## draw every figure at toy size into build/quick/
	@$(MAKE) --no-print-directory draw OPTIONS="--quick $(OPTIONS)"

.PHONY: remedies
remedies: $(READY) ## compare every remedy on every stream (hours; goes on where it was stopped)
	@$(BIN)/python simulations/remedies.py $(OPTIONS)

.PHONY: again
again:
	@mkdir -p build; test -e $(BEGUN) || touch $(BEGUN)  # from a call that was killed: this one goes on
	@$(MAKE) --no-print-directory draw OPTIONS="--recompute --since $(BEGUN) $(OPTIONS)"
	@rm -f $(BEGUN)

.PHONY: draw
draw:
	@set -e; n=0; for script in $(SCRIPTS); do n=$$((n + 1)); \
		echo "[$$n/$(words $(SCRIPTS))] $$script"; $(BIN)/python $$script $(OPTIONS); done

notebooks: $(READY) ## execute the course's notebooks in place
	@$(BIN)/python notebooks/execute.py $(sort $(wildcard notebooks/*.ipynb))

lab: $(READY) ## open the course in JupyterLab
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/01_the_puzzle.ipynb

passes: $(READY) ## make the explorers' stored networks and runs anew (a minute)
	@$(BIN)/python -m dashtheory.explore.passes

test: lint ## lint, types and tests
	@$(BIN)/python -m pytest -q -n auto

lint: $(READY) ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "make: run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy

format: $(READY) ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

test-wheel: $(READY) ## build wheel and sdist, install them into empty environments and try them there
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[release]'
	@$(BIN)/python tests/wheel.py

test-versions: ## the core of the tests under every interpreter that is here, and with the oldest libraries
	@$(PYTHON) tests/versions.py $(OPTIONS)

test-slow: $(READY) ## the tests that take minutes
	@$(BIN)/python -m pytest -q -n auto -m slow

test-gpu: $(READY) ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -q -m gpu

test-adapters: $(ADAPTERS)/.ready ## the adapters beside Lightning, transformers, skorch, Avalanche, timm and peft, in .venv-adapters
	@$(ADAPTERS)/bin/python -m pytest -q tests/adapters

$(ADAPTERS)/.ready: pyproject.toml constraints.txt
	@test -x $(ADAPTERS)/bin/python || $(PYTHON) -m venv $(ADAPTERS)
	@echo "Installing training frameworks into $(ADAPTERS) (some minutes the first time) ..."
	@$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deep,test,adapters]'
	@$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps avalanche-lib==0.6.0 pytorchcv==0.0.74 GPUtil==1.4.0 || \
		echo "make: Avalanche is left out; its adapter is tested against a fake" >&2
	@touch $@

test-slurm: $(VENV)/.engines ## the tests with a real Slurm of this machine and Dask (root; Debian: slurm-wlm, munge)
	@sh tests/parallel/real_slurm.sh $(BIN)/python -m pytest -q tests/parallel -m 'slurm or not slurm'

$(VENV)/.engines: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[slurm,dask,tensorboard]'
	@touch $@

bench: $(READY) ## measure speed ratios into benchmarks/results/
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done

app: $(READY) ## open the explorers in a browser: a page on this machine (PORT=8866 chooses its port)
	@$(BIN)/python -m dashtheory.explore.app notebooks/explorers.ipynb $(if $(PORT),--port $(PORT))

pages: $(READY) ## write the pages that are made of tables and records, and the made parts of others, anew
	@$(BIN)/python docs/make.py

docs: $(VENV)/.docs ## build the site of course, theory and API into build/docs/
	@rm -rf build/docs
	@$(BIN)/python -m sphinx -E -q -W --keep-going -b html -c docs . build/docs
	@$(BIN)/python docs/check_links.py build/docs
	@echo "Open build/docs/index.html"

$(VENV)/.docs: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

clean: ## remove .venv, caches and toy figures
	@rm -rf $(VENV) $(ADAPTERS) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info figures/.partial
	@rm -rf docs/reference
	@rm -f docs/rules/table.inc $(filter-out docs/rules/index.md,$(wildcard docs/rules/*.md))
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
