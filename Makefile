# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported, once: pip would compile all files of all packages, a minute of one processor, and
# without caches each of the tests' processes compiles anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test lint bench docs figures dist clean

setup: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/hsi demo --out demo_report

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

# Built, installed in fresh environments and used there, without the network.
dist: setup
	$(BIN)/python tests/distribution.py

# Notebooks are executed, figures drawn anew; warnings are errors.
docs: setup
	rm -rf docs/_generated
	HSITOOLS_DOCS_NOTEBOOKS=force $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# The figures that README shows.
figures: setup
	$(BIN)/python docs/figures.py docs/images

clean:
	rm -rf $(VENV) demo_report build dist docs/_build docs/_generated docs/notebooks docs/reference/api
