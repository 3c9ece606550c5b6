"""An own environment: a cart on a rail that is pushed, seen through its own `render`.

The class may be any Gymnasium environment that renders. The lines below it are all that learning
takes: register it, draw the goal, train. This trains for a few seconds, which is too short to
succeed; leave the last two lines of settings out to train in minutes.

The id names this file, whatever you call it, so that another program finds the environment too:
``PYTHONPATH=examples python evaluate.py runs/own_environment``.
"""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

import e2c


class Rail(gymnasium.Env[Any, Any]):
    """A cart at a place in -1..1 [m], moved by a velocity of at most 1 m/s for 0.1 s a step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space, action_space = Box(-1, 1, (1,)), Box(-1, 1, (1,))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.place = render_mode, 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin at a random place."""
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1)
        return np.array([self.place], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move."""
        self.place = float(np.clip(self.place + 0.1 * action[0], -1, 1))
        return np.array([self.place], np.float32), 0.0, False, False, {}

    def render(self) -> Any:
        """Draw a white cart on a dark rail, ``[60, 120, 3]``."""
        picture = np.full((60, 120, 3), 30, np.uint8)
        middle = round(60 + 45 * self.place)
        picture[24:36, middle - 8 : middle + 8] = 230
        return picture


if "Rail-v0" not in gymnasium.registry:
    gymnasium.register("Rail-v0", f"{Path(__file__).stem}:Rail", max_episode_steps=40)

if __name__ == "__main__":
    agent = e2c.train(
        "runs/own_environment",
        env=f"{Path(__file__).stem}:Rail-v0",
        goal=Rail().render(),  # the cart in the middle
        data={"transitions": 500, "rounds": 1, "episodes_per_round": 2},
        optimiser={"steps": 60, "steps_per_round": 20, "dynamics_steps": 20, "sight_steps": 20},
    )
