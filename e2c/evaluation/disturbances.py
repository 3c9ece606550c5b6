"""What the world does besides, in a test of robustness: wrappers around a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import ArrayLike, NDArray

from e2c.control.base import make_world_of
from e2c.errors import E2CError
from e2c.models.base import ProblemSpec
from e2c.options import option
from envs.world import World, layout_of, simulated

Frames = NDArray[np.uint8]
KICK_BEGINS, KICK_ENDS = 6.0, 6.25
"""When the kick comes [s]."""


@dataclass(frozen=True)
class Disturbance:
    """What the world does to the closed loop in a test of robustness."""

    mass: float | None = None
    """Mass of the real system [kg]; the model has learned the task's own."""
    length: float | None = None
    """Length of the real system [m]; the model has learned the task's own."""
    kick: float = option(0.0, -1e4, 1e4)
    """External push for 0.25 s, 6 s into the episode; in the unit of the controls."""
    frame_noise: float = option(0.0, 0, 1e4)
    """Standard deviation of Gaussian noise on the frames [grey levels of 255]."""
    black_frames: float = option(0.0, 0, 1)
    """Share of the frames that the camera returns black."""
    state_noise: float = option(0.0, 0, 1e4)
    """Standard deviation of the noise added to the state after each step, in the task's unit."""
    perturbed: bool = False
    """Start off the usual start, in a task that has such starts (balance)."""

    def world(self, spec: ProblemSpec, episodes: int, seed: int, **options: Any) -> World:
        """Make the world of ``spec`` as it is disturbed, with ``episodes`` side by side.

        Args:
            spec: the task.
            episodes: B.
            seed: of the noise on the frames.
            options: of the environment besides.

        Raises:
            E2CError: for a disturbance that the task does not know, or that would not come.
        """
        world = make_world_of(
            spec,
            episodes,
            mass=self.mass,
            length=self.length,
            state_noise=self.state_noise or None,
            perturbed=self.perturbed or None,
            **options,
        )
        if self.kick:
            world = Kicked(world, self.kick, spec)
        if self.frame_noise or self.black_frames:
            rng = np.random.default_rng([seed, 1])
            world = BadCamera(world, self.frame_noise, self.black_frames, rng)
        return world


class Kicked(VectorWrapper):
    """Pushes every system once for a quarter of a second.

    Args:
        world: a simulated world.
        push: what is added to each control, in its unit.
        spec: the task.

    Raises:
        E2CError: when the episodes are over before, or the world is not simulated.
    """

    def __init__(self, world: World, push: float, spec: ProblemSpec) -> None:
        super().__init__(world)
        lasts = spec.episode_steps * spec.dt
        if lasts <= KICK_BEGINS:
            raise E2CError(
                f"--kick comes {KICK_BEGINS:g} s into an episode, and one of {spec.env} lasts "
                f"{lasts:g} s; leave it out."
            )
        try:
            self.system = simulated(world, "--kick")
        except ValueError as error:
            raise E2CError(str(error)) from None
        self.push = np.full((world.num_envs, len(spec.control_low)), push)
        self.steps = range(round(KICK_BEGINS / spec.dt), round(KICK_ENDS / spec.dt))
        self.t = 0

    def reset(self, **told: Any) -> tuple[Frames, dict[str, Any]]:
        """Begin the episodes."""
        self.t = 0
        return self.env.reset(**told)

    def step(self, actions: ArrayLike) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, with the push while it lasts."""
        self.system.push = self.push if self.t in self.steps else None
        self.t += 1
        return self.env.step(actions)


class BadCamera(VectorWrapper):
    """Adds noise to frames and loses some of them.

    Args:
        world: any world.
        noise: standard deviation of Gaussian noise [grey levels of 255].
        black: share of the frames that are black.
        rng: draws.
    """

    def __init__(self, world: World, noise: float, black: float, rng: np.random.Generator) -> None:
        super().__init__(world)
        self.noise, self.black, self.rng = noise, black, rng
        self.layout = layout_of(world)

    def reset(self, **told: Any) -> tuple[Frames, dict[str, Any]]:
        """Begin the episodes."""
        observations, infos = self.env.reset(**told)
        return self._look(observations), infos

    def step(self, actions: ArrayLike) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and look through the bad camera."""
        observations, *rest = self.env.step(actions)
        return (self._look(observations), *rest)

    def _look(self, observations: Frames) -> Frames:
        """Return ``observations [B, *observation]`` as the camera shows them."""
        frames = self.layout.split(observations)
        if self.noise:
            drawn = self.noise * self.rng.standard_normal(frames.shape)
            frames = np.clip(np.rint(frames + drawn), 0, 255).astype(np.uint8)
        if self.black:
            seen = self.rng.random(frames.shape[:2]) >= self.black
            frames = frames * seen.reshape(*seen.shape, *[1] * (frames.ndim - 2))
        return frames.reshape(observations.shape)
