"""iLQG, roll-outs and their costs in compiled code, on tensors; `planners.kernels` has the code."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners import kernels, kernels_system
from planners.base import Plan
from planners.compiled import Compiled, Memory, Options, numbers
from planners.costs import GoalCost

EACH = 16
"""Least number of items for a thread: to start it for fewer takes longer than to compute them."""


def solve(
    code: Compiled,
    cost: GoalCost,
    options: Options,
    alpha: Tensor,
    x0: Tensor,
    U: Tensor,
    low: Tensor,
    high: Tensor,
    X: Tensor | None,
    memory: Memory | None,
) -> Plan:
    """Optimise; see `planners.ilqg.ILQG.solve`.

    Args:
        code: The system.
        cost: Cost to minimise.
        options: Options of iLQG.
        alpha: ``[S]``: step sizes; the first is 0, the second 1.
        x0: ``[B, n]``. All tensors, those of the cost too, have the dtype of the code.
        U: ``[B, K, T, m]``.
        low: ``[m]``.
        high: ``[m]``.
        X: ``[B, K, T+1, n]``, or None.
        memory: Derivatives of the call a step earlier, or None.
    """
    (B, K, T, m), n, real = U.shape, x0.shape[1], code.parameters.dtype
    plans = (
        np.zeros((B * K, T + 1, n), real),
        np.empty((B * K, T, m), real),
        np.zeros((B * K, T, m, n), real),
        np.empty(B * K, real),
        np.empty(B * K, np.int64),
        np.empty(B * K, np.int64),
    )
    states = plans[0] if X is None else _whole(X).reshape(B * K, T + 1, n)
    if memory is None:
        memory = Memory.empty(code, 0, T, n, m)
    elif memory.code is not code or memory.at.shape != (B * K, T, n + m):
        raise ValueError(
            f"memory holds derivatives of shape {memory.at.shape}, or of another system; this one "
            f"needs {(B * K, T, n + m)}: make one with Memory.empty."
        )
    problem = (
        numbers(code),
        _numbers(cost, B),
        (_whole(low), _whole(high)),
        options,
        _whole(alpha),
        (_whole(x0), states, _whole(U).reshape(B * K, T, m)),
        plans,
        (memory.at, memory.F),
    )
    _share(B * K, lambda first, last: kernels.optimise((first, last, K, X is not None), *problem))
    if K > 1:
        best = plans[3].reshape(B, K).argmin(1) + K * np.arange(B)
        plans = tuple(field[best] for field in plans)
    return Plan(*map(torch.from_numpy, plans))


def shift(code: Compiled, plan: Plan) -> tuple[Tensor, Tensor]:
    """Move a plan on by one step as `planners.warm.shift` does."""
    X, U = np.empty(plan.states.shape, code.parameters.dtype), np.empty_like(_whole(plan.controls))
    kernels_system.shift(numbers(code), _whole(plan.states), _whole(plan.controls), X, U)
    return torch.from_numpy(U), torch.from_numpy(X)


def roll_out(
    code: Compiled, x0: Tensor, U: Tensor, cost: GoalCost | None = None, keep: bool = True
) -> tuple[Tensor, Tensor]:
    """Roll the controls ``U [B, K, S, T, m]`` out from ``x0 [B, n]``, without limits.

    Returns:
        States ``[B, K, S, T+1, n]``, or an empty tensor if they are not to be kept; and costs
        ``[B, K, S]``, infinite where something is not finite, or an empty tensor without a cost.
    """
    (*lead, T, m), n, real = U.shape, x0.shape[1], code.parameters.dtype
    count, priced = math.prod(lead), cost is not None
    if cost is None:  # compiled code needs some cost; where J is empty, it computes none
        cost = GoalCost(x0.new_zeros(n), x0.new_zeros(n), x0.new_zeros(m))
    X, J = np.empty((count * keep, T + 1, n), real), np.empty(count * priced, real)
    problem = (numbers(code), _numbers(cost, len(x0)), _whole(x0), _whole(U).reshape(-1, T, m))
    _share(count, lambda first, last: kernels_system.roll_out((first, last), *problem, X, J))
    states, costs = torch.from_numpy(X), torch.from_numpy(J)
    return (
        states.reshape(*lead, T + 1, n) if keep else states,
        costs.reshape(*lead) if priced else costs,
    )


def _numbers(cost: GoalCost, B: int) -> tuple[NDArray[Any], ...]:
    """Return the cost of ``B`` problems as compiled code takes it."""
    return tuple(map(_whole, (*cost.targets(B), cost.Q, cost.R, cost.Qf)))


def _share(count: int, work: Callable[[int, int], None]) -> None:
    """Do ``work(first, last)`` for ``count`` items, on several threads where there are many.

    Items are computed alone, so their results do not depend on the number of threads.
    """
    threads = min(workers(), count // EACH)
    if threads <= 1:
        work(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds, bounds[1:]))


def workers() -> int:
    """Return how many threads may plan: as many as OMP_NUM_THREADS says, or as there are cores.

    torch may use fewer, since its threads wait for one another many times in a step.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as a contiguous array."""
    return tensor.contiguous().numpy()
