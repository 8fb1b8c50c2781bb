# The whole course by a few words. Needs Python 3.10 or newer, pip and make, nothing else.
#
#   make lab PYTHON=python3.12      another Python
#   make lab PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"      the small torch without CUDA (Linux)
#   make lab LAB_ARGS=--no-browser  options for JupyterLab;   make test PYTEST_ARGS="-k prior"  options for pytest

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?= --quiet
LAB_ARGS ?=
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# JupyterLab refuses to run as root, which is what one is in a container, unless it is told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# No output of a test or a notebook may depend on what a hub answers today.
OFFLINE := HF_HUB_OFFLINE=1
TESTS := $(OFFLINE) $(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 tests $(NOTEBOOKS)

.PHONY: help lab test test-all course stamp clean

help:
	@echo "make lab       set up the course in $(VENV) and open JupyterLab on notebook 00"
	@echo "make test      set up and run all tests, the notebooks among them"
	@echo "make test-all  the same with the slow tests"
	@echo "make course    run every notebook from top to bottom; executed copies go to build/"
	@echo "make stamp     REPO=owner/name: write the course's address wherever it is needed"
	@echo "make clean     delete what the above left behind, $(VENV) excepted"

lab: $(VENV)/.lab-ready
	@echo "==> Opening JupyterLab on notebook 00 (Ctrl-C twice here to stop it)."
	@$(PY) -m jupyterlab $(AS_ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

test: $(VENV)/.test-ready
	@echo "==> Running the tests and $(words $(NOTEBOOKS)) notebooks."
	@$(TESTS) $(PYTEST_ARGS)

test-all: $(VENV)/.test-ready
	@echo "==> Running all tests, the slow ones too, and $(words $(NOTEBOOKS)) notebooks."
	@$(TESTS) -m "" $(PYTEST_ARGS)

# Without widget state and timings, so that a copy may be taken back into notebooks/.
course: $(VENV)/.lab-ready
	@echo "==> Running $(words $(NOTEBOOKS)) notebooks; executed copies go to build/."
	@$(if $(NOTEBOOKS),$(OFFLINE) $(PY) -m nbconvert --to notebook --execute --output-dir build \
		--ExecutePreprocessor.timeout=1800 --ExecutePreprocessor.store_widget_state=False \
		--ExecutePreprocessor.record_timing=False $(NOTEBOOKS))

stamp:
	@$(PYTHON) -m dislib._course $(REPO)

clean:
	@rm -rf .pytest_cache *.egg-info
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name tiny -exec rm -rf {} +
	@find . -name $(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
	@echo "Cleaned. $(VENV) and the recipes' work in build/tiny are kept, since they take long to make."

# Both marks are younger than the files they depend on, or the installation is brought up to date.
$(VENV)/.lab-ready: pyproject.toml constraints.txt | $(PY)
	@echo "==> Installing the course and JupyterLab into $(VENV); the first time takes some minutes."
	@$(PIP_INSTALL) -e ".[lab]"
	@echo "==> Checking the installation."
	@$(PY) -m dislib doctor
	@touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(PY)
	@echo "==> Installing the course and its tests into $(VENV); the first time takes some minutes."
	@$(PIP_INSTALL) -e ".[lab,test]"
	@touch $@

$(PY):
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no '$(PYTHON)' here. Name your Python: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "The course needs Python 3.10 or newer; this is $$($(PYTHON) -V). Try: make lab PYTHON=python3.12"; exit 1; }
	@echo "==> Creating $(VENV) with $$($(PYTHON) -V)."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) has no venv. On Debian and Ubuntu: sudo apt install python3-venv"; \
		exit 1; }
