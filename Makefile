PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install lint test pytest test-all docs demo clean

install: $(VENV)/installed

# opencv-python, which mmengine and mmcv-lite require by name, needs libraries of a desktop system;
# the headless wheel of the same version does not. It is installed over opencv-python, as both use
# the same folder; pip still lists opencv-python and does not reinstall it with an extra. Modules are
# not compiled ahead, as few are ever imported. setuptools warns about every editable installation.
$(VENV)/installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo 'error: $(PYTHON) is not Python 3.10 or newer with venv: apt install python3-venv,' \
		'or name another one, as in: make demo PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@echo 'Installing PyTorch, MMSegmentation and what they need: a few minutes, 2 GB or more'
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-compile -r requirements.txt
	$(BIN)/pip install --quiet --no-compile --no-deps --force-reinstall \
		"$$(sed -n 's/^opencv-python==/opencv-python-headless==/p' requirements.txt)"
	rm -rf $(VENV)/lib/python3*/site-packages/opencv_python.libs
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# make -j2 runs both at the same time: mypy takes one core for a minute.
test: lint pytest

pytest: install
	$(PYTEST)

# Also slow tests, and all comparisons with the authors' programs.
test-all: lint
	$(PYTEST) -m ''

# Builds work_dirs/site. Dead links, anchors and references fail.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo 'Open work_dirs/site/index.html, or for the search: $(BIN)/python -m http.server -d work_dirs/site'

demo: install
	$(BIN)/python tools/toy/demo.py

clean:
	rm -rf $(VENV)
