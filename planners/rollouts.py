"""Roll-outs: many trials of many problems at once, and their costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from planners.base import Cost, System
from planners.compiled import code_of
from planners.costs import has_numbers


class Trials(NamedTuple):
    """Roll-outs of controls, and their costs."""

    X: Tensor
    """``[B, K, S, T+1, n]``: states; may be an empty tensor where they are not needed."""
    U: Tensor
    """``[B, K, S, T, m]``: the controls applied."""
    J: Tensor
    """``[B, K, S]``: costs; infinite where something is not finite."""


def roll_out(
    system: System,
    x0: Tensor,
    U: Tensor,
    low: Tensor,
    high: Tensor,
    X: Tensor | None = None,
    gains: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Roll ``u = clamp(U + K (x - X), low, high)`` out, all trials at once.

    Args:
        system: System to roll out.
        x0: ``[B, n]``: initial states.
        U: ``[B, K, S, T, m]``: controls, ``S`` trials for each candidate.
        low: ``[m]``: lower limits.
        high: ``[m]``: upper limits.
        X: ``[B, K, T+1, n]``: the states that the feedback steers to; a candidate's trials share
            them.
        gains: ``[B, K, T, m, n]``: feedback; left out, there is none.

    Returns:
        States ``[B, K, S, T+1, n]`` and the controls applied, ``[B, K, S, T, m]``.
    """
    code = code_of(system, x0)
    if code is not None and gains is None:
        from planners import fused

        U = U.clamp(low, high)
        return fused.roll_out(code, x0, U)[0], U
    lead, x = U.shape[:3], x0[:, None, None].expand(*U.shape[:3], -1)
    states, controls = [x], []
    for v, law in zip(U.flatten(0, 1).unbind(-2), _feedbacks(X, gains, U.shape[-2]), strict=True):
        u = v if law is None else torch.baddbmm(v, x.flatten(0, 1) - law[0], law[1])
        u = torch.clamp(u, low, high).view(*lead, -1)
        x = system.step(x, u)
        controls.append(u)
        states.append(x)
    return torch.stack(states, -2), torch.stack(controls, -2)


def price(
    system: System,
    cost: Cost,
    x0: Tensor,
    U: Tensor,
    low: Tensor,
    high: Tensor,
    keep: bool = False,
) -> Trials:
    """Roll ``u = clamp(U, low, high)`` out as `roll_out` does, and compute the costs.

    Args:
        system: System to roll out.
        cost: Cost to evaluate.
        x0: ``[B, n]``: initial states.
        U: ``[B, K, S, T, m]``: controls.
        low: ``[m]``: lower limits.
        high: ``[m]``: upper limits.
        keep: whether the states are needed; they take much memory.
    """
    code = code_of(system, x0)
    if code is not None and has_numbers(cost, x0):
        from planners import fused

        U = U.clamp(low, high)
        X, J = fused.roll_out(code, x0, U, cost, keep)
        return Trials(X, U, J)
    X, U = roll_out(system, x0, U, low, high)
    return Trials(X, U, finite_cost(cost, X, U))


def finite_cost(cost: Cost, X: Tensor, U: Tensor) -> Tensor:
    """Return the cost ``[B, ...]`` of trajectories; infinite where a number in them is not finite.

    Args:
        cost: Cost to evaluate.
        X: ``[B, ..., T+1, n]``: states.
        U: ``[B, ..., T, m]``: controls.
    """
    J = cost.total(X, U)
    finite = (J + 0 * X.sum((-2, -1)) + 0 * U.sum((-2, -1))).isfinite()
    return J.where(finite, torch.inf)


def _feedbacks(
    X: Tensor | None, gains: Tensor | None, T: int
) -> Sequence[tuple[Tensor, Tensor] | None]:
    """Return for each time ``X [B*K, 1, n]`` and ``Kᵀ [B*K, n, m]``; None without feedback."""
    if X is None or gains is None:
        return [None] * T
    held = X[:, :, None, :-1].flatten(0, 1).unbind(-2)
    return list(zip(held, gains.mT.flatten(0, 1).unbind(-3), strict=True))
