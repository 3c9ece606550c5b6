"""Trajectory optimisation in a receding horizon: iLQG with control limits, CEM and MPPI, batched.

The package knows nothing of pixels, of learned models or of environments. It plans for any object
that implements the small protocols of `planners.base`: a learned latent model, a simulator's true
equations, a linear test system, or any function in torch (`FunctionDynamics`).

    >>> import torch
    >>> dynamics = FunctionDynamics(lambda x, u: x + 0.1 * u, state_dim=2, control_dim=2)
    >>> low, high = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])
    >>> planner = PLANNERS["ilqg"](dynamics, low, high, horizon=20)
    >>> cost = GoalCost(goal=torch.ones(2), Q=torch.ones(2), R=torch.full((2,), 0.1))
    >>> planner.plan(torch.zeros(1, 2), cost).controls[:, 0]  # the action to take now
    tensor([[1., 1.]])
"""

from planners.base import Cost, Dynamics, Plan, Planner, QuadraticCost, Status, System
from planners.costs import GoalCost
from planners.equilibrium import holding_control
from planners.functional import FunctionDynamics
from planners.ilqg import ILQG, ILQGOptions
from planners.receding import RecedingHorizon, RecedingOptions
from planners.registry import PLANNERS, Builder
from planners.sampling import CEM, MPPI, CEMOptions, MPPIOptions

__all__ = [
    "CEM",
    "ILQG",
    "MPPI",
    "PLANNERS",
    "Builder",
    "CEMOptions",
    "Cost",
    "Dynamics",
    "FunctionDynamics",
    "GoalCost",
    "ILQGOptions",
    "MPPIOptions",
    "Plan",
    "Planner",
    "QuadraticCost",
    "RecedingHorizon",
    "RecedingOptions",
    "Status",
    "System",
    "holding_control",
]
