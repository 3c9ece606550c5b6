"""What benchmarks of other people's environments share: states that are told, runs, episodes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np

from e2c.config import Recipe
from e2c.control.base import Controller, Frames, rollout
from e2c.data.episodes import Episodes
from e2c.learning import run
from e2c.learning.begin import Run
from envs.world import World

Env = gymnasium.Env[Any, Any]

EPISODES, TOGETHER = 20, 5
"""Episodes of each controller that are scored, and how many of them are side by side."""


class Told(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Tells more in its infos; nothing is learned from it.

    Args:
        env: of anybody.
        tell: returns what an info is to hold besides, given the environment.
    """

    def __init__(self, env: Env, tell: Callable[[Env], dict[str, Any]]) -> None:
        super().__init__(env)
        self._tell = tell

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and tell."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | self._tell(self.env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and tell."""
        *seen, info = self.env.step(action)
        return (*seen, info | self._tell(self.env))


def trained_towards(picture: Frames | None, recipe: Recipe) -> Run:
    """Train from nothing towards the goal of a picture ``[h, w, 3]``; no file is kept.

    Without a picture, the goals are those that the world tells.
    """
    with tempfile.TemporaryDirectory() as folder:
        if picture is not None:
            goal = Path(folder) / "goal.png"
            cv2.imwrite(str(goal), picture[..., ::-1])
            recipe = replace(recipe, goal=str(goal))
        return run.train(recipe, Path(folder) / "run")


def played(
    make: Callable[[int], World],
    controller: Callable[[World], Controller],
    steps: int,
    start_seed: int,
    goal: Frames | None = None,
) -> list[Episodes]:
    """Play `EPISODES` episodes, `TOGETHER` at the same time, from the same starts every time.

    Args:
        make: makes a world of so many environments.
        controller: returns what acts in a world.
        steps: the longest that an episode may be.
        start_seed: of the starts.
        goal: the observation to reach.
    """
    rng, episodes = np.random.default_rng(start_seed), list[Episodes]()
    goals = None if goal is None else np.repeat(goal[None], TOGETHER, 0)
    for _ in range(EPISODES // TOGETHER):
        world = make(TOGETHER)
        episodes += rollout(world, controller(world), steps, rng, goals).split()
        world.close()
    return episodes


def total(episodes: Episodes) -> float:
    """Return the sum of the rewards."""
    assert episodes.rewards is not None
    return float(episodes.rewards.sum())
