"""Does it swing up, for every seed? The table of the README.

python -m benchmarks.swing_up                     # default preset, ten seeds
python -m benchmarks.swing_up --rows all --jobs 2 # every row of the table
python -m benchmarks.swing_up --committed         # print the table of the repository

Every cell (row, seed) is a training run from nothing, evaluated on 100 hanging starts from images
alone, and leaves one JSON file in ``swing_up``. A benchmark that was killed goes on where it was.
The oracle is a row of its own.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.cells import complain, compute
from benchmarks.store import Benchmark, Cell, missing
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe
from e2c.control.agent import Agent
from e2c.control.base import make_world
from e2c.control.oracle import Oracle
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import assess
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.learning import run
from e2c.options import to_dict
from e2c.presets import preset

START_SEED, EPISODES, PERTURBED_EPISODES = 1000, 100, 20

PERTURBATIONS = {
    "kick": Disturbance(kick=2.0),
    "mass_plus": Disturbance(mass=1.1),
    "mass_minus": Disturbance(mass=0.9),
    "length_plus": Disturbance(length=1.1),
    "length_minus": Disturbance(length=0.9),
    "frame_noise": Disturbance(frame_noise=10.0),
}


def _budget(transitions: int, rounds: int, episodes: int, length: int, steps: int) -> Config:
    """The default preset with other amounts of data, own episodes of ``length`` in each round."""
    base = preset("default")
    data = replace(
        base.data,
        transitions=transitions,
        rounds=rounds,
        episodes_per_round=episodes,
        own_length=length,
    )
    optimiser = replace(base.optimiser, steps_per_round=steps, sight_steps=0)
    return replace(base, data=data, optimiser=optimiser)


def _few(transitions: int, rounds: int, length: int, steps: int) -> Config:
    """The default from so few data that roll-outs are compared at three times, not at one.

    Where data are few, what is learned from each of them counts for more than the time it takes.
    """
    config = _budget(transitions, rounds, 1, length, steps)
    optimiser = replace(config.optimiser, steps=4000, dynamics_steps=1500)
    return replace(config, objective=replace(config.objective, targets=3), optimiser=optimiser)


def _restarts() -> Config:
    """10,000 transitions, half of them from states set at random, and one network for both frames.

    It takes larger and fewer steps than the default, and plans as it did then.
    """
    base = preset("default")
    data = DataConfig(5000, restarts=True, rounds=5, episodes_per_round=5, own_length=None)
    model = replace(base.model, encoder="mlp", encoder_hidden=(128, 128))
    optimiser = replace(
        base.optimiser,
        steps=3000,
        steps_per_round=400,
        learning_rate=3e-3,
        learning_rate_own=1e-3,
        dynamics_steps=0,
    )
    changed: dict[str, Any] = {
        "model": model,
        "objective": replace(base.objective, targets=3),
        "optimiser": optimiser,
        "data": data,
        "planner": replace(base.planner, horizon=50, iterations=1, catch=False),
    }
    return replace(base, **changed)


ROWS: dict[str, tuple[Config, int]] = {
    "500": (_few(200, 3, 100, 500), 10),
    "1000": (_few(400, 4, 150, 750), 10),
    "default": (preset("default"), 10),
    "5000": (_budget(1000, 20, 2, 100, 250), 10),
    "restarts": (_restarts(), 10),
    "paper": (preset("paper"), 3),
}
"""Row of the table: its configuration and how many seeds."""
DISTURBED = ("default", "restarts")
"""Rows whose models are disturbed too."""


@dataclass(frozen=True)
class SwingUp(Benchmark):
    """Measure swing-up over seeds, cell by cell, and draw the table."""

    rows: tuple[str, ...] = ("default",)
    """Rows to measure: names, or all."""
    seeds: tuple[int, ...] = ()
    """Seeds to measure; left out, 0, 1, ... as many as the row has."""
    jobs: int = 2
    """Cells computed at the same time, each on its share of the cores."""
    cell: str = ""
    """Compute this one cell here, ROW:SEED, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        if self.cell:
            self._cell(self.cell).keep(_measure(*_parsed(self.cell)))
            return
        failed = list[str]()
        if not self.committed:
            asked = {name: self._cell(name) for name in ("oracle:0", *self._names())}
            place = ("--results", str(self.folder))
            failed = compute("benchmarks.swing_up", missing(asked), self.jobs, *place)
        self.tell("swing_up", table({row: self._cells(row) for row in ("oracle", *ROWS)}))
        complain(failed)

    def _names(self) -> list[str]:
        """Name the cells asked for.

        Raises:
            E2CError: for a row that there is not.
        """
        names = tuple(ROWS) if self.rows == ("all",) else self.rows
        for name in names:
            if name not in ROWS:
                raise E2CError(f"There is no row {name!r}; choose among: {', '.join(ROWS)}, all.")
        return [f"{row}:{seed}" for row in names for seed in self.seeds or range(ROWS[row][1])]

    def _cell(self, name: str) -> Cell:
        """Return the cell called ``ROW:SEED``."""
        row, seed = _parsed(name)
        path = self.folder / "swing_up" / f"{row}_seed{seed}.json"
        config = preset("default") if row == "oracle" else ROWS[row][0]
        starts = {"start_seed": START_SEED, "episodes": EPISODES}
        return Cell(path, {"config": to_dict(config), "seed": seed, **starts})

    def _cells(self, row: str) -> list[dict[str, Any]]:
        """Read the results of a row: all that the repository holds, or those of these options."""
        paths = sorted((self.folder / "swing_up").glob(f"{row}_seed*.json"))
        names = [f"{row}:{path.stem.partition('_seed')[2]}" for path in paths]
        return list(self.found({name: self._cell(name) for name in names}).values())


def _parsed(cell: str) -> tuple[str, int]:
    row, _, seed = cell.partition(":")
    if row not in ("oracle", *ROWS) or not seed.isdecimal():
        raise E2CError(f"--cell is {cell!r}; it must be ROW:SEED, like default:0.")
    return row, int(seed)


def _measure(row: str, seed: int) -> dict[str, Any]:
    """Train and evaluate one cell."""
    if row == "oracle":
        return _measure_oracle()
    config, started = replace(ROWS[row][0], evaluation=EvaluationConfig(0)), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained = run.train(Recipe(config, seed=seed), Path(folder) / "run")
    results = assess(trained.agent, EPISODES, START_SEED, oracle=False).results
    seconds = {**trained.seconds, "evaluate": results.pop("seconds")}
    seconds["total"] = time.perf_counter() - started
    if row in DISTURBED:
        results["perturbed"] = {
            name: _perturbed(trained.agent, disturbance)
            for name, disturbance in PERTURBATIONS.items()
        }
    return {
        **{"row": row, "seed": seed, "start_seed": START_SEED, "transitions": trained.transitions},
        **results,
        "run_seconds": seconds,
    }


def _perturbed(agent: Agent, disturbance: Disturbance) -> dict[str, float]:
    found = assess(agent, PERTURBED_EPISODES, START_SEED, disturbance, oracle=False).results
    return {key: found[key] for key in ("success_rate", "time_in_goal")}


def _measure_oracle() -> dict[str, Any]:
    """Run the oracle on the same starts."""
    config = preset("default")
    world = make_world(config.env, EPISODES)
    expert = Oracle(world, config.planner)
    played = evaluate(world, expert, START_SEED, name="oracle")
    scores = played.scores.summary() | {"cost_mean": float(expert.price(played.episodes).mean())}
    return {"row": "oracle", "start_seed": START_SEED, **scores}


def table(rows: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return the figures as Markdown.

    Args:
        rows: the results of each row, ``oracle`` among them.
    """
    oracle = rows["oracle"]
    ideal = oracle[0]["time_in_goal"] if oracle else float("nan")
    lines = [
        "| row | models | transitions | success: mean | worst | in goal | / oracle | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ROWS:
        if cells := rows[name]:
            lines.append(_line(name, cells, ideal))
    if oracle:
        lines.append(
            f"| oracle | - | - | {oracle[0]['success_rate']:.1%} | - | {ideal:.3f} | 1 | - |"
        )
    for row, name in itertools.product(DISTURBED, PERTURBATIONS):
        if cells := [cell["perturbed"][name] for cell in rows[row]]:
            success = [cell["success_rate"] for cell in cells]
            share = np.mean([cell["time_in_goal"] for cell in cells])
            lines.append(
                f"| {row}, {name} | {len(cells)} | | {np.mean(success):.1%} | {min(success):.0%} "
                f"| {share:.3f} | {share / ideal:.3f} | |"
            )
    return "\n".join(lines)


def _line(name: str, cells: list[dict[str, Any]], ideal: float) -> str:
    success = [cell["success_rate"] for cell in cells]
    share = float(np.mean([cell["time_in_goal"] for cell in cells]))
    seconds = np.median([cell["run_seconds"]["total"] for cell in cells])
    used = sorted({cell["transitions"] for cell in cells})
    told = f"{used[0]:,}" if len(used) == 1 else f"{used[0]:,} to {used[-1]:,}"
    return (
        f"| {name} | {len(cells)} | {told} | {np.mean(success):.1%} "
        f"| {min(success):.0%} | {share:.3f} | {share / ideal:.3f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(SwingUp)())
