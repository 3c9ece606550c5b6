"""Films of a camera and nothing else: no environment, no state, no episode that the agent played.

python -m benchmarks.films                            # seeds 0 to 4
python -m benchmarks.films --transitions 1000 2000    # from less film
python -m benchmarks.films --committed                # print the table of the repository

A camera films the headline task as MuJoCo draws it, in colour, 128x128 pixels, under a telegraph
signal from ordinary resets. The films are compressed, and a table of its torques lies beside each.
These and a picture of the goal are all that is learned from. Then an `e2c.LiveAgent` acts on the
pictures of that camera, from 20 hanging starts. Every seed films and trains anew, and leaves one
JSON file in a folder of ``films`` that is named by the number of transitions. States are read to
score. Needs EGL or OSMesa; without a GPU, most of the time goes into drawing.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import e2c
from benchmarks.any_pixels import START_SEED, STARTS, figures, table
from benchmarks.cells import Seeds
from benchmarks.recordings import film
from e2c.config import Recipe
from e2c.control.base import Frames
from e2c.data.formats import ImportOptions, import_recording
from e2c.errors import run_command
from e2c.learning import run
from e2c.options import to_dict
from e2c.presets import HEADLINE, preset
from envs import Camera

CAMERA = Camera(size=(128, 128), colour=True, frames=1, renderer="mujoco")
LIMIT = 2.0
"""Of the torque [N m]."""


@dataclass(frozen=True)
class Films(Seeds):
    """Measure over seeds, cell by cell, and draw the table."""

    transitions: tuple[int, ...] = (4000,)
    """Steps that are filmed, 20 a second; one number or several."""

    def __call__(self) -> None:
        """Compute what is missing, then draw the tables."""
        for steps in self.transitions:
            options = {"filmed": steps, "start_seed": START_SEED, "starts": STARTS}
            passed = ("--transitions", str(steps))
            measure = functools.partial(_measure, steps)
            told = (options, measure, table, passed, str(steps))
            self.measure_and_tell("benchmarks.films", (), *told)


def _measure(transitions: int, cell: str) -> dict[str, Any]:
    """Film, import, train and act live with one seed."""
    seed, started = int(cell), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        goal = record(folder, transitions, seed)
        options = ImportOptions(control_low=(-LIMIT,), control_high=(LIMIT,))
        data = import_recording(folder, options)
        data.save(folder / "films.npz")
        recipe = Recipe(
            preset("default", HEADLINE),
            seed=seed,
            goal=str(goal),
            data=(str(folder / "films.npz"),),
        )
        trained = run.train(recipe, folder / "run")
    world = e2c.make_world(HEADLINE, STARTS, camera=to_dict(CAMERA))
    played = e2c.evaluate(world, LiveAgents(trained.agent, STARTS), START_SEED)
    return {
        "seed": seed,
        "start_seed": START_SEED,
        "transitions": data.transitions,
        **figures(played.scores),
        "run_seconds": {**trained.seconds, "total": time.perf_counter() - started},
        "config": to_dict(trained.config),
    }


def record(folder: Path, transitions: int, seed: int) -> Path:
    """Film a telegraph signal, episode by episode, and the goal; return the goal's picture."""
    filmed: dict[str, Any] = {"noise": "telegraph", "restarts": False, "camera": to_dict(CAMERA)}
    film(e2c.collect(HEADLINE, transitions, seed=seed, **filmed), folder)
    world = e2c.make_world(HEADLINE, camera=to_dict(CAMERA))
    _, infos = world.reset(seed=0)
    cv2.imwrite(str(folder / "goal.png"), infos["goal"][0][-1][..., ::-1])
    return folder / "goal.png"


class LiveAgents:
    """Each episode of a batch has an `e2c.LiveAgent` of its own, which sees the pictures only.

    Args:
        agent: trained.
        count: episodes.
    """

    def __init__(self, agent: e2c.Agent, count: int) -> None:
        self._agents = [e2c.LiveAgent(agent.with_planner()) for _ in range(count)]

    def reset(self, goals: Frames | None, /) -> None:
        """Begin the episodes; the goal is the picture that was trained with."""
        for agent in self._agents:
            agent.reset()

    def act(self, frames: Frames, /) -> NDArray[np.float32]:
        """Act on the pictures ``[B, 1, H, W, 3]``."""
        return np.stack([a.act(seen[-1]) for a, seen in zip(self._agents, frames, strict=True)])


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    run_command(lambda: tyro.cli(Films)())
