# make run     the main job: dvc repro, on simulated photographs, or on PHOTOS=/path/to/photos; another question by
#              PREPARE="experiment=camera"
# make test    the whole test suite
# make lint    ruff and mypy --strict
# make docs    the pages in docs/, as site/index.html
# make dashboard   MLflow, at the address it prints
# make benchmark-sweep   a whole curve, here and with other tools: about an hour
# make benchmark-training   a training step, here and with other tools: about half an hour

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
INSTALLED := .venv/installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: run test lint docs dashboard benchmark-sweep benchmark-training

run: $(INSTALLED)
	@python -m advforensics.cli.pipeline $(if $(PHOTOS),--photos="$(PHOTOS)") $(if $(PREPARE),--prepare="$(PREPARE)")
	@dvc repro
	@python -m advforensics.cli.pipeline --results

test: $(INSTALLED)
	@pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	@ruff check .
	@ruff format --check .
	@mypy

docs: .venv/docs
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site/index.html"

dashboard: $(INSTALLED)
	@echo "MLflow, Ctrl-C ends it: $$(python -m advforensics.cli.pipeline --dashboard)"
	@mlflow server --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts --host 127.0.0.1 --port 5000 --workers 1

benchmark-sweep: .venv/benchmark
	@python -m experiments.benchmark_sweep.benchmark

benchmark-training: .venv/benchmark
	@python -m experiments.benchmark_training.benchmark

# Without dependencies: the lock has what these need, and the resolver would meet torchattacks' pins.
.venv/benchmark: $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps foolbox==3.3.4 adversarial-robustness-toolbox==1.20.1 eagerpy==0.30.0 six==1.17.0
	@touch $@

# What the lock has stays as it is.
.venv/docs: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint requirements.lock 'mkdocs-material>=9.6,<10'
	@touch $@

# torch by itself first, since on its own it brings what this machine's build needs; then the pinned rest without asking
# the resolver, which torchattacks' outdated pins would keep searching for ever.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else f'Python 3.11 is needed, {v} found; call make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@
