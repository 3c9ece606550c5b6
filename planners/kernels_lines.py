"""The line search of iLQG in compiled code, a part of `planners.kernels`.

Rooms and problems are those of `planners.kernels`.
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from planners.compiled import INNER, LANES, WITHIN
from planners.constants import ACCEPTANCE, FULL_STEP, LEAST_LAMBDA
from planners.kernels_backward import clamp
from planners.kernels_system import add_cost, step

compiled, within = njit(**INNER), njit(**WITHIN)
Array = Any
"""An array or a number in compiled code."""


@within
def search_lines(r: Array, p: Array, active: Array) -> None:
    """Roll trials out, and find the best of each candidate.

    The lanes are shared out among the candidates that wait for a decision. A trajectory that was
    rolled out from its initial state is its own trial of step size zero.
    """
    for g in active:
        search = r.search[g]
        search.decided, search.best, search.lowest = search.ended, 0, math.inf
        search.upcoming = math.isfinite(search.cost)
        if search.upcoming > 0:
            search.cost_before = search.cost
    lane = _share_lanes(r, p, active)
    while lane > 0:
        for idle in range(lane, LANES):
            r.slot[idle], r.trial[idle] = r.slot[lane - 1], r.trial[lane - 1]
        _roll_out(r, p)
        lane = _share_lanes(r, p, active)


@compiled
def _share_lanes(r: Array, p: Array, active: Array) -> int:
    """Give the lanes to the next trials; return how many lanes are used."""
    waiting, lane = 0, 0
    for g in active:
        search = r.search[g]
        search.decided |= search.upcoming == len(p.alpha)
        waiting += not search.decided
    for g in active:
        search = r.search[g]
        for _ in range(LANES // waiting if not search.decided else 0):
            if search.upcoming < len(p.alpha):
                r.slot[lane], r.trial[lane] = g, search.upcoming
                search.upcoming += 1
                lane += 1
    return lane


@compiled
def _roll_out(r: Array, p: Array) -> None:
    """Roll the trials in the lanes out, and look at them in their order."""
    T, n, trials = r.F.shape[1], r.x0.shape[1], r.trials
    for lane in range(LANES):
        g = r.slot[lane]
        r.total[lane] = 0
        for i in range(len(r.aim)):
            r.aim[i, lane] = r.target[g, i]
            if i < n:
                trials[0, i, lane] = r.x0[g, i]
    for t in range(T + 1):
        w, weight = trials[t], p.stage if t < T else p.terminal
        if t < T:
            _control(r, p, t, w)
            step(p.system, w, trials[t + 1, :n])
        add_cost(weight, w, r.aim, r.error, r.total)
    for lane in range(LANES):
        _consider(r, p, lane)


@compiled
def _control(r: Array, p: Array, t: int, w: Array) -> None:
    """Write the controls ``clamp(U + alpha k + K (x - X))`` of the states in ``w``."""
    n = r.x0.shape[1]
    for lane in range(LANES):
        g, alpha = r.slot[lane], p.alpha[r.trial[lane]]
        W, laws = r.W[g, t], r.laws[g, t]
        for j in range(len(laws)):
            u = W[n + j] + alpha * laws[j, 0]
            for i in range(n):
                if laws[j, 1 + i] != 0:
                    u += laws[j, 1 + i] * (w[i, lane] - W[i])
            w[n + j, lane] = clamp(u, p.limits[0, j], p.limits[1, j])


@compiled
def _consider(r: Array, p: Array, lane: int) -> None:
    """Keep the trial in a lane if it is the best; decide whether others are needed."""
    g, trial = r.slot[lane], r.trial[lane]
    search, alpha = r.search[g], p.alpha[trial]
    if search.decided:
        return
    cost = r.total[lane] if math.isfinite(r.total[lane]) else math.inf
    reduction = search.cost_before - cost
    expected = -alpha * (search.slope + alpha * search.curvature)
    if trial == 0:
        search.cost_before, search.decided = cost, not search.begun
    elif expected > 0 and reduction > ACCEPTANCE * expected and cost < search.lowest:
        search.best, search.lowest = trial, cost
    if trial == search.best:
        for t in range(len(r.trials)):
            for i in range(r.trials.shape[1]):
                r.better[g, t, i] = r.trials[t, i, lane]
    if trial == 1:
        good = expected > 0 and reduction >= FULL_STEP * expected
        search.decided = good or stationary(p, search)


@compiled
def stationary(p: Array, search: Array) -> bool:
    """Tell whether the expected reduction is small."""
    small = is_small(p, search, -(search.slope + search.curvature))
    return small and search.lam <= LEAST_LAMBDA


@compiled
def is_small(p: Array, search: Array, reduction: float) -> bool:
    """Tell whether a reduction is too small to go on; never so where the cost was infinite."""
    before = search.cost_before
    return math.isfinite(before) and reduction <= p.tolerance * (1 + abs(before))
