# Two commands matter: `make demo` and `make test`. Both make .venv first, from Python >= 3.11 with its
# venv package (Debian: python3-venv).
# `make model` trains the model that comes with the package anew. `make docs` runs the lecture and builds the
# documentation into site/.
# `make figures` prints every figure of README and docs from the committed results, and tells which
# are older than the code; `make remeasure` measures them again, for days: with ROWS="goals kills" and
# SEEDS="0 1", some of them.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
TRAINED := e2c/trained/pendulum

.PHONY: demo test lint types pytest docs model figures remeasure clean

demo: $(DEMO)/run.json
	@echo "Open $(CURDIR)/$(DEMO)/report.html; the video alone is $(DEMO)/episode.mp4."

# Side by side, since mypy uses one core alone; whichever fails, `make test` fails.
test: .venv/installed
	$(MAKE) --jobs=3 lint types pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

# A process that has no tests left takes over half of those that wait for another.
pytest: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Every page of the lecture runs; a page that fails, or a link that leads nowhere, ends the build.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf .venv runs build site *.egg-info

$(DEMO)/run.json: | .venv/installed
	$(BIN)/python train.py --seed 0 --evaluation.episodes 100 --out $(DEMO)

model: .venv/installed
	$(BIN)/python train.py --seed 0 --out runs/model --evaluation.episodes 100
	mkdir -p $(TRAINED)
	cp runs/model/checkpoint.safetensors runs/model/config.yaml runs/model/evaluation.json \
	  runs/model/run.json $(TRAINED)
	$(BIN)/python -m benchmarks.model_card

figures: .venv/installed
	$(BIN)/python -m benchmarks

ROWS ?= all
remeasure: .venv/installed
	$(BIN)/python -m benchmarks --remeasure --rows $(ROWS) $(if $(SEEDS),--seeds $(SEEDS))

# The first two plans and the first steps of training compile what they need, once for all that follow.
FIRST_USE := import e2c, tempfile; agent = e2c.load_agent(e2c.TRAINED); \
  goal = agent.spec.layout.from_planes(agent.model.goal.numpy()); agent.act(goal); agent.act(goal); folder = tempfile.TemporaryDirectory(); \
  e2c.train(folder.name + "/run", data={"transitions": 60, "rounds": 0}, evaluation={"episodes": 0}, \
  optimiser={"steps": 1, "dynamics_steps": 1, "sight_steps": 1})

# torch is pinned. On Linux, PyPI's brings gigabytes of CUDA libraries along; make gives a variable of its command
# line to pip, which takes the version without them from the index named here.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package, on Debian with: apt install python3-venv" >&2; exit 2; }
	@echo "Installing into .venv, once; this takes minutes, and 6 GB on Linux. 2 GB do without CUDA: interrupt this, and"
	@echo "type: make $(MAKECMDGOALS) PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@echo "Compiling planner and dynamics, once; this takes about a minute."
	$(BIN)/python -c '$(FIRST_USE)' >.venv/compiling.log 2>&1 || { cat .venv/compiling.log >&2; exit 2; }
	touch $@

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@
