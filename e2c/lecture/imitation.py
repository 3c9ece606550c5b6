"""Imitation: a controller that draws several controls at a time, as another one would act.

Source: Sohn, Lee & Yan 2015 (conditional VAE); Zhao et al. 2023 (ACT), who draw several controls at
a time by one, and look again when these are played. They play the mean of the prior; here a code
of the demonstrations is drawn, so that a policy with several answers gives each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from e2c.control.base import Controller, Frames
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.lecture.conditional import ConditionalVAE
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.draws import Generators
from e2c.options import option

Features = Callable[[Frames, Frames | None], Tensor]
"""Makes x ``[B, k]`` of observations and of the goals of their episodes."""


@dataclass(frozen=True)
class ImitationOptions:
    """How a policy learns to imitate."""

    controls: int = option(5, 1, 1000)
    """Controls that it draws at a time."""
    latent_dim: int = option(2, 0, 1000)
    """Dimension of the conditional VAE's latent variable; 0 is regression."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    steps: int = option(3000, 1)
    """Steps of the optimiser."""
    batch: int = option(256, 1)
    """Pairs of an observation and the controls that follow it, in a step."""
    learning_rate: float = option(2e-3, 1e-9)
    """Of Adam; it falls to 0 as a half cosine."""


class PlanPolicy:
    """Draws the controls of the next T steps from ``p(u_1 .. u_T | x_1)``, and plays them.

    Then another controller goes on; without one, the policy looks again and draws the next.

    Args:
        policy: ``p(y|x)`` with x ``[k]`` and y ``[T m]``, controls in units of their limits.
        features: makes x.
        control_scale: ``[m]``, the limits.
        then: acts after T steps.
        seed: of the draws.
    """

    def __init__(
        self,
        policy: ConditionalVAE,
        features: Features,
        control_scale: Tensor,
        then: Controller | None,
        seed: int,
    ) -> None:
        self.policy, self.features, self.control_scale = policy, features, control_scale
        self.then, self.seed = then, seed
        self._begin(None)

    def reset(self, goals: Frames | None, /) -> None:
        """Begin a batch of episodes; see `Controller.reset`."""
        self._begin(goals)
        if self.then is not None:
            self.then.reset(goals)

    def _begin(self, goals: Frames | None) -> None:
        self._goals, self._draws = goals, Generators(self.seed)
        self._waiting: list[Tensor] | None = None

    def act(self, frames: Frames, /) -> ArrayLike:
        """Return the next of the drawn controls ``[B, m]``, or what the other controller does."""
        if self._waiting == [] and self.then is not None:
            return self.then.act(frames)
        if not self._waiting:
            chosen = self.policy.choose(self.features(frames, self._goals), self._draws)
            scaled = chosen.unflatten(-1, (-1, len(self.control_scale))) * self.control_scale
            self._waiting = list(scaled.unbind(1))
        return self._waiting.pop(0).numpy()


class GoalCodes:
    """Codes of observations and of their goals, ``[B, 2n]``, in units of the data's spread.

    Args:
        model: encodes; it tells the goal of episodes that have none.
        spec: its task.
        centre: ``[n]``, the mean of the codes of the data.
        spread: ``[n]``, their standard deviation.
    """

    def __init__(
        self, model: LatentModel, spec: ProblemSpec, centre: Tensor, spread: Tensor
    ) -> None:
        self.model, self.spec, self.centre, self.spread = model, spec, centre, spread

    @torch.no_grad()
    def __call__(self, frames: Frames, goals: Frames | None) -> Tensor:
        """Encode ``frames [B, *observation]``, and as many ``goals``."""
        z = self.model.read(self.spec.layout.to_planes(np.asarray(frames))).mean
        told = self.model.goal if goals is None else self.spec.layout.to_planes(np.asarray(goals))
        return self.joined(z, self.model.read(told).mean)

    def joined(self, z: Tensor, goal: Tensor) -> Tensor:
        """Return features ``[B, 2n]`` of codes ``z [B, n]`` and ``goal [B, n]`` or ``[n]``."""
        both = torch.stack((z, goal.expand_as(z)), -2)
        return ((both - self.centre) / self.spread).flatten(-2)


def imitate(
    model: LatentModel,
    spec: ProblemSpec,
    demonstrations: Episodes,
    options: ImitationOptions | None = None,
    seed: int = 0,
) -> PlanPolicy:
    """Learn ``p(u_t .. u_{t+k-1} | z_t, z_goal)`` from what was seen and done in episodes.

    Args:
        model: encodes.
        spec: its task.
        demonstrations: the episodes; no states and no scores of theirs are read.
        options: how it learns; k is `ImitationOptions.controls`.
        seed: of the weights and of all draws.

    Raises:
        E2CError: when no episode has k steps.
    """
    options = options or ImitationOptions()
    codes, controls = _pairs(model, demonstrations, spec.control_scale, options.controls)
    z, _ = codes
    features = GoalCodes(model, spec, z.mean(0), z.std(0))
    policy = ConditionalVAE(
        2 * z.shape[-1], controls.shape[-1], options.latent_dim, options.hidden, seed
    )
    x = features.joined(*codes)
    policy.fit(x, controls, options.steps, options.learning_rate, seed, options.batch)
    return PlanPolicy(policy, features, spec.control_scale, None, seed)


@torch.no_grad()
def _pairs(
    model: LatentModel, episodes: Episodes, scale: Tensor, k: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return codes ``[N, n]`` of observations and of goals, and the k controls that follow.

    Controls are ``[N, k m]``, in units of ``scale [m]``, step by step.
    """
    goals, z, z_goal, following = episodes.goal_planes(), [], [], []
    for e, episode in enumerate(episodes.split()):
        count = int(episode.lengths[0]) - k + 1
        if count > 0:
            u = torch.from_numpy(episode.actions) / scale
            z.append(model.read(episode.planes(slice(0, count))).mean)
            goal = model.read(model.goal if goals is None else goals[e]).mean
            z_goal.append(goal.expand_as(z[-1]))
            following.append(u.unfold(0, k, 1).mT.flatten(1))
    if not z:
        raise E2CError(
            f"A policy of {k} controls at a time was to imitate episodes of at most "
            f"{episodes.lengths.max()} steps; give longer ones, or let it draw fewer at a time."
        )
    return (torch.cat(z), torch.cat(z_goal)), torch.cat(following)
