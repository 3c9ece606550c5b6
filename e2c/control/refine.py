"""Refining a policy along local models: act, fit along what was seen, improve by a bounded step.

The policy begins as what the agent would do in its own model. Each round it plays own episodes with
a little noise. Local models are fitted to the last of them, with the agent's model as their prior,
and the policy takes a bounded step. Encoder and global model stay as they are.

Source: Zhang et al. 2019 (SOLAR), without the training of the latent space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from e2c.control.agent import Agent
from e2c.control.base import Frames, make_world_of, rollout
from e2c.control.local import Controls, Improvement, LinearPolicy, LocalController, improve
from e2c.control.simple import Noisy
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.models.local import LocalDynamics, LocalPrior, fit_local
from e2c.models.transitions import LocalLinearisation
from e2c.options import option
from planners import ILQG, Dynamics, GoalCost, ILQGOptions

POLISH = 50
"""Iterations of iLQG on the episode that the agent imagined."""


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
    """Of the divergence of a new policy from the one before, in nats per step."""
    terminal_weight: float = option(20.0)
    """Weight of the last state's distance from the goal, against 1 for the others, so that the
    policy stands in its last steps too."""


@dataclass(frozen=True)
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

    It begins as what the agent would do from the start that is nearest to the mean of all: the mean
    of several codes need not be the code of anything.

    Args:
        agent: whose model encodes, and is the prior of the local models.
        first: data of the agent's world; its episodes tell where episodes begin, and how large the
            error of the global model is.
        steps: T.
        options: how it is refined.
        goal: an observation to reach, in place of the goal that the model was trained with. The
            agent has this goal from now on.
    """

    def __init__(
        self,
        agent: Agent,
        first: Episodes,
        steps: int,
        options: RefineOptions | None = None,
        goal: Frames | None = None,
    ) -> None:
        self.agent, self.steps, self.options = agent, steps, options or RefineOptions()
        model, spec, o = agent.model, agent.spec, self.options
        agent.reset(goal)
        self.global_model = agent.dynamics
        self.cost = weighted(agent.cost, o.terminal_weight, torch.float64)
        scale = spec.control_scale.double()
        low, high = (torch.tensor(ends).double() for ends in (spec.control_low, spec.control_high))
        self.controls = Controls(low, high, o.exploration * scale)
        seen = [self._seen(episode) for episode in first.split()]
        errors = torch.cat([self._errors(z, u) for z, u in seen])
        self.noise = errors.mT @ errors / len(errors)
        n = errors.shape[-1]
        unit = (model.latent_variance.double() / n).sqrt().expand(n)
        self.spread = o.spread * torch.cat((unit, scale))
        starts = torch.stack([z[0] for z, _ in seen])
        start = starts[(starts - starts.mean(0)).square().sum(-1).argmin()]
        self.policy = imagined_policy(agent, start.float(), steps, o.terminal_weight, goal)
        self.z, self.u = start.new_zeros(0, steps + 1, n), start.new_zeros(0, steps, len(scale))
        self.local: LocalDynamics | None = None
        """The local models of the last round."""

    @property
    def controller(self) -> LocalController:
        """What acts by the policy as it is now, without noise."""
        return LocalController(self.agent.model, self.agent.spec, self.policy)

    def play(self, count: int, rng: np.random.Generator) -> Episodes:
        """Let the policy play own episodes, with noise on its controls.

        Args:
            count: how many.
            rng: draws the starts and the noise.
        """
        world = make_world_of(self.agent.spec, count)
        controller = Noisy(self.controller, self.controls.noise.numpy(), rng)
        episodes = rollout(world, controller, self.steps, rng)
        world.close()
        return episodes

    def learn(self, episodes: Episodes) -> Improvement:
        """Fit local models to own episodes and those before, and improve the policy along them.

        Raises:
            E2CError: when an episode has not T steps, as where the world ended it.
        """
        seen = self._of_length(episodes)
        kept = self.options.memory
        self.z = torch.cat((self.z, *(z[None] for z, _ in seen)))[-kept:]
        self.u = torch.cat((self.u, *(u[None] for _, u in seen)))[-kept:]
        mean = linearised(self.global_model, self.z.mean(0)[:-1], self.u.mean(0))
        prior = LocalPrior(mean, self.noise, self.spread, self.options.strength)
        self.local = fit_local(self.z, self.u, prior)
        bound = self.options.bound * self.steps
        found = improve(self.policy, self.local, self.cost, self.z[:, 0], self.controls, bound)
        self.policy = found.policy
        return found

    def refined(self, rounds: int, count: int, rng: np.random.Generator) -> LocalController:
        """Refine in rounds; return what acts by the policy whose own episodes cost least.

        A step that the local models promise much of may be wrong, where they do not fit the own
        episodes. So the costs are those of the codes that were seen, and the last policy, which has
        not played, is not among those compared.

        Args:
            rounds: how many, at least 1.
            count: own episodes in each.
            rng: draws their starts and the noise.

        Raises:
            E2CError: as `learn`.
        """
        tried = list[tuple[float, LocalController]]()
        for _ in range(rounds):
            acting = self.controller
            seen = self._of_length(episodes := self.play(count, rng))
            z, u = (torch.stack(parts) for parts in zip(*seen, strict=True))
            tried.append((float(self.cost.total(z, u).mean()), acting))
            self.learn(episodes)
        return min(tried, key=lambda each: each[0])[1]

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
        seen = self._of_length(episodes)
        z, u = (torch.stack(parts) for parts in zip(*seen, strict=True))
        of_global = torch.stack([self._errors(*each) for each in seen])
        return StepErrors(of_global, z[:, 1:] - self.local.mean.step(z[:, :-1], u))

    def _of_length(self, episodes: Episodes) -> list[tuple[Tensor, Tensor]]:
        """Return codes and controls of episodes, each of T steps."""
        if (episodes.lengths != self.steps).any():
            raise E2CError(
                f"Local models of {self.steps} steps are fitted to episodes of as many; got "
                f"episodes of {episodes.lengths.tolist()}: give a number of steps that the world "
                "does not end."
            )
        return [self._seen(episode) for episode in episodes.split()]

    @torch.no_grad()
    def _seen(self, episode: Episodes) -> tuple[Tensor, Tensor]:
        """Return the codes ``[T+1, n]`` and controls ``[T, m]`` of one episode, in float64."""
        z = self.agent.model.encode(episode.planes()).mean
        return z.double(), torch.from_numpy(episode.actions).double()

    @torch.no_grad()
    def _errors(self, z: Tensor, u: Tensor) -> Tensor:
        """Return what the global model misses in each step, ``[T, n]``."""
        return z[1:] - self.global_model.step(z[:-1].float(), u.float()).double()


@torch.no_grad()
def imagined_policy(
    agent: Agent,
    start: Tensor,
    steps: int,
    terminal_weight: float,
    goal: Frames | None = None,
) -> LinearPolicy:
    """Return what the agent would do in its own model: the policy before any own episode.

    The agent plans and acts in its model step by step, as it does in its world, and iLQG improves
    the whole episode. iLQG alone, over so many steps, ends in swings that fall down again. It is
    given the states that were planned, and leads back to them. The controls alone would not do:
    from an unstable goal, what arithmetic rounds leads away within some 100 steps.

    Args:
        agent: it begins a new episode.
        start: ``[n]``, where the episode begins.
        steps: T.
        terminal_weight: of the last state's distance from the goal, against 1 for the others.
        goal: an observation to reach, in place of the goal that the model was trained with.
    """
    agent.reset(goal)
    path, controls = [start[None]], list[Tensor]()
    for _ in range(steps):
        controls.append(agent.planner.plan(path[-1], agent.cost).controls[:, 0])
        path.append(agent.dynamics.step(path[-1], controls[-1]))
    agent.reset(goal)
    low, high = (torch.tensor(ends) for ends in (agent.spec.control_low, agent.spec.control_high))
    cost = weighted(agent.cost, terminal_weight, start.dtype)
    polish = ILQG(ILQGOptions(max_iterations=POLISH))
    X, U = torch.stack(path, 1), torch.stack(controls, 1)
    plan = polish.solve(agent.dynamics, cost, start[None], U, low, high, X[:, None])
    return LinearPolicy.of_plan(plan)


@torch.no_grad()
def linearised(dynamics: Dynamics, z: Tensor, u: Tensor) -> LocalLinearisation:
    """Return a global model's linearisations at ``z [T, n]``, ``u [T, m]``, in float64."""
    at = z.float(), u.float()
    A, B = (part.double() for part in dynamics.linearize(*at))
    Az, Bu = (A @ z[..., None])[..., 0], (B @ u[..., None])[..., 0]
    return LocalLinearisation(A, B, dynamics.step(*at).double() - Az - Bu)


def weighted(cost: GoalCost, terminal_weight: float, dtype: torch.dtype) -> GoalCost:
    """Return a cost with another weight of its last state, in another dtype."""
    goal, Q, R = (part.to(dtype) for part in (cost.goal, cost.Q, cost.R))
    return GoalCost(goal, Q, R, terminal_weight * Q, cost.reference.to(dtype))
