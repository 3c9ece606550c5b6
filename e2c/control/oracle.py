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

from e2c.control.agent import PlannerConfig, build_planner, goal_cost
from e2c.control.base import problem_spec
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from envs.world import World, simulated
from planners import GoalCost, holding_control

Floats = NDArray[np.float64]


class TrueSystem(Protocol):
    """What the oracle needs of an environment; all of it is hidden from the agent."""

    def predict(self, states: Floats, controls: Floats) -> Floats:
        """Return N states ``[N, n]`` after one control step under ``controls [N, m]``."""

    def linearize(self, states: Floats, controls: Floats) -> tuple[Floats, Floats]:
        """Return its derivatives ``[N, n, n]`` by the states and ``[N, n, m]`` by the controls."""

    def coordinates(self, states: Floats) -> Floats:
        """Map states to smooth coordinates ``[..., k]``."""

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """Map coordinates back to states."""

    def coordinates_jacobian(self, states: Floats) -> Floats:
        """Return the derivative ``[N, k, n]`` of `coordinates`, with orthonormal columns."""

    def goal_states(self, states: Floats) -> Floats:
        """Return the states that the episodes at ``states [N, n]`` are to reach."""

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw random restarts ``[n, state_dim]``."""


class TrueDynamics:
    """The true mechanics in whitened coordinates.

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
        return self.whiten(self.system.predict(*self._rows(x, u))).reshape(x.shape)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives ``[..., k, k]`` and ``[..., k, m]``, by the chain rule."""
        states, controls = self._rows(x, u)
        after = self.system.predict(states, controls)
        fx, fu = map(torch.from_numpy, self.system.linearize(states, controls))
        begun, ended = (self._tangents(moments) for moments in (states, after))
        scale = torch.from_numpy(self.scale)[:, None]
        ended = ended / scale
        by_state, by_control = ended @ fx @ (begun * scale).mT, ended @ fu
        return by_state.reshape(*x.shape, -1), by_control.reshape(*x.shape, -1)

    def _tangents(self, states: Floats) -> Tensor:
        """Return the derivative ``[N, k, n]`` of the coordinates, not whitened."""
        return torch.from_numpy(self.system.coordinates_jacobian(states))

    def _rows(self, x: Tensor, u: Tensor) -> tuple[Floats, Floats]:
        """Return the states ``[N, n]`` and controls ``[N, m]`` of any leading dimensions."""
        coordinates = x.reshape(-1, self.state_dim).numpy() * self.scale
        return self.system.from_coordinates(coordinates), u.reshape(-1, self.control_dim).numpy()


class Oracle:
    """Acts on the true states of a simulated world as the agent acts on frames.

    Args:
        world: what it acts in.
        options: the agent's planner.
        goal: a state ``[n]`` to reach, in place of the task's own.

    Raises:
        E2CError: when the world's states cannot be read.
    """

    def __init__(self, world: World, options: PlannerConfig, goal: Floats | None = None) -> None:
        try:
            self.world = simulated(world, "The oracle")
        except ValueError as error:
            raise E2CError(str(error)) from None
        self.spec, self.options, self.goal = problem_spec(world), options, goal
        self.dynamics = TrueDynamics(self.world.task, len(self.spec.control_low))
        self.planner = build_planner(self.dynamics, self.spec, options)

    def reset(self, goals: NDArray[np.uint8] | None = None, /) -> None:
        """Begin the episodes at whose starts the world stands; their goals are states."""
        self.cost = self._cost(self.world.states)
        self.planner.reset()

    def act(self, frames: NDArray[np.uint8], /) -> Floats:
        """Choose actions ``[B, m]`` for the present states; ``frames`` are not looked at."""
        plan = self.planner.plan(self.dynamics.whiten(self.world.states), self.cost)
        actions: Floats = plan.controls[:, 0].numpy()
        return actions

    def price(self, episodes: Episodes) -> Floats:
        """Return the cost ``[E]`` of episodes that anyone played: what the oracle minimises.

        It adds, over the steps, the squared distance to the goal in whitened coordinates (their
        mean) and ``control_weight`` times the squared controls, beyond those that hold the goal, in
        units of their limits.
        """
        assert episodes.states is not None
        starts = [episodes.moment_rows(e).start for e in range(len(episodes))]
        costs = self._cost(episodes.states[starts])
        return np.array(
            [
                self._price(episode, costs.select(torch.tensor([e])))
                for e, episode in enumerate(episodes.split())
            ]
        )

    def _price(self, episode: Episodes, cost: GoalCost) -> float:
        """Return the cost of one episode."""
        assert episode.states is not None
        x = self.dynamics.whiten(episode.states)[None]
        u = torch.from_numpy(np.float64(episode.actions))[None]
        return float(cost.total(x, u))

    def _cost(self, starts: Floats) -> GoalCost:
        """Return the cost of episodes that begin at ``starts [B, n]``."""
        goals = self.world.task.goal_states(starts)
        goal = self.dynamics.whiten(goals if self.goal is None else goals * 0 + self.goal)
        variance = torch.tensor(float(self.dynamics.state_dim))
        low, high = torch.tensor(self.spec.control_low), torch.tensor(self.spec.control_high)
        holding = holding_control(self.dynamics, goal, low, high)
        return goal_cost(goal, variance, self.spec, self.options, holding)
