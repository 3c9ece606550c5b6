"""Refining a policy along local models: act, fit along what was seen, improve by a bounded step.

The policy begins as what was done in an episode, such as one of the agent's own. Each round it
plays own episodes with a little noise. Local models are fitted to the last of them, with the
agent's model as their prior, and the policy takes a bounded step. Where its own episodes then cost
more than before, the step is taken back, and a shorter one tried. Encoder and global model stay as
they are.

Source: Zhang et al. 2019 (SOLAR), without the training of the latent space. The bound of a step
follows what steps brought, as in a trust region method (Nocedal & Wright 2006, chapter 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from e2c.control.agent import Agent
from e2c.control.base import Frames, make_world_of, rollout
from e2c.control.simple import Noisy
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.lecture.local_models import LocalDynamics, LocalPrior, fit_local
from e2c.lecture.local_policy import Controls, Improvement, LinearPolicy, LocalController, improve
from e2c.models.transitions import LocalLinearisation
from e2c.options import option
from planners import Dynamics, GoalCost
from planners.riccati import backward_pass, local_model

SHRINK, GROW = 0.25, 2.0
"""Factors of the bound after a step that is taken back, and after one that is kept."""


@dataclass(frozen=True)
class RefineOptions:
    """How a policy is refined."""

    strength: float = option(1.0, 1e-9)
    """Of the prior of the local models: how many transitions of the global model it counts as."""
    spread: float = option(0.1, 1e-9)
    """How far these lie around the mean of the roll-outs: latent coordinates in units of the data's
    standard deviation, controls in units of their limits."""
    memory: int = option(8, 1)
    """Local models are fitted to this many last own episodes, at most."""
    exploration: float = option(0.05, 1e-9)
    """Standard deviation of the noise on the controls, as a share of the limits."""
    bound: float = option(2.0)
    """Of the divergence of a new policy from the one before, in nats per step, at most."""
    terminal_weight: float = option(20.0)
    """Weight of the last state's distance from the goal, against 1 for the others, so that the
    policy stands in its last steps too."""


@dataclass(frozen=True, eq=False)
class StepErrors:
    """What models miss in each step of R episodes of T steps: next code less prediction.

    Attributes:
        of_global: ``[R, T, n]``, of the global model.
        of_local: ``[R, T, n]``, of the local models.
    """

    of_global: Tensor
    of_local: Tensor


class Refinement:
    """A policy for episodes of T steps, and what it was refined with.

    It begins as what was done in one of the episodes that are given, with feedback that leads back
    to the states of this episode: the one that is expected to cost least from the starts of all.
    The cheapest episode may be one that only its own start allows.

    Args:
        agent: whose model encodes, and is the prior of the local models.
        shown: episodes of T steps each in the agent's world; they also tell how large the error of
            the global model is.
        options: how it is refined.
        goal: an observation to reach, in place of the goal that the model was trained with. The
            agent has this goal from now on.

    Raises:
        E2CError: when the episodes have different numbers of steps.
    """

    def __init__(
        self,
        agent: Agent,
        shown: Episodes,
        options: RefineOptions | None = None,
        goal: Frames | None = None,
    ) -> None:
        self.agent, self.options = agent, options or RefineOptions()
        self.steps = int(shown.lengths[0])
        model, spec, o = agent.model, agent.spec, self.options
        agent.reset(goal)
        self.global_model = agent.dynamics
        self.cost = weighted(agent.cost, o.terminal_weight)
        scale = spec.control_scale.double()
        low, high = (torch.tensor(ends).double() for ends in (spec.control_low, spec.control_high))
        self.controls = Controls(low, high, o.exploration * scale)
        z, u = self._seen(shown)
        errors = self._errors(z, u).flatten(0, 1)
        self.noise = errors.mT @ errors / len(errors)
        n = errors.shape[-1]
        unit = (model.latent_variance.double() / n).sqrt().expand(n)
        self.spread = o.spread * torch.cat((unit, scale))
        laws = [following(self.global_model, self.cost, *each) for each in zip(z, u, strict=True)]
        self.kept = min(laws, key=lambda law: float(self._expected(law, z[:, 0]).mean()))
        """The policy whose own episodes cost least."""
        self.least = math.inf
        """Their mean cost; infinite as long as there are none."""
        self.policy = self.kept
        """The policy that plays next."""
        self.bound = o.bound
        """Of the next step, in nats per step of an episode."""
        self.z, self.u = z[:0], u[:0]
        self.local: LocalDynamics | None = None
        """The local models of the last round."""

    @property
    def controller(self) -> LocalController:
        """What acts by the policy that is kept, without noise."""
        return LocalController(self.agent.model, self.agent.spec, self.kept)

    def play(self, count: int, rng: np.random.Generator) -> Episodes:
        """Let the policy play own episodes, with noise on its controls.

        Args:
            count: how many.
            rng: draws the starts and the noise.
        """
        world = make_world_of(self.agent.spec, count)
        acting = LocalController(self.agent.model, self.agent.spec, self.policy)
        episodes = rollout(world, Noisy(acting, self.controls.noise.numpy(), rng), self.steps, rng)
        world.close()
        return episodes

    def learn(self, episodes: Episodes) -> Improvement:
        """Take what the policy played as own episodes, and step from the best policy so far.

        Costs are those of the codes that were seen. Local models are fitted to episodes of policies
        that were kept: they hold near their trajectories only.

        Raises:
            E2CError: when an episode has not T steps, as where the world ended it.
        """
        z, u = self._seen(episodes)
        cost = float(self.cost.total(z, u).mean())
        if cost < self.least or self.policy is self.kept or self.local is None:
            if self.policy is not self.kept:
                self.bound = min(GROW * self.bound, self.options.bound)
            self.kept, self.least = self.policy, cost
            self.z = torch.cat((self.z, z))[-self.options.memory :]
            self.u = torch.cat((self.u, u))[-self.options.memory :]
            mean = linearised(self.global_model, self.z.mean(0)[:-1], self.u.mean(0))
            prior = LocalPrior(mean, self.noise, self.spread, self.options.strength)
            self.local = fit_local(self.z, self.u, prior)
        else:
            self.bound *= SHRINK
        bound = self.bound * self.steps
        found = improve(self.kept, self.local, self.cost, self.z[:, 0], self.controls, bound)
        self.policy = found.policy
        return found

    def refined(self, rounds: int, count: int, rng: np.random.Generator) -> LocalController:
        """Refine in rounds; return what acts by the policy whose own episodes cost least.

        Args:
            rounds: how many, at least 1.
            count: own episodes in each.
            rng: draws their starts and the noise.

        Raises:
            E2CError: as `learn`.
        """
        for _ in range(rounds):
            self.learn(self.play(count, rng))
        return self.controller

    def step_errors(self, episodes: Episodes) -> StepErrors:
        """Return what both models miss; in episodes that were not learned yet, a test of the fit.

        Raises:
            E2CError: when there are no local models yet, or an episode has not T steps.
        """
        if self.local is None:
            raise E2CError(
                "There are no local models yet, whose errors were asked for: learn from episodes "
                "first."
            )
        z, u = self._seen(episodes)
        return StepErrors(self._errors(z, u), z[:, 1:] - self.local.mean.step(z[:, :-1], u))

    @torch.no_grad()
    def _seen(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Return the codes ``[R, T+1, n]`` and controls ``[R, T, m]`` of episodes, in float64."""
        if (episodes.lengths != self.steps).any():
            raise E2CError(
                f"Local models of {self.steps} steps are fitted to episodes of as many; got "
                f"episodes of {episodes.lengths.tolist()}: give a number of steps that the world "
                "does not end."
            )
        each = list(episodes.split())
        z = torch.stack([self.agent.model.encode(episode.planes()).mean for episode in each])
        u = torch.stack([torch.from_numpy(episode.actions) for episode in each])
        return z.double(), u.double()

    @torch.no_grad()
    def _expected(self, law: LinearPolicy, starts: Tensor) -> Tensor:
        """Return the costs ``[R]`` that following an episode is expected to have from other starts.

        What the global model misses along the episode is added to its steps, so that they lead
        along the episode from its own start.
        """
        z, missed = starts, self._errors(law.X[None], law.U[None])[0]
        Z, U = [z], list[Tensor]()
        for t, error in enumerate(missed):
            U.append(law.act(t, z).clamp(self.controls.low, self.controls.high))
            z = self.global_model.step(z.float(), U[-1].float()).double() + error
            Z.append(z)
        return self.cost.total(torch.stack(Z, 1), torch.stack(U, 1))

    @torch.no_grad()
    def _errors(self, z: Tensor, u: Tensor) -> Tensor:
        """Return what the global model misses in each step, ``[R, T, n]``."""
        steps = [
            self.global_model.step(a[:-1].float(), b.float()) for a, b in zip(z, u, strict=True)
        ]
        return z[:, 1:] - torch.stack(steps).double()


def demonstrations(
    agent: Agent, count: int, steps: int, rng: np.random.Generator, goal: Frames | None = None
) -> Episodes:
    """Let an agent play episodes in its world, which policies may begin with.

    Args:
        agent: plays.
        count: how many.
        steps: of each, at most.
        rng: draws the starts.
        goal: an observation to reach, in place of the world's own goals.
    """
    world = make_world_of(agent.spec, count)
    goals = None if goal is None else np.repeat(goal[None], count, 0)
    episodes = rollout(world, agent, steps, rng, goals)
    world.close()
    return episodes


def following(dynamics: Dynamics, cost: GoalCost, z: Tensor, u: Tensor) -> LinearPolicy:
    """Return the policy that does what an episode did, and leads back to its states.

    The feedback is that of the linear-quadratic regulator along the episode: dynamics linearised,
    deviations weighed as ``cost`` weighs distances from the goal.

    Args:
        dynamics: the global model.
        cost: of one problem.
        z: ``[T+1, n]``, codes of the episode, in float64.
        u: ``[T, m]``, its controls.
    """
    along = linearised(dynamics, z[:-1], u)
    weights = cost.quadratize(z[None], u[None])
    weights = weights._replace(cx=0 * weights.cx, cu=0 * weights.cu)
    free = torch.full_like(u[None], math.inf)
    law = backward_pass(
        local_model(along.A[None], along.B[None], weights), z.new_zeros(1), -free, free
    )
    return LinearPolicy(z, u, law.K[0])


@torch.no_grad()
def linearised(dynamics: Dynamics, z: Tensor, u: Tensor) -> LocalLinearisation:
    """Return a global model's linearisations at ``z [T, n]``, ``u [T, m]``, in float64."""
    at = z.float(), u.float()
    A, B = (part.double() for part in dynamics.linearize(*at))
    return LocalLinearisation.through(dynamics.step(*at).double(), A, B, z, u)


def weighted(cost: GoalCost, terminal_weight: float) -> GoalCost:
    """Return a cost of one problem with another weight of its last state, in float64."""
    goal, Q, R = (part.double() for part in (cost.goal, cost.Q, cost.R))
    return GoalCost(goal, Q, R, terminal_weight * Q, cost.reference.double())
