"""Many episodes side by side: the closed loop's vector environment, and what it records.

Notation: B or E episodes at once, T steps, n state dimensions, m controls, C frames an observation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.core import Actions, Floats, Frames, PixelEnv

Controller = Callable[[Frames], ArrayLike]
"""Observations ``uint8 [B, C, H, W]`` -> actions ``[B, m]``."""

Progress = Callable[[int, int], None]
"""Called after every step with (transitions recorded so far, transitions in all)."""

Push = Callable[[int], ArrayLike | None]
"""Step t -> external controls ``[B, m]`` that the world adds, or None."""


@dataclass(frozen=True)
class Rollouts:
    """E recorded episodes of T steps.

    Observation ``x_t`` is ``frames[:, t : t + C]``; torque ``u_t`` leads from it to ``x_{t+1}``.
    """

    frames: Frames
    """``[E, T + C, H, W]``; frame ``t + C - 1`` shows ``states[:, t]``."""
    actions: Actions
    """``[E, T, m]``, as they acted: within the limits."""
    states: Floats
    """``[E, T + 1, n]``, for pictures and scores only; no method sees them."""

    @property
    def frames_per_observation(self) -> int:
        """C."""
        return self.frames.shape[1] - self.actions.shape[1]

    def observations(self, t: int) -> Frames:
        """Return ``x_t`` of every episode, ``[E, C, H, W]``, for t in 0 .. T."""
        return self.frames[:, t : t + self.frames_per_observation]


class BatchEnv:
    """B copies of one task, stepped together; what a closed loop runs in. Records nothing.

    Episode b behaves bit for bit as the task alone, reset to ``states[b]`` and with
    ``generators[b]`` as its own.

    Args:
        env: the task; only its pure functions are used, so its own state stays as it is.
        states: the starts, ``[B, n]``.
        observations: what the camera has seen before, ``[B, C, H, W]``; `PixelEnv.observe` of the
            starts by default.
        generators: draw the state noise, one for each episode; none are needed without noise.
    """

    def __init__(
        self,
        env: PixelEnv,
        states: ArrayLike,
        observations: Frames | None = None,
        generators: Sequence[np.random.Generator] = (),
    ):
        self.env, self.generators = env, generators
        self.states: Floats = np.array(states, np.float64)
        """The present states, ``[B, n]``."""
        seen = env.observe(self.states) if observations is None else observations
        self.observations: Frames = seen
        """What the camera shows, ``uint8 [B, C, H, W]``."""

    def goals(self) -> Frames:
        """Return the observations that the episodes are to reach, ``uint8 [B, C, H, W]``."""
        return self.env.observe(self.env.goal_states(self.states))

    def step(self, actions: ArrayLike, external: ArrayLike | None = None) -> Frames:
        """Apply ``actions [B, m]`` for one control step; return the new `observations`.

        ``external [B, m]`` is the world's own push, see `PixelEnv.advance`.
        """
        self.observations, self.states = self.env.transition(
            self.observations, self.states, actions, external, self.generators
        )
        return self.observations


def record(
    batch: BatchEnv,
    controller: Controller,
    length: int,
    progress: Progress | None = None,
    push: Push | None = None,
) -> Rollouts:
    """Run ``controller`` for ``length`` steps from where ``batch`` stands, and keep everything.

    ``push`` is the world's own force at each step, see `PixelEnv.advance`; none by default.
    """
    env, count, history = batch.env, len(batch.states), batch.env.frames_per_observation
    frames = np.empty((count, length + history, *env.frame_shape), np.uint8)
    actions = np.empty((count, length, env.control_dim), np.float32)
    states = np.empty((count, length + 1, env.state_dim))
    frames[:, :history], states[:, 0] = batch.observations, batch.states
    for t in range(length):
        actions[:, t] = env.applied(controller(batch.observations))
        external = None if push is None else push(t)
        frames[:, history + t] = batch.step(actions[:, t], external)[:, -1]
        states[:, t + 1] = batch.states
        if progress is not None:
            progress(count * (t + 1), count * length)
    return Rollouts(frames, actions, states)


def random_controller(env: PixelEnv, rng: np.random.Generator) -> Controller:
    """Return a controller that draws every action uniformly within the limits."""
    low, high = env.action_space.low, env.action_space.high

    def act(observations: Frames) -> NDArray[np.float64]:
        return rng.uniform(low, high, (len(observations), env.control_dim))

    return act


def restart(env: PixelEnv, episodes: int, rng: np.random.Generator) -> BatchEnv:
    """Begin ``episodes`` at random restarts drawn by ``rng``; its children draw the state noise."""
    observations, states = env.restart(rng, episodes)
    return BatchEnv(env, states, observations, rng.spawn(episodes))


def collect_restarts(
    env: PixelEnv,
    episodes: int,
    length: int,
    rng: np.random.Generator,
) -> Rollouts:
    """Record ``episodes`` of ``length`` steps from random restarts under random controls.

    ``rng`` draws the restarts, and then the controls; the state noise comes from its children.
    """
    return record(restart(env, episodes, rng), random_controller(env, rng), length)
