# The one door. `make` lists what there is; every target sets up .venv by itself the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := envs/cpu.lock
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(VENV)/ready ## build .venv from the lock (2 to 4 minutes the first time)

# Bytecode is compiled at install: TensorFlow then imports in 4 s rather than 17.
$(VENV)/ready: $(LOCK) pyproject.toml
	@echo "Setting up $(VENV) from $(LOCK) (once; about 2 GB, 2 to 4 minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else f"covidpipe needs Python 3.11 to 3.13, found {sys.version.split()[0]}: set PYTHON=python3.11")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "$(VENV) is ready."
