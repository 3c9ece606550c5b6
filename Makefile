# Two commands matter: `make demo` and `make test`. Both make .venv first, from a bare Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test clean

demo: $(DEMO)/swing_up.mp4
	@echo "The video is $(CURDIR)/$(DEMO)/swing_up.mp4; pictures of the run are in $(DEMO)/pictures."

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf .venv runs build *.egg-info

$(DEMO)/checkpoint.safetensors: | .venv/installed
	$(BIN)/python train.py --seed 0 --out $(DEMO)

$(DEMO)/swing_up.mp4: $(DEMO)/checkpoint.safetensors
	$(BIN)/python evaluate.py $(DEMO) --episodes 100 --json $(DEMO)/evaluation.json --video $@

# torch is pinned: on Linux a bare `torch` may bring gigabytes of CUDA libraries along.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
