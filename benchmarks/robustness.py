"""How much does it bear? The agent with its belief and without, and the oracle, when disturbed.

python -m benchmarks.robustness                    # ten seeds
python -m benchmarks.robustness --seeds 0 1 2      # some of them
python -m benchmarks.robustness --committed        # print the table of the repository

A cell is a seed: it trains a model of the default preset from nothing, into ``--runs``, and lets it
act under every disturbance of the table. It leaves a file in ``robustness``, which grows by a row
for each disturbance. The oracle is a cell of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.cells import complain, compute, train
from benchmarks.store import ROOT, Benchmark, Cell
from e2c.config import EvaluationConfig, Recipe
from e2c.control.agent import Agent
from e2c.control.base import make_world, problem_spec
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import assess, play_oracle
from e2c.evaluation.disturbances import Disturbance
from e2c.options import to_dict
from e2c.presets import preset

CONFIG = replace(preset("default"), evaluation=EvaluationConfig(0))
START_SEED, EPISODES = 1000, 20
ORACLE = "oracle"

DISTURBANCES = {
    "none": Disturbance(),
    "frame noise 10": Disturbance(frame_noise=10.0),
    "frame noise 25": Disturbance(frame_noise=25.0),
    "brightness +20": Disturbance(brightness=20.0),
    "brightness -20": Disturbance(brightness=-20.0),
    "contrast +20%": Disturbance(contrast=0.2),
    "contrast -20%": Disturbance(contrast=-0.2),
    "moving patch 12x12": Disturbance(patch=12),
    "20% black frames": Disturbance(black_frames=0.2),
    "0.5 s blind at the top": Disturbance(blind=0.5),
    "state noise 1": Disturbance(state_noise=1.0),
    "state noise 2": Disturbance(state_noise=2.0),
    "kick of 2 N m": Disturbance(kick=2.0),
    "mass +10%": Disturbance(mass=1.1),
    "mass -10%": Disturbance(mass=0.9),
    "length +10%": Disturbance(length=1.1),
    "length -10%": Disturbance(length=0.9),
    "mass +20%": Disturbance(mass=1.2),
    "mass -20%": Disturbance(mass=0.8),
    "length +20%": Disturbance(length=1.2),
    "length -20%": Disturbance(length=0.8),
    "torque one step late": Disturbance(delay=1),
    "friction 0.1 N m s": Disturbance(friction=0.1),
}
"""Rows of the table. What comes at the top comes after 6 s, when the rod has long been there."""

Row = dict[str, dict[str, Any]]
"""Of one disturbance: who acted, and the figures."""


@dataclass(frozen=True)
class Robustness(Benchmark):
    """Measure under disturbances, seed by seed, and draw the table."""

    seeds: tuple[int, ...] = tuple(range(10))
    """Seeds to train and measure."""
    runs: Path = ROOT / "runs" / "robustness"
    """Folder of the models; those that are there are not trained again."""
    jobs: int = 1
    """Cells computed at the same time, each on its share of the cores."""
    cell: str = ""
    """Compute this one cell here, a seed or oracle, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        if self.cell:
            _compute(self.cell, self._cell(self.cell), self.runs)
            return
        failed = list[str]()
        if not self.committed:
            asked = {name: self._cell(name) for name in (*map(str, self.seeds), ORACLE)}
            done = {name: found["rows"].keys() for name, found in self.found(asked).items()}
            missing = [name for name in asked if done.get(name) != DISTURBANCES.keys()]
            places = ("--results", str(self.folder), "--runs", str(self.runs.absolute()))
            failed = compute("benchmarks.robustness", missing, self.jobs, *places)
        names = sorted(path.stem for path in (self.folder / "robustness").glob("*.json"))
        found = self.found({name: self._cell(name) for name in names})
        self.tell("robustness", table({name: result["rows"] for name, result in found.items()}))
        complain(failed)

    def _cell(self, name: str) -> Cell:
        """Return the cell of a seed, or of the oracle."""
        asked = {"config": to_dict(CONFIG), "start_seed": START_SEED, "episodes": EPISODES}
        return Cell(self.folder / "robustness" / f"{name}.json", {"cell": name, **asked})


def _compute(name: str, cell: Cell, runs: Path) -> None:
    """Compute a cell, row by row."""
    if name not in (ORACLE, *map(str, range(1000))):
        raise E2CError(f"There is no cell {name!r}; choose a seed, or {ORACLE}.")
    agent = None if name == ORACLE else _agent(int(name), runs / f"seed_{name}")
    rows: dict[str, Row] = (cell.found() or {"rows": {}})["rows"]
    for title, disturbance in DISTURBANCES.items():
        if title not in rows:
            rows[title] = _oracle(disturbance) if agent is None else _measure(agent, disturbance)
            told = {"cell": name, "start_seed": START_SEED, "episodes": EPISODES}
            cell.keep({**told, "rows": rows})


def _agent(seed: int, folder: Path) -> Agent:
    """Return the agent of a seed, which is trained where there is none yet."""
    train(Recipe(CONFIG, seed=seed), folder)
    return load_agent(folder)


def _measure(agent: Agent, disturbance: Disturbance) -> Row:
    """Let the agent act with and without its belief."""
    options = agent.options
    agents = {
        name: Agent(agent.model, agent.spec, replace(options, belief=belief))
        for name, belief in (("belief", True), ("encodings", False))
    }
    return {
        name: _figures(assess(one, EPISODES, START_SEED, disturbance, oracle=False).results)
        for name, one in agents.items()
    }


def _oracle(disturbance: Disturbance) -> Row:
    """Let the oracle act."""
    spec = problem_spec(make_world(CONFIG.env))
    ideal = play_oracle(spec, CONFIG.planner, EPISODES, START_SEED, disturbance)
    return {ORACLE: _figures(ideal.scores.summary())}


def _figures(results: dict[str, Any]) -> dict[str, Any]:
    kept = ("success_rate", "time_in_goal", "nis", "scale", "gated")
    return {key: results[key] for key in kept if key in results}


def table(cells: Mapping[str, dict[str, Row]]) -> str:
    """Return the finished rows of the cells, by their names, as Markdown."""
    seeds = [rows for name, rows in cells.items() if name != ORACLE]
    ideal = cells.get(ORACLE, {})
    head = [
        *("disturbance", "models", "success: mean", "worst", "in goal", "NIS", "scale", "gated"),
        *("without: mean", "worst", "in goal", "oracle: success", "in goal"),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for title in DISTURBANCES:
        rows = [cell[title] for cell in seeds if title in cell]
        if rows:
            oracle = ideal.get(title, {}).get(ORACLE, {})
            lines.append(f"| {title} | {len(rows)} | {' | '.join(_line(rows, oracle))} |")
    return "\n".join(lines)


def _line(rows: list[Row], oracle: dict[str, Any]) -> list[str]:
    def of(who: str, key: str) -> list[float]:
        return [row[who][key] for row in rows if row[who].get(key) is not None]

    def success(who: str) -> list[str]:
        rates = of(who, "success_rate")
        goal = f"{np.mean(of(who, 'time_in_goal')):.3f}"
        return [f"{np.mean(rates):.1%}", f"{min(rates):.0%}", goal]

    def mean(key: str, form: str) -> str:
        found = of("belief", key)
        return format(np.mean(found), form) if found else "-"

    best = [format(oracle[key], form) for key, form in _ORACLE_FORMS.items() if key in oracle]
    calibration = [mean("nis", ".2f"), mean("scale", ".2f"), mean("gated", ".1%")]
    return [*success("belief"), *calibration, *success("encodings"), *(best or ["-", "-"])]


_ORACLE_FORMS = {"success_rate": ".0%", "time_in_goal": ".3f"}


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(Robustness)())
