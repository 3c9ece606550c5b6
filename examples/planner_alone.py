"""iLQG on your own dynamics in torch: a crane moves two loads, and no Jacobians are given.

python examples/planner_alone.py
"""

import torch
from torch import Tensor

from planners import FunctionDynamics, GoalCost, RecedingHorizon, RecedingOptions

DT = 0.05
"""Seconds between two controls."""


def crane(x: Tensor, u: Tensor) -> Tensor:
    """Return the state after ``DT`` of a trolley whose load hangs on a rope of 1 m.

    The state ``x [..., 4]`` is the trolley's position [m] and velocity [m/s], and the rope's angle
    [rad] and rate [rad/s]; the control ``u [..., 1]`` is the trolley's acceleration [m/s²].
    """
    position, velocity, angle, rate = x.unbind(-1)
    acceleration = u[..., 0]
    velocity = velocity + DT * acceleration
    rate = rate - DT * (9.81 * torch.sin(angle) + acceleration * torch.cos(angle))
    return torch.stack((position + DT * velocity, velocity, angle + DT * rate, rate), -1)


dynamics = FunctionDynamics(crane, state_dim=4, control_dim=1)
cost = GoalCost(goal=torch.zeros(4), Q=torch.tensor([1, 0.1, 1, 0.1]), R=torch.tensor([0.01]))
limit = torch.tensor([2.0])
seeded = torch.Generator().manual_seed(0)
planner = RecedingHorizon(dynamics, -limit, limit, RecedingOptions(horizon=40), seeded)

x = torch.tensor([[-3.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])  # two problems, side by side
print("  time | position [m]  rope [deg] | position [m]  rope [deg]")
for step in range(121):
    if step % 20 == 0:
        loads = [f"{load[0]:12.3f}  {load[2].rad2deg():10.2f}" for load in x]
        print(f"{step * DT:4.1f} s | " + " | ".join(loads))
    plan = planner.plan(x, cost)
    x = dynamics.step(x, plan.controls[:, 0])
print(f"The last plan costs {float(plan.cost[0]):.4f}. {plan.sentences()[0]}")
