"""A bad camera in front of a world, in a test of robustness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import ArrayLike, NDArray

from envs.world import World, layout_of

Frames = NDArray[np.uint8]
GREY = 128
"""The patch's grey level."""
PATCH_SPEED = (0.7, 1.3)
"""How far the patch moves between two frames, down and across [px]."""


@dataclass(frozen=True)
class Faults:
    """What is wrong with a camera; grey levels are those of 255.

    Attributes:
        noise: standard deviation of Gaussian noise [grey levels].
        black: share of the frames that are black.
        brightness: what is added to every pixel [grey levels].
        contrast: what is added to the factor on every pixel, which is 1.
        patch: side of a grey square that moves across the frames [px].
        blind: steps after which all frames are black.
    """

    noise: float = 0.0
    black: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    patch: int = 0
    blind: range = range(0)


class BadCamera(VectorWrapper):
    """Shows the frames of a world as a faulty camera does.

    A frame looks the same in every observation that shows it.

    Args:
        world: any world.
        faults: of the camera.
        rng: draws.
    """

    def __init__(self, world: World, faults: Faults, rng: np.random.Generator) -> None:
        super().__init__(world)
        self.faults, self.rng, self.layout = faults, rng, layout_of(world)
        self.t = 0
        self.shown = np.empty(0, np.uint8)

    def reset(self, **told: Any) -> tuple[Frames, dict[str, Any]]:
        """Begin the episodes."""
        observations, infos = self.env.reset(**told)
        frames = self.layout.split(observations)
        H, W = frames.shape[2:4]
        self.t, self.start = 0, self.rng.random((len(frames), 2)) * (H, W)
        self.shown = np.stack([self._look(frames[:, k]) for k in range(frames.shape[1])], 1)
        return self.shown.reshape(observations.shape), infos

    def step(self, actions: ArrayLike) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and look at the new frame through the bad camera."""
        observations, *rest = self.env.step(actions)
        self.t += 1
        newest = self._look(self.layout.split(observations)[:, -1])
        self.shown = np.concatenate((self.shown[:, 1:], newest[:, None]), 1)
        return (self.shown.reshape(observations.shape), *rest)

    def _look(self, frames: Frames) -> Frames:
        """Return new ``frames [B, H, W]``, or ``[B, H, W, 3]``, as the camera shows them."""
        faults, seen = self.faults, frames.astype(np.float64)
        if faults.patch:
            seen[self._hidden(*frames.shape[1:3])] = GREY
        seen = seen * (1 + faults.contrast) + faults.brightness
        if faults.noise:
            seen += faults.noise * self.rng.standard_normal(seen.shape)
        lost = np.full(len(seen), self.t in faults.blind)
        if faults.black:
            lost |= self.rng.random(len(seen)) < faults.black
        seen[lost] = 0
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)

    def _hidden(self, H: int, W: int) -> NDArray[np.bool_]:
        """Say which pixels ``[B, H, W]`` the patch hides; it turns back at the sides."""
        path = self.start + self.t * np.array(PATCH_SPEED)
        size = np.array([H, W])
        centre = size - np.abs(path % (2 * size) - size)
        half = self.faults.patch / 2
        down, across = (
            np.abs(np.arange(side) + 0.5 - centre[:, [axis]]) < half
            for axis, side in enumerate((H, W))
        )
        return down[:, :, None] & across[:, None, :]
