"""Controllers that have learned nothing: random, at rest, a recording; and two that lead others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2c.control.base import Controller, Frames
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from envs.world import World, control_space

Noise = Literal["auto", "uniform", "white", "pink", "red", "telegraph"]
"""Of random controls: independent and uniform within the limits, of a colour, or full force that
changes its sign now and then. ``auto`` stands for what suits the world."""
COLOURS = {"white": 0.0, "pink": 1.0, "red": 2.0}
"""beta, by which the power ``1/f^beta`` of coloured noise falls with the frequency f."""
GAIN = 5.0
"""Standard deviation of coloured noise, in units of the limits; most of it is cut off there."""
HOLDS = (1 / 40, 1 / 4)
"""Mean time between two changes of sign of a telegraph signal, as a share of the episode: least and
most."""


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


class Coloured:
    """Gives noise that is correlated in time, `GAIN` times the limits, cut off there.

    Independent controls average out, and a heavy system hardly moves. Where low frequencies are
    strong, noise pushes one way for a while; far beyond the limits, it pushes with full force.
    Episodes and controls are independent of one another.

    Args:
        world: whose limits.
        rng: draws.
        steps: T, the longest that an episode may be; after it the series begins again.
        colour: a key of `COLOURS`, or telegraph.
    """

    def __init__(self, world: World, rng: np.random.Generator, steps: int, colour: str) -> None:
        self.space, self.rng, self.steps = control_space(world), rng, steps
        self.colour, self.t = colour, 0
        self.series = np.empty(0)

    def reset(self, goals: Frames | None, /) -> None:
        """Begin new series."""
        self.t = 0

    def act(self, frames: Frames, /) -> NDArray[np.float64]:
        """Return actions ``[B, m]``."""
        low, high = self.space.low, self.space.high
        if self.t == 0:
            self.series = self._draw((len(frames), *low.shape))
        noise = self.series[..., self.t % self.steps]
        self.t += 1
        return np.clip((low + high) / 2 + GAIN * (high - low) / 2 * noise, low, high)

    def _draw(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw series, ``[*shape, T]``."""
        if self.colour == "telegraph":
            return telegraph(shape, self.steps, self.rng)
        return coloured_noise(shape, self.steps, COLOURS[self.colour], self.rng)


def coloured_noise(
    shape: tuple[int, ...], steps: int, beta: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw Gaussian series of variance 1 with the spectrum ``1/f^beta``, ``[*shape, steps]``.

    A series is a Fourier sum with Gaussian coefficients of that power (Timmer & Koenig 1995). The
    frequency 0, where the power has no bound, gets that of the lowest frequency besides, so that
    the mean of a series is random too.
    """
    count = steps // 2 + 1
    power = np.maximum(np.arange(count), 1.0) ** -beta
    real = np.zeros(count, np.bool_)  # frequencies that have one coefficient, not two
    real[0], real[-1] = True, steps % 2 == 0
    parts = rng.standard_normal((2, *shape, count))
    coefficients = np.where(real, np.sqrt(2) * parts[0], parts[0] + 1j * parts[1])
    variance = (np.where(real, 2, 4) * power).sum()
    return np.fft.irfft(coefficients * np.sqrt(power / variance), steps, norm="forward")


def telegraph(shape: tuple[int, ...], steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw random telegraph signals, which are 1 or -1, ``[*shape, steps]``.

    Each changes its sign at random times (Kac 1974). Their mean distance differs from series to
    series, log-uniformly within `HOLDS`: so some are near the time in which a system swings,
    whatever that is.
    """
    least, most = (max(1.0, share * steps) for share in HOLDS)
    holds = np.exp(rng.uniform(np.log(least), np.log(most), (*shape, 1)))
    changes = rng.random((*shape, steps)) < 1 / holds
    first = rng.choice([-1.0, 1.0], (*shape, 1))
    return first * (1 - 2 * (changes.cumsum(-1) % 2))


def random_controls(
    world: World, rng: np.random.Generator, steps: int, noise: str = "uniform"
) -> Controller:
    """Return what draws controls: `Random` for uniform, or `Coloured` with the colour of that name.

    Args:
        world: whose limits.
        rng: draws.
        steps: the longest that an episode may be.
        noise: uniform, telegraph, or a key of `COLOURS`.
    """
    return Random(world, rng) if noise == "uniform" else Coloured(world, rng, steps, noise)


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


class ByGoal:
    """Lets a controller act for each goal, in the episodes that have this goal.

    Args:
        goals: G different ones, ``[G, *observation]``.
        controllers: G of them.
    """

    def __init__(self, goals: Frames, controllers: Sequence[Controller]) -> None:
        self.goals, self.controllers = goals, controllers
        self._chosen = np.empty(0, np.int64)

    def reset(self, goals: Frames | None, /) -> None:
        """Begin a batch of episodes.

        Raises:
            E2CError: for an episode without a goal, or with one that no controller is for.
        """
        told = self.goals[:0] if goals is None else np.asarray(goals)
        same = (told[:, None] == self.goals).all(tuple(range(2, self.goals.ndim + 1)))
        if not (len(told) and same.any(1).all()):
            raise E2CError(
                f"There is a controller for each of {len(self.goals)} goals, and an episode has "
                "none of these; give it one of them."
            )
        self._chosen = same.argmax(1)
        for controller in self.controllers:
            controller.reset(goals)

    def act(self, frames: Frames, /) -> NDArray[np.float64]:
        """Return actions ``[B, m]``."""
        actions = np.stack([controller.act(frames) for controller in self.controllers])
        chosen: NDArray[np.float64] = actions[self._chosen, np.arange(len(frames))]
        return chosen
