# make demo    the whole chain on MovieLens-100K, from download to recommendations
# make serve   the service and its web page at http://127.0.0.1:8000, on what make demo has made
# make test    the test suite
# make lint    style, types and the order of the rooms
# make docs    the documentation as a site in site/, with the notebooks that make notebooks has run
# Everything runs in .venv, which the first target makes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PYTHONPATH := .

.PHONY: demo serve test test-slow lint notebooks docs clean

demo: $(VENV)/installed
	$(BIN)/python scripts/demo.py

serve: $(VENV)/installed
	$(BIN)/python scripts/serve.py

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

notebooks: demo
	$(BIN)/python notebooks/execute.py --data_dir data --html build/notebooks

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) site build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
