"""The control that holds a state, as far as there is one within the limits."""

from __future__ import annotations

import torch
from torch import Tensor

from planners import checks
from planners.base import Dynamics
from planners.boxqp import box_qp

NEWTON_STEPS = 5
"""Gauss-Newton steps; one suffices where ``f`` is affine in the control."""
RIDGE = 1e-6
"""Weight of the control itself, so that the smallest of equally good controls is found."""


def holding_control(dynamics: Dynamics, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return ``u* [B, m]``, the argmin of ``|f(x, u) - x|^2`` within the limits.

    It is the reference of `planners.GoalCost` for a goal that takes a force to hold.
    Source: target calculation of model predictive control (Muske & Badgwell 2002, "Disturbance
    modeling for offset-free linear model predictive control", section 2), for non-linear ``f``.

    Args:
        dynamics: ``f`` and its derivative by the control.
        x: ``[B, n]``: the states to hold.
        low: ``[m]``: lower limits of the controls; ``high`` likewise.
        high: See ``low``.

    Returns:
        ``u*``, within the limits; where it is not finite, the control nearest to zero within them.

    Raises:
        ValueError: when an argument has another type or shape, or the limits do not fit each other.
    """
    checks.system(dynamics, "step", "linearize")
    checks.states(x, dynamics.state_dim)
    low, high = (limit.to(x) for limit in checks.limits(low, high, dynamics.control_dim))
    rest = x.new_zeros(len(x), len(low)).clamp(low, high)
    u = rest
    for _ in range(NEWTON_STEPS):
        _, B = dynamics.linearize(x, u)
        missing = x - dynamics.step(x, u) + (B @ u[..., None])[..., 0]
        H = B.mT @ B
        size = H.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
        ridge = RIDGE * size.clamp(min=torch.finfo(x.dtype).tiny) * torch.eye(len(low)).to(x)
        u = box_qp(H + ridge, -(B.mT @ missing[..., None])[..., 0], low, high).u
        u = u.where(u.isfinite().all(-1, keepdim=True), rest)
    return u
