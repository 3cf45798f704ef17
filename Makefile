PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest

.PHONY: train test whole oldest lint docs notebooks bench peers robust venv clean

train: $(VENV)/.ready  ## train on synthetic spoken digits; a minute or two on two cores
	$(BIN)/python train_SHD.py --recipe demo

test: lint  ## lint, types, tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

whole: lint  ## all tests, also those that are marked as long; half an hour on two cores
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "long or not long"

oldest: $(OLDEST)/.ready  ## the tests (or TESTS="...") with the lowest version of every dependency; see also PYTHON
	$(OLDEST)/bin/python -m pytest --numprocesses auto --dist loadfile $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the pages as a site in site/; a broken link, or anything that is loaded from the network, fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

notebooks: $(VENV)/.ready  ## run the notebooks and save them with their figures
	$(BIN)/python -m tests.support.notebook

bench: $(VENV)/.ready  ## speed and memory of the CPU engine on this machine
	$(BIN)/python benchmarks/speed.py

peers: $(VENV)/.ready  ## the same work by other tools, each in an environment of its own in .peers/ (6 GB)
	$(BIN)/python benchmarks/beside.py --out docs --page docs/speed.md

robust: $(VENV)/.ready  ## damaged files, kills and sanitizers, into docs/robustness.md; about half an hour on two cores
	$(BIN)/python benchmarks/robustness.py --out docs/robustness.md

venv: $(VENV)/.ready

$(OLDEST)/.ready: pyproject.toml $(VENV)/.ready
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) .peers build dist site *.egg-info
