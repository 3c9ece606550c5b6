"""The oracle: the agent's planner, weights and horizon on the true state and the true dynamics.

What it reaches is what the planner could reach with a perfect model, so the difference to it is the
model's error, and what it misses is the planner's.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.config import PlannerConfig
from e2c.control.agent import goal_cost, receding_horizon
from e2c.models.base import ProblemSpec

Floats = NDArray[np.float64]


class TrueSystem(Protocol):
    """What the oracle needs of an environment; all of it is hidden from the agent."""

    def advance(self, states: Floats, actions: Floats) -> Floats:
        """Simulate one control step of N states ``[N, n]``."""

    def coordinates(self, states: Floats) -> Floats:
        """Map states to smooth coordinates ``[..., k]``."""

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """Map coordinates back to states."""

    def goal_states(self, states: Floats) -> Floats:
        """Return the states that the episodes at ``states [N, n]`` are to reach."""

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw random restarts ``[n, state_dim]``."""


class TrueDynamics:
    """The simulator in whitened coordinates, differentiated by forward differences.

    Each coordinate is divided by its standard deviation over random restarts, as the prior does
    with latent coordinates; so one set of cost weights fits both.

    Args:
        system: the environment.
        control_dim: m.
    """

    def __init__(self, system: TrueSystem, control_dim: int) -> None:
        self.system, self.control_dim = system, control_dim
        samples = system.coordinates(system.sample_states(np.random.default_rng(0), 10_000))
        self.scale = samples.std(0)
        self.state_dim = len(self.scale)

    def whiten(self, states: Floats) -> Tensor:
        """Map states ``[..., n]`` to float64 ``[..., k]``."""
        return torch.from_numpy(self.system.coordinates(states) / self.scale)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next coordinates ``[..., k]`` of ``x [..., k]`` under ``u [..., m]``.

        What is not finite leads to NaN.
        """
        rows = x.reshape(-1, self.state_dim).numpy() * self.scale
        controls = u.reshape(-1, self.control_dim).numpy()
        rows[~np.isfinite(controls).all(1)] = np.nan
        states = self.system.from_coordinates(rows)
        following = self.system.advance(states, np.nan_to_num(controls))
        return self.whiten(following).reshape(x.shape)

    def linearize(self, x: Tensor, u: Tensor, eps: float = 1e-7) -> tuple[Tensor, Tensor]:
        """Return ``[..., k, k]`` and ``[..., k, m]``, by forward differences of width ``eps``."""
        k = self.state_dim
        xu = torch.cat((x, u), -1).unsqueeze(-2)
        around = torch.cat((xu, xu + eps * torch.eye(xu.shape[-1], dtype=x.dtype)), -2)
        y = self.step(around[..., :k], around[..., k:])
        jacobian = ((y[..., 1:, :] - y[..., :1, :]) / eps).mT
        return jacobian[..., :k], jacobian[..., k:]


class Oracle:
    """Acts on the true states of a batch of episodes as the agent acts on frames.

    Args:
        system: the environment.
        spec: the task.
        options: the agent's planner.
        starts: where the episodes begin, ``[B, n]``; each has its goal.
    """

    def __init__(
        self, system: TrueSystem, spec: ProblemSpec, options: PlannerConfig, starts: Floats
    ) -> None:
        self.dynamics = TrueDynamics(system, len(spec.control_low))
        self.planner = receding_horizon(self.dynamics, spec, options)
        goal = self.dynamics.whiten(system.goal_states(starts))
        variance = torch.tensor(float(self.dynamics.state_dim))
        self.cost = goal_cost(goal, variance, spec, options)

    def act(self, states: Floats) -> Floats:
        """Choose actions ``[B, m]`` for true states ``[B, n]``."""
        plan = self.planner.plan(self.dynamics.whiten(states), self.cost)
        actions: Floats = plan.controls[:, 0].numpy()
        return actions

    def price(self, states: Floats, actions: NDArray[np.float32]) -> Floats:
        """Return the cost ``[B]`` of episodes that anyone played: what the oracle minimises.

        It adds, over the steps, the squared distance to the goal in whitened coordinates (their
        mean) and ``control_weight`` times the squared controls in units of their limits.

        Args:
            states: true states ``[B, T+1, n]`` of the episodes from the oracle's starts.
            actions: ``[B, T, m]``.
        """
        x, u = self.dynamics.whiten(states), torch.from_numpy(np.float64(actions))
        cost: Floats = self.cost.total(x, u).numpy()
        return cost
