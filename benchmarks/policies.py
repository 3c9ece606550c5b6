"""Rows of the tables that act by policies and do not plan: `local` and `cvae`.

Both are made of the model of the cell's default, which stays as it is, and of episodes that are
played for them. They see images only.

* *local*: for each goal, a time-varying linear policy that follows an episode of the agent, refined
  along local models of its own episodes (`e2c.lecture.refine`).
* *cvae*: a conditional VAE that imitates the agent (`e2c.lecture.imitation`). It draws several
  controls at a time, plays them, and looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from e2c.control.agent import Agent
from e2c.control.base import Controller, Frames, make_world_of, rollout
from e2c.control.simple import ByGoal
from e2c.learning.collect import noisy
from e2c.lecture.imitation import ImitationOptions, imitate
from e2c.lecture.refine import Refinement, RefineOptions, demonstrations
from e2c.options import to_dict
from envs.world import begin

ROUNDS, TOGETHER = 6, 4
"""How often a policy of `local` plays and is refined, and its own episodes in each round; the agent
plays as many before the first."""
REFINE = RefineOptions()
DEMONSTRATIONS, EXPLORATION = 100, 0.1
"""Episodes that `cvae` imitates, and the noise on their controls, as a share of the limits."""
IMITATION = ImitationOptions()
ASKED = 100
"""Ordinary resets that are asked for their goals."""
STREAM = 1000
"""All draws are those of the cell's seed and this; the rounds of a run count from 1."""


@dataclass(frozen=True)
class Made:
    """A policy, and what it took besides the model.

    Attributes:
        controller: acts by it.
        transitions: of the episodes that were played for it.
        steps: of an optimiser.
    """

    controller: Controller
    transitions: int
    steps: int


def make(method: str, agent: Agent, seed: int) -> Made:
    """Make the policy of a row.

    Args:
        method: a key of `POLICIES`.
        agent: whose model.
        seed: of the cell.
    """
    rng = np.random.default_rng([seed, STREAM])
    return _local(agent, rng) if method == "local" else _cvae(agent, rng, seed)


def _local(agent: Agent, rng: np.random.Generator) -> Made:
    """Refine a policy for each goal of the task."""
    steps, goals = agent.spec.episode_steps, _goals(agent, rng)
    controllers = []
    for goal in goals:
        shown = demonstrations(agent, TOGETHER, steps, rng, goal)
        refinement = Refinement(agent, shown, REFINE, goal)
        controllers.append(refinement.refined(ROUNDS, TOGETHER, rng))
    return Made(ByGoal(goals, controllers), len(goals) * (1 + ROUNDS) * TOGETHER * steps, 0)


def _goals(agent: Agent, rng: np.random.Generator) -> Frames:
    """Return the different goals that ordinary episodes have, ``[G, *observation]``."""
    world = make_world_of(agent.spec, ASKED)
    goals: Frames = np.unique(begin(world, rng)[1]["goal"], axis=0)
    world.close()
    return goals


def _cvae(agent: Agent, rng: np.random.Generator, seed: int) -> Made:
    """Let the agent demonstrate, and imitate it."""
    world = make_world_of(agent.spec, DEMONSTRATIONS)
    shown = rollout(world, noisy(agent, EXPLORATION, rng), agent.spec.episode_steps, rng)
    world.close()
    policy = imitate(agent.model, agent.spec, shown, IMITATION, seed)
    return Made(policy, shown.transitions, IMITATION.steps)


POLICIES: dict[str, dict[str, Any]] = {
    "local": {"rounds": (ROUNDS, TOGETHER), "refine": to_dict(REFINE)},
    "cvae": {"demonstrations": (DEMONSTRATIONS, EXPLORATION), "imitation": to_dict(IMITATION)},
}
"""The rows, and what decides their policies besides the model."""
CAPTION = (
    "`local` and `cvae` do not plan: they are policies, made of the model of the cell's default. "
    "`local` is a time-varying linear policy for each goal, which follows an episode of the agent "
    f"and is refined along local models in {ROUNDS} rounds of {TOGETHER} own episodes. `cvae` is a "
    f"conditional VAE that imitates {DEMONSTRATIONS} episodes of the agent and draws "
    f"{IMITATION.controls} controls at a time."
)
