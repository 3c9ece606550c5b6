"""An own planner: random shooting, registered beside the others and run on the same system.

python examples/own_planner.py
"""

import torch
from torch import Tensor

from planners import PLANNERS, Cost, Dynamics, FunctionDynamics, GoalCost, Plan, Status
from planners.rollouts import finite_cost, roll_out


class RandomShooting:
    """Try random controls, constant over the horizon, and keep the cheapest of ``options``."""

    def __init__(
        self,
        dynamics: Dynamics,
        low: Tensor,
        high: Tensor,
        *,
        horizon: int,
        options: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dynamics, self.low, self.high = dynamics, low, high
        drawn = torch.rand(options or 1000, 1, len(low), generator=generator)
        self.trials = (low + (high - low) * drawn).repeat(1, horizon, 1)
        self.reset()

    def reset(self) -> None:
        """Forget the past; only the number of problems is remembered."""
        self.lost = torch.zeros(0, dtype=torch.int64)

    def plan(self, x0: Tensor, cost: Cost) -> Plan:
        """Return the cheapest trial of each problem ``x0 [B, n]``."""
        self.lost = torch.zeros(len(x0), dtype=torch.int64)  # no plan is continued, so none is lost
        U = self.trials.to(x0).expand(len(x0), 1, -1, -1, -1)
        X, U = roll_out(self.dynamics, x0, U, self.low.to(x0), self.high.to(x0))
        J, best = finite_cost(cost, X, U)[:, 0].min(1)
        rows = torch.arange(len(x0))
        X, U = X[rows, 0, best], U[rows, 0, best]
        ends = torch.where(J.isfinite(), int(Status.ITERATION_LIMIT), int(Status.NOT_FINITE))
        gains = U.new_zeros(*U.shape, X.shape[-1])
        return Plan(X.nan_to_num(), U, gains, J, ends, torch.ones_like(ends))


PLANNERS["shooting"] = RandomShooting


def mass(x: Tensor, u: Tensor) -> Tensor:
    """Return position [m] and velocity [m/s] in a plane, ``[..., 4]``, 0.1 s after ``x``."""
    velocity = x[..., 2:] + 0.1 * u
    return torch.cat((x[..., :2] + 0.1 * velocity, velocity), -1)


dynamics, limit = FunctionDynamics(mass, state_dim=4, control_dim=2), torch.ones(2)
cost = GoalCost(goal=torch.zeros(4), Q=torch.ones(4), R=torch.full((2,), 0.1))
for name, build in PLANNERS.items():
    planner = build(dynamics, -limit, limit, horizon=15, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[2.0, -1.0, 0.0, 0.0]])
    for _ in range(60):
        x = dynamics.step(x, planner.plan(x, cost).controls[:, 0])
    print(f"{name:8} is {float(x[0, :2].norm()):.3f} m from the goal after 6 s")
