"""Trajectory optimisation: iLQG with control limits, batched, and its receding horizon.

The package knows nothing of pixels, of learned models or of environments. Whatever implements the
two small protocols of :mod:`planners.base`, ``Dynamics`` and ``Cost``, can be planned on: a learned
latent model, a simulator's true equations, a linear test system.

>>> planner = RecedingHorizon(dynamics, low, high)          # doctest: +SKIP
>>> action = planner.plan(x0, GoalCost(goal, Q, R)).controls[:, 0]  # doctest: +SKIP
"""

from planners.base import Cost, Dynamics, Plan, QuadraticCost, Status
from planners.costs import GoalCost
from planners.ilqg import ILQG, ILQGOptions
from planners.receding import RecedingHorizon, RecedingOptions

__all__ = [
    "ILQG",
    "Cost",
    "Dynamics",
    "GoalCost",
    "ILQGOptions",
    "Plan",
    "QuadraticCost",
    "RecedingHorizon",
    "RecedingOptions",
    "Status",
]
