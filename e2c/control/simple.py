"""Controllers that have learned nothing: random, at rest, a recording, and noise on another's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2c.control.base import Controller, Frames
from e2c.data.episodes import Episodes
from envs.world import World, control_space


class Random:
    """Draws every action uniformly within the limits.

    Args:
        world: whose limits.
        rng: draws.
    """

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.space, self.rng = control_space(world), rng

    def reset(self, goals: Frames | None, /) -> None:
        """Go on drawing: goals change nothing."""

    def act(self, frames: Frames, /) -> NDArray[np.float64]:
        """Return actions ``[B, m]``."""
        low, high = self.space.low, self.space.high
        return self.rng.uniform(low, high, (len(frames), *low.shape))


class Zero:
    """Gives no control at all, or what is nearest to it within the limits.

    Args:
        world: whose limits.
    """

    def __init__(self, world: World) -> None:
        self.space = control_space(world)

    def reset(self, goals: Frames | None, /) -> None:
        """Do nothing."""

    def act(self, frames: Frames, /) -> NDArray[np.float32]:
        """Return actions ``[B, m]``."""
        return np.zeros((len(frames), *self.space.shape), np.float32)


class Replay:
    """Gives the actions of recorded episodes again, then none.

    Args:
        episodes: E of them, for a world of E environments.
    """

    def __init__(self, episodes: Episodes) -> None:
        self.episodes, self.t = episodes, 0

    def reset(self, goals: Frames | None, /) -> None:
        """Begin at the first step again."""
        self.t = 0

    def act(self, frames: Frames, /) -> NDArray[np.float32]:
        """Return actions ``[B, m]``."""
        actions = np.zeros((len(self.episodes), self.episodes.actions.shape[1]), np.float32)
        for e, T in enumerate(self.episodes.lengths):
            if self.t < T:
                actions[e] = self.episodes.actions[self.episodes.action_rows(e)][self.t]
        self.t += 1
        return actions


class Noisy:
    """Adds Gaussian noise to what another controller does.

    Args:
        controller: the other.
        scale: standard deviation of the noise on each control, ``[m]``, in the world's unit.
        rng: draws.
    """

    def __init__(
        self, controller: Controller, scale: NDArray[np.floating], rng: np.random.Generator
    ) -> None:
        self.controller, self.scale, self.rng = controller, scale, rng

    def reset(self, goals: Frames | None, /) -> None:
        """Let the other controller begin."""
        self.controller.reset(goals)

    def act(self, frames: Frames, /) -> ArrayLike:
        """Return actions ``[B, m]``."""
        actions = np.asarray(self.controller.act(frames))
        return actions + self.scale * self.rng.standard_normal(actions.shape)
