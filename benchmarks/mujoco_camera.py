"""The headline task as MuJoCo draws it: chequered floor, light, shadow; 64x64 grey pixels.

python -m benchmarks.mujoco_camera                    # seeds 0 to 4
python -m benchmarks.mujoco_camera --seeds 100 101    # others
python -m benchmarks.mujoco_camera --seeds            # only draw the table from what is there

Every seed is a training run from nothing with the default configuration, but on 4,000 transitions
in place of 10,000. It is evaluated on 20 hanging starts and leaves one JSON file in
``benchmarks/results/mujoco_camera``; a finished one is never computed again. Needs EGL or OSMesa.
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

from benchmarks.any_pixels import OTHERS, START_SEED, STARTS, compute_and_tell, figures
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe
from e2c.control.base import make_world
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.errors import run_command
from e2c.evaluation.evaluate import evaluate
from e2c.files.provenance import provenance
from e2c.files.whole import write_json
from e2c.learning import run
from e2c.options import to_dict
from e2c.presets import HEADLINE, preset
from envs import Camera

RESULTS = Path(__file__).parent / "results" / "mujoco_camera"
CAMERA = Camera(size=(64, 64), renderer="mujoco")


@dataclass(frozen=True)
class MujocoCamera:
    """Measure over seeds, cell by cell, and draw the table."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds to measure."""
    jobs: int = 1
    """Cells computed at the same time, each on its share of the cores."""
    cell: str = ""
    """Compute this one cell here, a seed or the name of a controller, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the table."""
        if self.cell:
            found = _trained(int(self.cell)) if self.cell.isdecimal() else _other(self.cell)
            told = {"cell": self.cell, "env": HEADLINE, "start_seed": START_SEED, **found}
            write_json(RESULTS / f"{self.cell}.json", {**told, **provenance()})
        else:
            names = [*OTHERS, *map(str, self.seeds)] if self.seeds else []
            compute_and_tell("benchmarks.mujoco_camera", RESULTS, names, self.jobs)


def _config() -> Config:
    """Random restarts, one network for both frames, and larger steps than the default's."""
    base = preset("default")
    data = DataConfig(3000, restarts=True, rounds=5, own_length=None)
    fast = replace(
        base.optimiser, steps=3000, steps_per_round=400, learning_rate=3e-3, learning_rate_own=1e-3
    )
    return replace(
        base,
        camera=CAMERA,
        model=replace(base.model, encoder="mlp", encoder_hidden=(128, 128)),
        data=data,
        optimiser=fast,
        evaluation=EvaluationConfig(0),
    )


def _trained(seed: int) -> dict[str, Any]:
    """Train with one seed, and evaluate."""
    config = _config()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained = run.train(Recipe(config, seed=seed), Path(folder) / "run")
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
