# The same commands serve people, hooks and CI. `make demo` and `make test` prepare a virtual environment themselves.
VENV := .venv
PYTHON := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1

# timeout: each group of tests has a budget in seconds, 20 minutes in all; `make test-all` has none.
BUDGET = timeout --foreground --signal=INT --kill-after=10
PYTEST = $(PYTHON) -m pytest --durations=5

.PHONY: demo test test-all check format bench clean

demo: $(VENV)/offline
	$(VENV)/bin/bandits run newsroom

test: $(VENV)/dev
	$(MAKE) --no-print-directory check
	$(BUDGET) 120 $(PYTEST) -m install
	$(BUDGET) 560 $(PYTEST) -m "not install and not model and not statistics and not faults"
	$(BUDGET) 210 $(PYTEST) -m "model and not faults and not statistics"
	$(BUDGET) 170 $(PYTEST) -m statistics
	$(BUDGET) 140 $(PYTEST) -m faults

test-all: $(VENV)/dev
	$(MAKE) --no-print-directory check
	$(PYTEST)

check: $(VENV)/dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# Minutes, on a machine that does nothing else; BENCH="--write docs" also brings the docs up to date.
bench: $(VENV)/dev
	$(PYTHON) -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info

# torch comes first and alone: a plain `torch` would bring gigabytes of CUDA along.
$(VENV)/torch: constraints.txt
	test -d $(VENV) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet --constraint constraints.txt torch
	touch $@

$(VENV)/offline: $(VENV)/torch pyproject.toml
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable ".[offline]"
	touch $@

$(VENV)/dev: $(VENV)/torch pyproject.toml
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable ".[offline,dev]"
	touch $@ $(VENV)/offline
