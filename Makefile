# Everything from a bare machine: `make help`. Needs make, git and Python 3.11 or newer; the rest is
# installed into .venv from wheels, so no compiler, Java or GPU is needed.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The default wheels of torch bring CUDA (7 GB installed); without it: make setup CPU=1
CPU ?=
CPU_WHEELS := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup reproduce quick test drills lint ui lock

help:  ## this list
	@echo "Reprise: vision papers rebuilt by one command, beside the numbers they printed"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo "With the environment active (source $(BIN)/activate): snakemake --cores all"

setup: $(INSTALLED)  ## make .venv and install the versions of requirements.lock (CPU=1: no CUDA)

$(INSTALLED): requirements.lock pyproject.toml
	@set -e; found=; \
	for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "setup: no Python 3.11 or newer. Debian 12, Ubuntu 24.04 or later: apt install python3 python3-venv" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip' 2>/dev/null; then \
	  echo "setup: $$found cannot make environments. Debian, Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "setup: $(VENV) with $$($$found --version)"; \
	[ -x $(BIN)/python ] || $$found -m venv $(VENV)
	@if [ -n "$(CPU)" ]; then \
	  echo "setup: torch without CUDA, from $(CPU_WHEELS)"; \
	  $(PIP) install --quiet --index-url $(CPU_WHEELS) $$(grep -E '^(torch|torchvision)==' requirements.lock); \
	fi
	@echo "setup: installing $$(grep -c == requirements.lock) packages, some minutes the first time"
	@$(PIP) install --quiet --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --editable .
	@$(PIP) check
	@touch $@

reproduce: setup  ## build every headline table of the default scale, the report and MLflow's store
	@$(BIN)/snakemake --cores all
	@echo "Done. Tables and report are in results/; \`make ui\` opens MLflow."

quick: setup  ## the same steps at scale smoke: a few minutes, its numbers mean nothing
	@$(BIN)/snakemake --cores all --config scale=smoke

test: setup  ## run all tests
	@$(BIN)/python -m pytest -n 2 tests/unit tests/golden
	@$(BIN)/python -m pytest -n 2 -m quick tests/drills
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/workflow

drills: setup  ## break things on purpose and see that results survive (docs/drills.md)
	@$(BIN)/python -m pytest tests/drills

lint: setup  ## check formatting, style and types
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy

ui: setup  ## open MLflow on 127.0.0.1
	@$(BIN)/python -m reprise ui

# torch pins its CUDA packages itself, and an installation without CUDA must not get them.
lock:  ## write requirements.lock from what is installed in .venv
	@$(PIP) freeze --exclude-editable > $(VENV)/frozen
	@if grep ' @ ' $(VENV)/frozen; then echo "lock: these were not installed by version" >&2; exit 1; fi
	@{ echo "# Exact versions of everything, for pip (written by \`make lock\`). The CUDA packages are left to"; \
	  echo "# torch, which pins them itself, so that an installation without CUDA gets none."; \
	  grep -Eiv '^(nvidia-|cuda-|triton==|reprise==)' $(VENV)/frozen | LC_ALL=C sort -f; \
	} > requirements.lock
	@echo "lock: $$(grep -c == requirements.lock) packages in requirements.lock"
