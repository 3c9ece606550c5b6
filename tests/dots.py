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
        ends: after how many steps each of its episodes ends; 0 for never.
        cut: whether they end by truncation, and not by termination.
        tells: whether its infos hold ``state``, the three numbers; ``is_goal``, from step 2 on; and
            at a reset ``goal``, a red picture.
        render_mode: it renders in any case.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space, action_space = Box(-1, 1, (1,)), Box(-2, 1, (2,))

    def __init__(
        self,
        number: int = 0,
        ends: int = 0,
        cut: bool = False,
        tells: bool = False,
        render_mode: str = "rgb_array",
    ) -> None:
        self.number, self.ends, self.episode, self.t = number, ends, 0, 0
        self.cut, self.tells, self.render_mode = cut, tells, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        told = {**self.info(), "goal": np.full((6, 8, 3), (255, 0, 0), np.uint8)}
        return np.zeros(1, np.float32), told if self.tells else {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        ended = self.t == self.ends
        ends = (ended and not self.cut, ended and self.cut)
        return np.zeros(1, np.float32), float(self.t), *ends, self.info()

    def info(self) -> dict[str, Any]:
        if not self.tells:
            return {}
        state = np.array([self.number, self.episode, self.t], np.float64)
        return {"state": state, "is_goal": self.t >= 2}

    def render(self) -> Any:
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[:] = (10 * self.number % 250, 10 * self.episode % 250, 10 * self.t % 250)
        return picture


def dots(
    count: int,
    ends: Sequence[int] = (),
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    frames: int = 2,
    **options: Any,
) -> World:
    """Make a world of ``count`` dots in colour; dot b's episodes end after ``ends[b]`` steps."""
    camera = Camera(size=(6, 8), colour=True, frames=frames)

    def build(b: int) -> Any:
        return lambda: look(Dot(b, ends[b] if ends else 0, **options), camera)

    return SyncVectorEnv([build(b) for b in range(count)], autoreset_mode=mode)
