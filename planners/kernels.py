"""iLQG in compiled code: the algorithm of `planners.ilqg`, a few candidates side by side.

Candidates that are optimised side by side stand in *slots*. When one ends, the next takes its slot.
The states of all slots are linearised, and their trials rolled out, `LANES` at a time (see
`planners.compiled`), so that no lane is idle. The plan of a candidate does not depend on the
candidates beside it. Roll-outs and derivatives are computed in the dtype of the states, the rest
in float64. State and control are one vector ``w = [x; u]`` of length ``N = n + m``. Decisions and
statuses are those of `planners.ilqg`.

numba keeps compiled code in a cache, with a copy of every function that the code calls. Systems are
called by their addresses, so they are not copied.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from planners import constants, kernels_backward, kernels_lines, kernels_system
from planners.base import Status
from planners.compiled import HOW, INNER, LANES, WITHIN, cached
from planners.constants import GROWTH, LEAST_LAMBDA
from planners.kernels_backward import backward_pass, clamp, local_of, padded
from planners.kernels_lines import is_small, search_lines, stationary
from planners.kernels_system import derivatives, system_of, weights

PARTS = (constants, kernels_backward, kernels_lines, kernels_system)
SLOTS = LANES
"""Number of slots: one trial of each fills the lanes."""
CONVERGED, ITERATION_LIMIT, NO_IMPROVEMENT, NOT_FINITE, NOT_POSITIVE_DEFINITE = map(int, Status)
compiled, within = njit(**INNER), njit(**WITHIN)
Array = Any
"""An array or a number in compiled code."""

CANDIDATE = np.dtype(
    [
        ("index", np.int64),  # among all candidates
        ("begun", np.bool_),  # whether its states are known
        ("ended", np.bool_),
        ("status", np.int64),
        ("iterations", np.int64),
        ("cost", np.float64),  # cost, infinite where no finite roll-out is known
        ("lam", np.float64),  # regularisation
        ("rate", np.float64),  # its factor of change
        ("moved", np.bool_),  # the last iteration took a step, so lambda may fall
        ("stuck", np.bool_),  # the last iteration found no step to take, so lambda must grow
        ("sound", np.float64),  # NaN if a derivative is not finite, else 0
        ("slope", np.float64),  # the cost is expected to change by alpha slope + alpha^2 curvature
        ("curvature", np.float64),
        ("cost_before", np.float64),  # cost of the trial of step size zero
        ("best", np.int64),  # cheapest acceptable trial, or 0
        ("lowest", np.float64),  # cost of the trial `best`, infinite if `best` is 0
        ("upcoming", np.int64),  # the next trial
        ("decided", np.bool_),  # whether the search needs no further trials
    ]
)
"""The state of a search; see `planners.ilqg._Search`."""


class Room(NamedTuple):
    """Working memory to optimise G candidates."""

    search: Array  # [G] of `CANDIDATE`
    begun: Array  # [G]: slots whose candidates have states
    x0: Array  # [G, n]
    W: Array  # [G, T+1, N]: their trajectories; the last control means nothing
    better: Array  # [G, T+1, N]: their trials `best`
    F: Array  # [G, T, n, P]: derivatives, see `kernels_backward`
    at: Array  # [G, T, N]: where they were taken, NaN where they are not known
    asked: Array  # [G T]: the items ``g T + t`` whose derivatives are to be taken
    laws: Array  # [G, T, m, P]
    target: Array  # [G, N]: targets of their costs
    local: Array  # `kernels_backward.Local`
    slot: Array  # [LANES]: the slot whose trial is in a lane
    trial: Array  # [LANES]: the number of this trial
    trials: Array  # [T+1, N, LANES]: trajectories of the trials
    aim: Array  # [N, LANES]: their targets
    error: Array  # [N, LANES]: trial minus target
    total: Array  # [LANES]: costs of the trials
    w: Array  # [N, LANES]: states that are linearised
    D: Array  # [n, N, LANES]: their derivatives


class Problem(NamedTuple):
    """The problem to solve, and the options."""

    system: Array
    stage: Array  # C [1+N, P]: see `kernels_system.weights` and `kernels_backward`
    terminal: Array
    limits: Array  # [2, m]
    options: Array  # `planners.compiled.Options`
    tolerance: Array  # that of the options, but at least the rounding of the dtype
    alpha: Array  # [S]: step sizes; the first is 0, the second 1


@cached(njit, parts=PARTS, **HOW)
def optimise(
    part: Array,
    code: Array,
    cost: Array,
    limits: Array,
    options: Array,
    alpha: Array,
    starts: Array,
    plans: Array,
    memory: Array,
) -> None:
    """Optimise the candidates from the first to the last of ``BK``.

    Args:
        part: first, last, ``K``, and whether the starts have states.
        code: addresses, parameters, sizes and scratch of `planners.compiled.Compiled`.
        cost: ``goal [B, n], reference [B, m], Q, R, Qf``.
        limits: ``low, high [m]``.
        options: `planners.compiled.Options`.
        alpha: ``[S]``: see `Problem`.
        starts: ``x0 [B, n], X [BK, T+1, n], U [BK, T, m]``.
        plans: ``X, U, K [BK, T, m, n], cost [BK], status [BK], iterations [BK]``, to be written.
        memory: ``at [BK, T, N], F [BK, T, n, N]``: derivatives that were taken a step earlier, to
            be replaced; without a memory, ``BK`` is 0.
    """
    upcoming, last, _, _ = part
    T, m, n = plans[2].shape[1:]
    problem = _problem(code, cost, limits, options, alpha)
    room = _room(min(SLOTS, last - upcoming), T, n, m, plans[0].dtype)
    active = np.arange(len(room.search))
    for g in active:
        _begin(room, problem, g, upcoming, part, cost, starts, memory)
        upcoming += 1
    while len(active) > 0:
        _iterate(room, problem, active, plans)
        left = 0
        for g in active:
            search = room.search[g]
            if search.ended:
                _write(room, g, plans, memory)
                if upcoming == last:
                    continue
                _begin(room, problem, g, upcoming, part, cost, starts, memory)
                upcoming += 1
            active[left] = g
            left += 1
        active = active[:left]


@compiled
def _problem(code: Array, cost: Array, limits: Array, options: Array, alpha: Array) -> Array:
    """Put states and controls together."""
    _, _, Q, R, _ = cost
    stage, terminal = weights(cost, padded(len(Q), len(R)))
    both = np.zeros((2, len(R)))
    for i in range(len(R)):
        both[0, i], both[1, i] = limits[0][i], limits[1][i]
    tolerance = max(options.tolerance, 8 * np.finfo(Q.dtype).eps)
    return Problem(system_of(code), stage, terminal, both, options, tolerance, alpha)


@compiled
def _room(G: int, T: int, n: int, m: int, real: Any) -> Array:
    """Make room for G candidates."""
    return Room(
        np.zeros(G, CANDIDATE),
        np.zeros(G, np.int64),
        np.zeros((G, n), real),
        np.zeros((G, T + 1, n + m), real),
        np.zeros((G, T + 1, n + m), real),
        np.zeros((G, T, n, padded(n, m))),
        np.zeros((G, T, n + m), real),
        np.zeros(G * T, np.int64),
        np.zeros((G, T, m, padded(n, m))),
        np.zeros((G, n + m)),
        local_of(n, m),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros((T + 1, n + m, LANES), real),
        np.zeros((n + m, LANES)),
        np.zeros((n + m, LANES)),
        np.zeros(LANES),
        np.zeros((n + m, LANES), real),
        np.zeros((n, n + m, LANES), real),
    )


@compiled
def _begin(
    r: Array, p: Array, g: int, index: int, part: Array, cost: Array, starts: Array, memory: Array
) -> None:
    """Put a candidate into a slot; its controls are made finite, as by ``nan_to_num``."""
    (x0, X, U), (_, _, each, warm), n = starts, part, r.x0.shape[1]
    b, largest, search, W = index // each, np.finfo(X.dtype).max, r.search[g], r.W[g]
    search.index, search.begun, search.status = index, warm, ITERATION_LIMIT
    search.ended = warm and p.options.max_iterations == 0
    search.cost, search.iterations, search.moved, search.stuck = math.inf, 0, False, False
    search.lam, search.rate = p.options.regularisation, 1.0
    search.slope, search.curvature = 0.0, 0.0
    for i in range(n):
        r.x0[g, i], r.target[g, i] = x0[b, i], cost[0][b, i]
        for t in range(len(W)):
            W[t, i] = X[index, t, i]
    for j in range(U.shape[2]):
        r.target[g, n + j] = cost[1][b, j]
        for t in range(U.shape[1]):
            u = U[index, t, j]
            u = 0.0 if math.isnan(u) else clamp(u, -largest, largest)
            W[t, n + j] = clamp(u, p.limits[0, j], p.limits[1, j])
            for i in range(1 + n):
                r.laws[g, t, j, i] = 0
    _recall(r, g, index, memory)


@compiled
def _recall(r: Array, g: int, index: int, memory: Array) -> None:
    """Copy the derivatives of the memory, shifted by one step; mark the others as not known."""
    (at, F), (_, T, n, _) = memory, r.F.shape
    for t in range(T):
        known = len(at) > 0 and t + 1 < T
        for j in range(r.at.shape[2]):
            r.at[g, t, j] = at[index, t + 1, j] if known else np.nan
            for i in range(n if known else 0):
                r.F[g, t, i, 1 + j] = F[index, t + 1, i, j]


@compiled
def _write(r: Array, g: int, plans: Array, memory: Array) -> None:
    """Write the plan of a candidate that has ended, but for its feedback, and the memory."""
    X, U, _, J, status, iterations = plans
    search, W, n = r.search[g], r.W[g], X.shape[2]
    c = search.index
    for t in range(len(W)):
        for i in range(n):
            X[c, t, i] = W[t, i]
        for j in range(U.shape[2] if t < U.shape[1] else 0):
            U[c, t, j] = W[t, n + j]
    J[c], status[c], iterations[c] = search.cost, search.status, search.iterations
    at, F = memory
    for t in range(len(W) - 1 if len(at) > 0 else 0):
        for j in range(W.shape[1]):
            at[c, t, j] = r.at[g, t, j]
            for i in range(n):
                F[c, t, i, j] = r.F[g, t, i, 1 + j]


@compiled
def _end(search: Array, status: int) -> None:
    """End a search."""
    search.ended, search.status = True, status


@within
def _iterate(r: Array, p: Array, active: Array, plans: Array) -> None:
    """Improve the candidates in the slots ``active`` once; roll out those without states."""
    begun = 0
    for g in active:
        search = r.search[g]
        if search.begun and not search.ended:
            _regularise(p.options, search)
            r.begun[begun] = g
            begun += not search.ended
    _linearise(r, p, r.begun[:begun])
    for g in r.begun[:begun]:
        _find_law(r, p, g)
    search_lines(r, p, active)
    for g in active:
        if not r.search[g].ended:
            _take(r, p, g, plans)


@compiled
def _regularise(o: Array, search: Array) -> None:
    """Lower lambda of a candidate that moved, or raise it if stuck."""
    if search.stuck:
        _raise(search)
    elif search.moved:
        search.rate = min(search.rate, 1.0) / GROWTH
        search.lam *= search.rate
        search.lam *= search.lam >= LEAST_LAMBDA
    if search.lam > o.regularisation_max:
        _end(search, NO_IMPROVEMENT)
    else:
        search.iterations += 1


@compiled
def _raise(search: Array) -> None:
    """Raise lambda, faster every time."""
    search.rate = max(search.rate, 1.0) * GROWTH
    search.lam = max(search.lam * search.rate, LEAST_LAMBDA)


@compiled
def _linearise(r: Array, p: Array, slots: Array) -> None:
    """Write the derivatives along the trajectories of slots, `LANES` states at a time.

    Derivatives that were taken nearby are kept, as `planners.ilqg.ILQGOptions.reuse` says.
    """
    T, n, count = r.F.shape[1], r.F.shape[2], 0
    for g in slots:
        r.search[g].sound = 0
        for t in range(T):
            r.asked[count] = g * T + t
            count += not _is_near(r.W[g, t], r.at[g, t], p.options.reuse)
    for first in range(0, count, LANES):
        used = min(LANES, count - first)
        for lane in range(LANES):
            item = r.asked[first + min(lane, used - 1)]
            w = r.W[item // T, item % T]
            for i in range(len(w)):
                r.w[i, lane] = w[i]
        derivatives(p.system, r.w, r.D)
        for lane in range(used):
            item = r.asked[first + lane]
            g, t, sound = item // T, item % T, 0.0
            for j in range(len(r.w)):
                sound += r.w[j, lane]
                for i in range(n):
                    r.F[g, t, i, 1 + j] = r.D[i, j, lane]
                    sound += r.D[i, j, lane]
            for j in range(len(r.w)):
                r.at[g, t, j] = r.w[j, lane] + 0 * sound
            r.search[g].sound += 0 * sound


@compiled
def _is_near(w: Array, at: Array, reuse: float) -> bool:
    """Tell whether ``w`` is near enough to where a derivative was taken; NaN is near nothing."""
    near = True
    for i in range(len(w)):
        near &= abs(w[i] - at[i]) <= reuse * (1 + abs(at[i]))
    return near


@within
def _find_law(r: Array, p: Array, g: int) -> None:
    """Pass backward, raising lambda until the control Hessian is positive definite."""
    search, W = r.search[g], r.W[g]
    sound = search.sound
    for i in range(W.shape[1]):
        sound += r.target[g, i] + (W[-1, i] if i < r.x0.shape[1] else 0.0)
        for j in range(W.shape[1]):
            sound += p.stage[1 + i, 1 + j] + p.terminal[1 + i, 1 + j]
    if not math.isfinite(sound):
        _end(search, NOT_FINITE)
    while not search.ended:
        definite, search.slope, search.curvature = backward_pass(
            r.local, p, r.target[g], r.F[g], W, search.lam, r.laws[g]
        )
        if definite:
            break
        _raise(search)
        if search.lam > p.options.regularisation_max:
            _end(search, NOT_POSITIVE_DEFINITE)


@compiled
def _copy(r: Array, g: int, moves: bool, K: Array) -> None:
    """Copy a candidate's feedback to ``K [T, m, n]`` and, if it moves, its best trial."""
    for t in range(r.W.shape[1] if moves else 0):
        for i in range(r.W.shape[2]):
            r.W[g, t, i] = r.better[g, t, i]
    for t in range(K.shape[0]):
        for j in range(K.shape[1]):
            for i in range(K.shape[2]):
                K[t, j, i] = r.laws[g, t, j, 1 + i]


@compiled
def _take(r: Array, p: Array, g: int, plans: Array) -> None:
    """Move a candidate to its best trial, and decide whether it has ended."""
    search, o = r.search[g], p.options
    if search.best == 0 and not math.isfinite(search.cost_before):
        _end(search, NOT_FINITE)
        if search.begun:
            return
    known, improved = math.isfinite(search.cost), search.best > 0
    may_end = known or o.real_time
    search.cost = search.lowest if improved else search.cost_before
    _copy(r, g, improved or not known, plans[2][search.index])
    if search.begun:
        small = is_small(p, search, search.cost_before - search.cost)
        converged = stationary(p, search) or (improved and small)
        search.moved, search.stuck = improved and not converged, not improved and not converged
        search.status = CONVERGED if converged else ITERATION_LIMIT if improved else NO_IMPROVEMENT
        search.ended = converged and may_end
    search.begun = True
    search.ended |= search.iterations >= o.max_iterations
