# `make help` lists what there is. Settings: PROFILE, STUDY, DEVICE, MAX_STEPS, MINUTES, SEEDS, OVERRIDES.
# Without make: `asyrepro --help`. Each target calls a command of it.
PYTHON  ?= python3
VENV    ?= .venv
RUN     := $(VENV)/bin/python
PROFILE ?= auto
DEVICE  ?= auto
STUDY   ?=
SEEDS   ?=
MAX_STEPS ?=
MINUTES ?=
OVERRIDES ?=
DATA    ?= set5 set12 set14 bsd300 bsd400

.DEFAULT_GOAL := help
.PHONY: help setup data reproduce report verify notebooks test lint format docs bench gpu lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## create .venv and install everything into it

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

data: setup  ## download the data sets (DATA="set5 set12 set14 bsd300 bsd400")
	$(RUN) -m asyrepro data $(DATA)

reproduce: setup  ## train, evaluate, and make every table and figure (PROFILE, STUDY, SEEDS, MINUTES)
	$(RUN) -m asyrepro reproduce profile=$(PROFILE) runtime.device=$(DEVICE) \
	  $(if $(STUDY),study=$(STUDY)) $(if $(SEEDS),seed=$(SEEDS)) \
	  $(if $(MAX_STEPS),max_steps=$(MAX_STEPS)) $(if $(MINUTES),minutes=$(MINUTES)) $(OVERRIDES)

report: setup  ## make a study's tables, figures and verdicts again (STUDY), or the front page
	$(RUN) -m asyrepro report $(if $(STUDY),study=$(STUDY))

verify: setup  ## check a study's files and evaluate its stored weights again (STUDY)
	$(RUN) -m asyrepro verify results/$(or $(STUDY),$(error give STUDY=name))

notebooks: setup  ## execute the notebooks again and save their outputs
	$(RUN) -m jupytext --quiet --sync notebooks/*.py
	OMP_NUM_THREADS=1 $(RUN) scripts/notebooks.py notebooks/*.ipynb

test: setup  ## run the test suite, a file of tests on each core; says what was skipped, and why
	$(RUN) -m pytest --numprocesses auto --dist loadfile

lint: setup  ## check style, formatting, types, and which package imports which
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-cache

format: setup  ## put style and formatting right
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: setup  ## build the documentation into build/site/docs
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

bench: setup  ## measure speed as ratios within one run
	$(RUN) scripts/bench

gpu: setup  ## check, measure and train on a GPU for so many minutes (MINUTES, DEVICE, PROFILE)
	$(RUN) scripts/gpu.py minutes=$(or $(MINUTES),$(error give MINUTES=number)) \
	  device=$(if $(filter auto,$(DEVICE)),cuda,$(DEVICE)) \
	  profile=$(if $(filter auto,$(PROFILE)),h200,$(PROFILE)) $(OVERRIDES)

lock: setup  ## pin what is installed in requirements.lock, after make test has passed
	$(RUN) scripts/lock.py

clean:  ## remove .venv and caches; data and results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find asyrepro tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
