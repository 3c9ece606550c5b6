"""What the world does besides, in a test of robustness: wrappers around a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import ArrayLike, NDArray

from e2c.control.base import make_world_of
from e2c.errors import E2CError
from e2c.evaluation.bad_camera import BadCamera, Faults
from e2c.models.base import ProblemSpec
from e2c.options import option
from envs.world import World, simulated

Frames = NDArray[np.uint8]
BEGINS = 6.0
"""When the kick comes, or the camera goes blind [s]; most episodes are at their goal by then."""
KICK_LASTS = 0.25
"""How long the kick is [s]."""


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
    blind: float = option(0.0, 0, 1e4)
    """For how long the camera returns black frames, from 6 s into the episode on [s]."""
    brightness: float = option(0.0, -255, 255)
    """What the camera adds to every pixel [grey levels of 255]."""
    contrast: float = option(0.0, -1, 10)
    """What the camera adds to the factor on every pixel, which is 1."""
    patch: int = option(0, 0, 1024)
    """Side of a grey square in front of the camera, which moves [px]."""
    delay: int = option(0, 0, 1000)
    """Steps by which controls act late; there are none before the first."""
    friction: float = option(0.0, 0, 1e4)
    """Friction of the real system, in the unit of the controls for each unit of velocity."""
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
        if self.kick or self.friction:
            world = Pushed(world, self.kick, self.friction, spec)
        if self.delay:
            world = Delayed(world, self.delay)
        if faults := self._faults(spec):
            world = BadCamera(world, faults, np.random.default_rng([seed, 1]))
        return world

    def _faults(self, spec: ProblemSpec) -> Faults | None:
        """Return what is wrong with the camera; None where nothing is."""
        begins = _begins("--blind", spec) if self.blind else 0
        found = Faults(
            noise=self.frame_noise,
            black=self.black_frames,
            brightness=self.brightness,
            contrast=self.contrast,
            patch=self.patch,
            blind=range(begins, begins + round(self.blind / spec.dt)),
        )
        return None if found == Faults() else found


def _begins(flag: str, spec: ProblemSpec) -> int:
    """Return the step at which something happens to an episode.

    Raises:
        E2CError: when episodes are over before.
    """
    lasts = spec.episode_steps * spec.dt
    if lasts <= BEGINS:
        raise E2CError(
            f"{flag} comes {BEGINS:g} s into an episode, and one of {spec.env} lasts {lasts:g} s; "
            "leave it out."
        )
    return round(BEGINS / spec.dt)


class Pushed(VectorWrapper):
    """Pushes every system once for a quarter of a second, and brakes it with friction.

    Args:
        world: a simulated world.
        kick: what is added to each control meanwhile, in its unit.
        friction: what a unit of velocity takes from each control, in its unit; velocities are the
            last components of the state.
        spec: the task.

    Raises:
        E2CError: when the episodes are over before the kick, the world is not simulated, or it has
            no velocity for each control that friction could brake.
    """

    def __init__(self, world: World, kick: float, friction: float, spec: ProblemSpec) -> None:
        super().__init__(world)
        flag, begins = ("--kick", _begins("--kick", spec)) if kick else ("--friction", 0)
        try:
            self.system = simulated(world, flag)
        except ValueError as error:
            raise E2CError(str(error)) from None
        self.kick, self.friction, self.m = kick, friction, len(spec.control_low)
        n = self.system.task.state_dim
        if friction and n != 2 * self.m:
            raise E2CError(
                f"--friction needs a velocity for each control, and {spec.env} has {n} state "
                f"components and {self.m} controls; leave it out."
            )
        self.steps = range(begins, begins + round(KICK_LASTS / spec.dt))
        self.t = 0

    def reset(self, **told: Any) -> tuple[Frames, dict[str, Any]]:
        """Begin the episodes."""
        self.t = 0
        return self.env.reset(**told)

    def step(self, actions: ArrayLike) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, with the push while it lasts, and the friction."""
        kick = self.kick if self.t in self.steps else 0.0
        self.system.push = kick - self.friction * self.system.states[:, -self.m :]
        self.t += 1
        return self.env.step(actions)


class Delayed(VectorWrapper):
    """Lets controls act late.

    Args:
        world: any world.
        steps: by which they are late; at first zeros act.
    """

    def __init__(self, world: World, steps: int) -> None:
        super().__init__(world)
        self.steps = steps
        self.waiting: list[NDArray[Any]] = []

    def reset(self, **told: Any) -> tuple[Frames, dict[str, Any]]:
        """Begin the episodes."""
        self.waiting = []
        return self.env.reset(**told)

    def step(self, actions: ArrayLike) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step under the controls of some steps before."""
        self.waiting.append(np.array(actions))
        late = len(self.waiting) > self.steps
        acting = self.waiting.pop(0) if late else np.zeros_like(self.waiting[0])
        return self.env.step(acting)
