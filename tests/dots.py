"""A world that nobody knows but by its images: a dot that is moved, and ends when it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.camera import Camera, look
from envs.world import World


class Dot(gymnasium.Env[Any, Any]):
    """Its picture carries the number of the environment, of the episode and of the step.

    Args:
        number: of the environment.
        ends: after how many steps each of its episodes terminates; 0 for never.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space, action_space = Box(-1, 1, (1,)), Box(-2, 1, (2,))
    render_mode = "rgb_array"

    def __init__(self, number: int = 0, ends: int = 0) -> None:
        self.number, self.ends, self.episode, self.t = number, ends, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(1, np.float32), float(self.t), self.t == self.ends, False, {}

    def render(self) -> Any:
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[:] = (10 * self.number % 250, 10 * self.episode % 250, 10 * self.t % 250)
        return picture


def dots(
    count: int,
    ends: Sequence[int] = (),
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    frames: int = 2,
) -> World:
    """Make a world of ``count`` dots in colour; dot b's episodes end after ``ends[b]`` steps."""
    camera = Camera(size=(6, 8), colour=True, frames=frames)

    def build(b: int) -> Any:
        return lambda: look(Dot(b, ends[b] if ends else 0), camera)

    return SyncVectorEnv([build(b) for b in range(count)], autoreset_mode=mode)
