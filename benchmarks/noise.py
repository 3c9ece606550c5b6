"""Random controls that show the goal, where states may not be set.

python -m benchmarks.noise
python -m benchmarks.noise --episodes 20

Every episode of the headline task begins hanging and is random throughout. It shows the goal where
one of its observations is like the goal image; see `e2c.data.looks.unlikeness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import tyro

from benchmarks.store import Benchmark, Result
from e2c.control.base import make_world, rollout
from e2c.control.simple import Noise, random_controls
from e2c.data.looks import SEEN, unlikeness
from e2c.errors import E2CError, run_command
from e2c.presets import HEADLINE

STEPS = 200
"""Steps of an episode: those of the task."""


@dataclass(frozen=True)
class NoiseShows(Benchmark):
    """Measure how often random controls show the goal, and how often the rod is up."""

    episodes: int = 300
    """Episodes under each kind of random controls."""
    seed: int = 0
    """Of starts and controls."""

    def __call__(self) -> None:
        """Measure and tell."""
        if self.episodes < 1:
            raise E2CError(f"--episodes is {self.episodes}; it must be at least 1.")
        self.tell("noise", table(self.result("noise", self._measure)))

    def _measure(self) -> Result:
        return {"noise": {name: self._shown(name) for name in get_args(Noise) if name != "auto"}}

    def _shown(self, noise: str) -> dict[str, float]:
        """Play under one kind of random controls."""
        rng = np.random.default_rng(self.seed)
        world: Any = make_world(HEADLINE, self.episodes)
        played = rollout(world, random_controls(world, rng, STEPS, noise), STEPS, rng)
        goals = played.goal_planes()
        assert goals is not None
        assert played.states is not None
        seen = [
            unlikeness(episode, goal) < SEEN
            for episode, goal in zip(played.split(), goals, strict=True)
        ]
        above = np.cos(played.states[:, 0]) > 0
        return {"shows_goal": float(np.mean(seen)), "above_horizontal": float(above.mean())}


def table(result: Result) -> str:
    """Return the figures as Markdown."""
    lines = ["| random controls | episodes that show the goal | steps above horizontal |"]
    lines.append("|---|---|---|")
    for name, found in result["noise"].items():
        shares = f"{found['shows_goal']:.0%} | {found['above_horizontal']:.0%}"
        lines.append(f"| {name} | {shares} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(NoiseShows)())
