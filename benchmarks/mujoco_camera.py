"""The headline task as MuJoCo draws it: chequered floor, light, shadow; 64x64 grey pixels.

python -m benchmarks.mujoco_camera                    # seeds 0 to 4
python -m benchmarks.mujoco_camera --seeds 100 101    # others
python -m benchmarks.mujoco_camera --committed        # print the table of the repository

Every seed is a training run from nothing with the default configuration. It is evaluated on 20
hanging starts and leaves one JSON file in ``mujoco_camera``. Needs EGL or OSMesa.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.any_pixels import OTHERS, START_SEED, STARTS, figures, table
from benchmarks.cells import Seeds
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.base import make_world
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.errors import run_command
from e2c.evaluation.evaluate import evaluate
from e2c.learning import run
from e2c.options import to_dict
from e2c.presets import HEADLINE, preset
from envs import Camera

CAMERA = Camera(size=(64, 64), renderer="mujoco")


@dataclass(frozen=True)
class MujocoCamera(Seeds):
    """Measure over seeds, cell by cell, and draw the table."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        options = {"config": to_dict(_config()), "start_seed": START_SEED, "starts": STARTS}
        self.measure_and_tell("benchmarks.mujoco_camera", OTHERS, options, _measure, table)


def _measure(cell: str) -> dict[str, Any]:
    """Return the figures of a cell, with the start seed that all share."""
    found = _trained(int(cell)) if cell.isdecimal() else _other(cell)
    return {"cell": cell, "env": HEADLINE, "start_seed": START_SEED, **found}


def _config() -> Config:
    """Return the default but for its pictures; the starts are played afterwards."""
    return replace(preset("default"), camera=CAMERA, evaluation=EvaluationConfig(0))


def _trained(seed: int) -> dict[str, Any]:
    """Train with one seed, and evaluate."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained = run.train(Recipe(_config(), seed=seed), Path(folder) / "run")
    world = make_world(HEADLINE, STARTS, camera=to_dict(CAMERA))
    played = evaluate(world, trained.agent, START_SEED)
    return {
        "seed": seed,
        "transitions": trained.transitions,
        **figures(played.scores),
        "run_seconds": {**trained.seconds, "total": time.perf_counter() - started},
        "config": to_dict(trained.config),
    }


def _other(name: str) -> dict[str, Any]:
    """Let a controller that learns nothing, and looks at nothing, act from the same starts."""
    world, draws = make_world(HEADLINE, STARTS), np.random.default_rng(START_SEED)
    if name == "oracle":
        return figures(evaluate(world, Oracle(world, preset("default").planner), START_SEED).scores)
    controller = Random(world, draws) if name == "random" else Zero(world)
    return figures(evaluate(world, controller, START_SEED).scores)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(MujocoCamera)())
