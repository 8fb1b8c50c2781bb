# The whole course by a few words. Needs Python 3.11 or newer, pip and make, nothing else.
#
#   make lab PYTHON=python3.12      another Python
#   make lab PIP_ARGS=--quiet       options for pip; with any of your own, torch is the one that pip chooses
#   make lab LAB_ARGS=--no-browser  options for JupyterLab;   make test PYTEST_ARGS="-k prior"  options for pytest
#   make test-colab RECORD=yes      write the date and the versions of this run into the README, if it is green
#   make test CONSTRAINTS=/dev/null the newest libraries instead of the pinned ones
#   make bench BENCH="import prior" some of the benchmarks;    make cost NOTEBOOKS=notebooks/01_...  one notebook

PYTHON ?= python3
VENV ?= .venv
COLAB_VENV ?= .venv-colab
CONSTRAINTS ?= constraints.txt
LAB_ARGS ?=
PYTEST_ARGS ?=
RECORD ?=
BENCH ?=

# Unless PIP_ARGS says otherwise: pip shows its progress where there is a terminal, and takes the small torch where
# there is no NVIDIA GPU (see tools/small_torch.py).
ifeq ($(origin PIP_ARGS),undefined)
PIP_ARGS := $(shell test -t 2 || echo --quiet)
SMALL_TORCH := yes
endif

# torch's threads are not to spin while they wait, or a second program at work makes everything seven times slower.
export OMP_WAIT_POLICY ?= PASSIVE

PY := $(VENV)/bin/python
COLAB_PY := $(COLAB_VENV)/bin/python
PIP_INSTALL := -m pip install --disable-pip-version-check $(PIP_ARGS)
# dislib itself, its files and its rooms.
MODULES := dislib dislib.loading dislib.files dislib.device dislib.errors \
	$(subst /,.,$(patsubst %/__init__.py,%,$(wildcard dislib/*/__init__.py)))
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# JupyterLab refuses to run as root, which is what one is in a container, unless it is told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# No output of a test or a notebook may depend on what a hub answers today.
OFFLINE := HF_HUB_OFFLINE=1
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=900
# Other routines for the same sums, so that the last bits come out as on another make of processor, and one thread.
OTHER_CPU := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX OMP_NUM_THREADS=1
# The tests that compare with what was computed elsewhere, and is stored.
STORED := $(addprefix tests/test_,identity.py shipped.py lesson_01.py lesson_02.py lesson_03.py lesson_04.py results.py \
	claims.py memorisation.py race.py prior.py training.py)
TESTS := $(OFFLINE) $(PY) -m pytest $(NBVAL) tests $(NOTEBOOKS)

.PHONY: help lab test test-all test-other-cpu test-colab test-colab-313 hostile lint docs course bench cost stamp clean

help:
	@echo "make lab         set up the course in $(VENV) and open JupyterLab on notebook 00"
	@echo "make test        set up and run all tests, the notebooks among them"
	@echo "make test-all    the same with the slow tests"
	@echo "make test-other-cpu  what compares with stored numbers, computed as on another processor"
	@echo "make test-colab  the tests and all notebooks with the older libraries of Google Colab, in $(COLAB_VENV)"
	@echo "make test-colab-313  the same on Python 3.13, as on Colab; where there is none, in a Debian 13 below build/ (root)"
	@echo "make hostile     hostile input for MINUTES=2: damaged files, odd texts, killed writers; SEED=7 for the same once more"
	@echo "make lint        ruff, and the layers of the house"
	@echo "make docs        the API reference out of the docstrings, in build/docs"
	@echo "make course      run every notebook from top to bottom; executed copies go to build/"
	@echo "make bench       how fast and how large: ratios and aims; also in build/bench.json"
	@echo "make cost        measure what each notebook costs and keep it; the tests hold the cost cards to it"
	@echo "make stamp       REPO=owner/name: write the course's address wherever it is needed"
	@echo "make clean       delete what the above left behind, the two environments excepted"

lab: $(VENV)/.lab-ready
	@echo "==> Opening JupyterLab on notebook 00 (Ctrl-C twice here to stop it)."
	@$(PY) -m jupyterlab $(AS_ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

test: $(VENV)/.test-ready
	@echo "==> Running the tests and $(words $(NOTEBOOKS)) notebooks."
	@$(TESTS) $(PYTEST_ARGS)

test-all: $(VENV)/.test-ready
	@echo "==> Running all tests, the slow ones too, and $(words $(NOTEBOOKS)) notebooks."
	@$(TESTS) -m "" $(PYTEST_ARGS)

test-other-cpu: $(VENV)/.test-ready
	@echo "==> Running the tests that compare with stored numbers, as on another processor."
	@$(OTHER_CPU) $(OFFLINE) $(PY) -m pytest $(STORED) $(PYTEST_ARGS)

# A picked part of the tests is no proof, so it is not recorded.
test-colab: $(COLAB_VENV)/.test-ready
	@$(if $(and $(RECORD),$(PYTEST_ARGS)),echo "RECORD is for a whole run; leave out PYTEST_ARGS."; exit 1)
	@echo "==> Running the tests and $(words $(NOTEBOOKS)) notebooks with Colab's libraries."
	@$(OFFLINE) $(COLAB_PY) -m pytest $(NBVAL) -m "not slow and not browser" --junitxml=build/colab.xml \
		tests $(NOTEBOOKS) $(PYTEST_ARGS)
	@$(if $(RECORD),$(COLAB_PY) tools/record_colab.py build/colab.xml README.md $(words $(NOTEBOOKS)))

test-colab-313:
	@RECORD="$(RECORD)" PYTEST_ARGS="$(PYTEST_ARGS)" bash tools/colab_313.sh

hostile: $(VENV)/.test-ready
	@echo "==> Hostile input for $(or $(MINUTES),2) minutes."
	@$(OFFLINE) $(PY) tests/hostile.py --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/.test-ready
	@$(PY) -m ruff check .
	@$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-cache

docs: $(VENV)/.test-ready
	@$(PY) $(PIP_INSTALL) -c $(CONSTRAINTS) -e ".[docs]"
	@$(OFFLINE) $(PY) -m pdoc --docformat google --output-directory build/docs $(MODULES)
	@echo "==> The API reference is in build/docs/index.html."

# Without widget state and timings, and with the figures that stand for the widgets on a page without a kernel
# (DISLIB_STATIC), so that a copy may be taken back into notebooks/.
course: $(VENV)/.lab-ready
	@echo "==> Running $(words $(NOTEBOOKS)) notebooks; executed copies go to build/."
	@$(if $(NOTEBOOKS),$(OFFLINE) DISLIB_STATIC=1 $(PY) -m nbconvert --to notebook --execute --output-dir build \
		--ExecutePreprocessor.timeout=1800 --ExecutePreprocessor.store_widget_state=False \
		--ExecutePreprocessor.record_timing=False $(NOTEBOOKS))

bench: $(VENV)/.test-ready
	@echo "==> Measuring; leave the machine alone meanwhile."
	@$(OFFLINE) $(PY) tools/bench $(BENCH)

cost: $(VENV)/.test-ready
	@echo "==> Measuring $(words $(NOTEBOOKS)) notebooks; leave the machine alone meanwhile."
	@$(OFFLINE) $(PY) tools/bench/notebook_costs.py $(NOTEBOOKS)

stamp:
	@$(PYTHON) tools/stamp.py $(REPO)

clean:
	@rm -rf .pytest_cache *.egg-info
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name tiny -exec rm -rf {} +
	@find . \( -name $(VENV) -o -name '$(COLAB_VENV)*' \) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
	@echo "Cleaned. $(VENV), $(COLAB_VENV) and the recipes' work in build/tiny are kept, since they take long to make."

# Both marks are younger than the files they depend on, or the installation is brought up to date.
$(VENV)/.lab-ready: pyproject.toml constraints.txt | $(PY)
	@echo "==> Installing the course and JupyterLab into $(VENV); the first time takes some minutes."
	@$(if $(SMALL_TORCH),$(PY) tools/small_torch.py -c $(CONSTRAINTS) $(PIP_ARGS))
	@$(PY) $(PIP_INSTALL) -c $(CONSTRAINTS) -e ".[lab]"
	@echo "==> Checking the installation."
	@$(PY) -m dislib doctor
	@touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(PY)
	@echo "==> Installing the course and its tests into $(VENV); the first time takes some minutes."
	@$(if $(SMALL_TORCH),$(PY) tools/small_torch.py -c $(CONSTRAINTS) $(PIP_ARGS))
	@$(PY) $(PIP_INSTALL) -c $(CONSTRAINTS) -e ".[lab,test]"
	@touch $@

# As on Colab without JupyterLab, but with the pytest that Colab lacks.
$(COLAB_VENV)/.test-ready: pyproject.toml constraints-colab.txt | $(COLAB_PY)
	@$(COLAB_PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { rm -rf $(COLAB_VENV); \
		echo "Colab's versions need Python 3.11 to 3.13; this is $$($(PYTHON) -V). Try: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	@echo "==> Installing the course with Colab's libraries into $(COLAB_VENV); the first time takes some minutes."
	@$(if $(SMALL_TORCH),$(COLAB_PY) tools/small_torch.py -c constraints-colab.txt $(PIP_ARGS))
	@$(COLAB_PY) $(PIP_INSTALL) -c constraints-colab.txt -e ".[test]" ipykernel torchao
	@touch $@

$(PY) $(COLAB_PY):
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no '$(PYTHON)' here. Name your Python: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "The course needs Python 3.11 or newer; this is $$($(PYTHON) -V). Try: make lab PYTHON=python3.12"; exit 1; }
	@echo "==> Creating $(@:/bin/python=) with $$($(PYTHON) -V)."
	@$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); \
		echo "$(PYTHON) has no venv. On Debian and Ubuntu: sudo apt install python3-venv"; \
		exit 1; }
