"""Imitation: a controller that decides once on a whole sequence of controls, then hands over."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike
from torch import Tensor

from e2c.control.base import Controller, Frames
from e2c.models.conditional import ConditionalVAE
from e2c.models.draws import Generators


class PlanPolicy:
    """Draws the controls of the first T steps from ``p(u_1 .. u_T | x_1)``; another goes on.

    Args:
        policy: ``p(y|x)`` with x ``[k]`` and y ``[T m]``, controls in units of their limits.
        features: makes x ``[B, k]`` of the first observations.
        control_scale: ``[m]``, the limits.
        then: acts after T steps.
        seed: of the draws.
    """

    def __init__(
        self,
        policy: ConditionalVAE,
        features: Callable[[Frames], Tensor],
        control_scale: Tensor,
        then: Controller,
        seed: int,
    ) -> None:
        self.policy, self.features, self.control_scale = policy, features, control_scale
        self.then, self.seed = then, seed
        self._waiting: list[Tensor] | None = None

    def reset(self, goals: Frames | None, /) -> None:
        """Begin a batch of episodes; see `Controller.reset`."""
        self.then.reset(goals)
        self._waiting = None

    def act(self, frames: Frames, /) -> ArrayLike:
        """Return the next of the drawn controls ``[B, m]``, or what the other controller does."""
        if self._waiting is None:
            chosen = self.policy.choose(self.features(frames), Generators(self.seed))
            scaled = chosen.unflatten(-1, (-1, len(self.control_scale))) * self.control_scale
            self._waiting = list(scaled.unbind(1))
        return self._waiting.pop(0).numpy() if self._waiting else self.then.act(frames)
