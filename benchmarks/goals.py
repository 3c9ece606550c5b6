"""Goals that the model was not trained with, and how near it stays to them.

python -m benchmarks.goals
python -m benchmarks.goals --angles 0.3 --starts 2

The model that comes with the project gets pictures of its pendulum at rest at other angles. It is
not trained anew. The oracle, random and no controls start from the same states. Up to 0.41 rad from
upright and from hanging, the motor can hold the pendulum; beyond, it can only be swung past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from benchmarks.speed import threads
from benchmarks.store import Benchmark, Result
from e2c.control.agent import Agent
from e2c.control.base import Controller, Frames, make_world_of, rollout
from e2c.control.goals import from_state
from e2c.control.oracle import Oracle
from e2c.control.simple import Random, Zero
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.files.runs import TRAINED
from envs.task import wrap
from envs.world import World, episode_steps

START_SEED = 1000
Row = dict[str, Any]
"""The angle of a goal, and the distances of each controller."""
SETTLED = 50
"""Distances are averaged over this many last steps."""


@dataclass(frozen=True)
class Goals(Benchmark):
    """Let the agent, the oracle and others reach angles at rest, and compare them."""

    angles: tuple[float, ...] = (0.0, 0.15, -0.15, 0.3, -0.3, math.pi, 0.6, 1.57, -1.57)
    """Goals, from upright [rad]."""
    starts: int = 10
    """Episodes of each controller."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when there are no starts, or no angles.
        """
        if self.starts < 1 or not self.angles:
            raise E2CError(
                f"--starts is {self.starts} and there are {len(self.angles)} --angles; give at "
                "least one of each."
            )
        with threads(1):
            found = self.result("goals", self.measured)
        print(table(found["goals"]))

    def measured(self) -> Result:
        """Let every controller reach every goal."""
        agent = load_agent(TRAINED)
        rows = [{"angle": angle, **measure(agent, angle, self.starts)} for angle in self.angles]
        task = {"env": agent.spec.env, "starts": self.starts, "start_seed": START_SEED}
        return {"goals": rows, "settled_steps": SETTLED, **task}


def measure(agent: Agent, angle: float, starts: int) -> dict[str, dict[str, float]]:
    """Return the distances from a goal at rest at ``angle`` [rad], by controller."""
    state = np.array([angle, 0.0])
    goal = from_state(state.tolist(), agent.spec)
    world = make_world_of(agent.spec, starts)
    controllers: dict[str, Controller] = {
        "agent": agent,
        "oracle": Oracle(world, agent.options, state),
        "random": Random(world, np.random.default_rng(START_SEED)),
        "zero": Zero(world),
    }
    return {
        name: _statistics(world, controller, np.repeat(goal[None], starts, 0), angle)
        for name, controller in controllers.items()
    }


def _statistics(
    world: World, controller: Controller, goals: Frames, angle: float
) -> dict[str, float]:
    """Play episodes, and tell their mean distance at the end and the nearest of all steps [rad]."""
    steps = episode_steps(world)
    episodes = rollout(world, controller, steps, np.random.default_rng(START_SEED), goals)
    assert episodes.states is not None
    states = episodes.states.reshape(len(episodes), steps + 1, -1)
    away = np.abs(wrap(states[..., 0] - angle))
    last = away[:, -SETTLED:].mean(1)
    return {
        "mean_distance": float(last.mean()),
        "worst_distance": float(last.max()),
        "nearest": float(away.min(1).max()),
    }


def table(rows: list[Row]) -> str:
    """Return the distances as Markdown; in brackets, how near the worst episode ever was."""
    names = [name for name in rows[0] if name != "angle"]
    lines = ["| goal [rad] | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for row in rows:
        cells = [f"{row[name]['mean_distance']:.3f} ({row[name]['nearest']:.3f})" for name in names]
        lines.append(f"| {row['angle']:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Goals)())
