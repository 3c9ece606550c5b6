"""Exploration: a controller that plans to learn as much about the dynamics as it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.base import Frames
from e2c.control.latent import LatentDynamics
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.lecture.last_layer import LastLayer, last_layer_of
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.transitions import Transition
from e2c.options import SEEDS, check_ranges, option
from planners import PLANNERS, CEMOptions, QuadraticCost


@dataclass(frozen=True)
class ExplorerOptions:
    """How an explorer plans, by CEM."""

    horizon: int = option(40, 1, 1000)
    """Steps planned ahead."""
    samples: int = option(128, 1, 100_000)
    """Control sequences rolled out in an iteration."""
    control_weight: float = option(0.01)
    """Cost of full control, per step, in nats."""
    seed: int = option(0, *SEEDS)
    """Of the planner's samples."""


class InformationGain:
    """The cost that is least where most is learned: that of the controls, less what is told.

    What a trajectory tells is taken for the sum of what its transitions tell, each by itself. Where
    these are alike, they tell less together.

    Source: Houthooft et al. 2016, VIME, where it is a bonus to the reward of each step.

    Args:
        transition: whose features.
        layer: what is known of the weights.
        R: ``[m]``, weight of each squared control, in nats.
    """

    def __init__(self, transition: Transition, layer: LastLayer, R: Tensor) -> None:
        self.transition, self.layer, self.R = transition, layer, R

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        """Return the cost ``[B, ...]`` of ``X [B, ..., T+1, n]`` under ``U [B, ..., T, m]``."""
        told = self.layer.gain(self.transition.features(X[..., :-1, :], U))
        return (U.square() @ self.R).sum(-1) - told.sum((-2, -1))

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        """Refuse: this cost has no least value that a quadratic could lead to.

        Raises:
            E2CError: always.
        """
        raise E2CError("Information gain can only be planned by sampling; choose cem or mppi.")

    def select(self, rows: Tensor) -> InformationGain:
        """Return this cost, which all problems share."""
        return self


class Explorer:
    """Goes where most is to be learned about the dynamics, and learns from each transition at once.

    The encoder and the hidden layers of the transition stay as they are. Its last layer is learned
    on, and the planner predicts with the posterior's mean. Without that, a plan that fails would be
    tried again and again.

    Args:
        model: a trained model.
        spec: its task.
        layer: what is known, see `know`; it is changed by what the explorer learns, and all
            episodes of a batch share it.
        options: how it plans.

    Raises:
        E2CError: when an option is out of its range.
    """

    def __init__(
        self,
        model: LatentModel,
        spec: ProblemSpec,
        layer: LastLayer,
        options: ExplorerOptions | None = None,
    ) -> None:
        chosen = check_ranges(options or ExplorerOptions())
        self.model, self.layout, self.layer = model, spec.layout, layer
        self.dynamics = LatentDynamics(model.transition)
        R = chosen.control_weight / spec.control_scale.square()
        self.cost = InformationGain(model.transition, layer, R)
        self.planner = PLANNERS["cem"](
            self.dynamics,
            torch.tensor(spec.control_low),
            torch.tensor(spec.control_high),
            horizon=chosen.horizon,
            options=CEMOptions(samples=chosen.samples),
            generator=torch.Generator().manual_seed(chosen.seed),
        )
        self._last: tuple[Tensor, Tensor] | None = None

    def reset(self, goals: Frames | None, /) -> None:
        """Begin a batch of episodes: goals change nothing, and what was learned stays."""
        self.planner.reset()
        self._last = None

    @torch.no_grad()
    def act(self, frames: Frames, /) -> NDArray[np.float32]:
        """Return actions ``[B, m]``, after learning from the transitions that led here."""
        z = self.model.encode(self.layout.to_planes(frames)).mean
        if self._last is not None:
            f, (before, u) = self.model.transition, self._last
            self.layer.observe(f.features(before, u), z - f.step(before, u))
        self.dynamics.correct(self.layer.mean)
        u = self.planner.plan(z, self.cost).controls[:, 0]
        self._last = z, u
        actions: NDArray[np.float32] = u.numpy()
        return actions


@torch.no_grad()
def know(model: LatentModel, data: Sequence[Episodes]) -> LastLayer:
    """Return what recorded episodes tell about the last layer of a model's dynamics."""
    z, u, after = list[Tensor](), list[Tensor](), list[Tensor]()
    for episode in (each for part in data for each in part.split()):
        path = model.encode(episode.planes()).mean
        z.append(path[:-1])
        u.append(torch.from_numpy(episode.actions))
        after.append(path[1:])
    return last_layer_of(model.transition, torch.cat(z), torch.cat(u), torch.cat(after))
