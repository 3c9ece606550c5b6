"""Quadratic programmes with box limits, many at once: projected Newton.

Source: Tassa, Mansard & Todorov 2014, "Control-limited differential dynamic programming",
section III.B; Bertsekas 1982, "Projected Newton methods".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planners.base import Status, choose

_STEPS = tuple(0.5**i for i in range(8))
"""Fractions of the Newton step that are tried in parallel; the best one is taken."""
_MOST_STEPS = 20
"""Most Newton steps. Each finds one active set, so a handful is enough for a few controls."""


class BoxQPSolution(NamedTuple):
    """The minimisers of a batch of box-limited quadratic programmes."""

    u: Tensor
    """``[..., m]``: the minimiser, within the limits."""
    free: Tensor
    """``[..., m] bool``: False where a limit is active, that is, holds the minimiser back."""
    status: Tensor
    """``[...] int64``: CONVERGED, ITERATION_LIMIT or NOT_POSITIVE_DEFINITE."""


def box_qp(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> BoxQPSolution:
    """Minimise ``1/2 uᵀ H u + gᵀ u`` subject to ``low <= u <= high``.

    The search starts at the unlimited minimiser, clamped.

    Args:
        H: ``[..., m, m]``, symmetric and positive definite; where it is not, the status says so
            and the result is meaningless.
        g: ``[..., m]``.
        low: ``[..., m]``, may be minus infinity.
        high: ``[..., m]``, may be infinity.
    """
    u = newton_solve(H, -g[..., None])[..., 0].clamp(low, high)
    free, solved = _active_set(H, g, u, low, high)
    definite = positive_definite(H)
    for _ in range(_MOST_STEPS):
        done = solved | ~definite
        if bool(done.all()):
            break
        u = choose(done, u, _newton_step(H, g, u, free, low, high))
        free, solved = _active_set(H, g, u, low, high)
    return BoxQPSolution(u, free, _status(definite, solved))


def limited_law(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a box QP and differentiate it: the control law of one step of dynamic programming.

    Args:
        H: ``[N, m, m]``, positive definite.
        g: ``[N, m, 1+n]``: ``[g, dg/dx]``, a gradient that is affine in a parameter ``x``.
        low: ``[N, m, 1]``.
        high: ``[N, m, 1]``.

    Returns:
        ``[k K] [N, m, 1+n]``: the minimiser at ``x = 0`` and its Jacobian by ``x``, whose rows are
        zero where a limit is active; and ``[N] bool``, whether the QP was solved.
    """
    if H.shape[-1] == 1:
        return _scalar_law(H, g, low, high), H[:, 0, 0] > 0
    qp = box_qp(H, g[:, :, 0], low[:, :, 0], high[:, :, 0])
    law = torch.cat((qp.u[:, :, None], -newton_solve(H, g[:, :, 1:], qp.free)), 2)
    return law, qp.status == int(Status.CONVERGED)


def _scalar_law(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the law of `limited_law` for one control: clamping is exact, and ten times as fast."""
    best, K = (g / -H).split_with_sizes((1, g.shape[-1] - 1), 2)
    k = torch.clamp(best, low, high)
    return torch.cat((k, K * (k == best)), 2)


def newton_solve(H: Tensor, rhs: Tensor, free: Tensor | None = None) -> Tensor:
    """Solve ``H y = rhs [..., m, p]`` in the free subspace; rows of clamped controls are zero.

    Never raises: where ``H`` is not positive definite the result is meaningless.
    """
    if free is not None:
        both = free[..., :, None] & free[..., None, :]
        identity = torch.eye(H.shape[-1], dtype=H.dtype, device=H.device)
        H, rhs = torch.where(both, H, identity), rhs * free[..., None]
    return torch.cholesky_solve(rhs, torch.linalg.cholesky_ex(H).L)


def positive_definite(H: Tensor) -> Tensor:
    """Tell which of ``H [..., m, m]`` are positive definite (and finite): ``[...] bool``."""
    return (torch.linalg.cholesky_ex(H).info == 0) & H.isfinite().all(-1).all(-1)


def _active_set(
    H: Tensor, g: Tensor, u: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return which controls are free ``[..., m]`` and which problems are solved ``[...]``."""
    slope = (H @ u[..., None])[..., 0] + g
    free = ~(((u <= low) & (slope > 0)) | ((u >= high) & (slope < 0)))
    noise = 32 * torch.finfo(u.dtype).eps * ((H.abs() @ u.abs()[..., None])[..., 0] + g.abs())
    return free, ((slope.abs() <= noise) | ~free).all(-1)


def _newton_step(
    H: Tensor, g: Tensor, u: Tensor, free: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Step to the best of several projected fractions of the Newton step in the free subspace."""
    slope = H @ u[..., None] + g[..., None]
    direction = -newton_solve(H, slope, free)[..., 0]
    steps = torch.tensor(_STEPS, dtype=u.dtype, device=u.device)[:, None]
    trials = (u[..., None, :] + steps * direction[..., None, :]).clamp(
        low[..., None, :], high[..., None, :]
    )
    change = trials - u[..., None, :]
    values = (change * (0.5 * change @ H + slope.mT)).sum(-1)
    best = values.nan_to_num(nan=torch.inf).argmin(-1, keepdim=True)[..., None]
    return trials.take_along_dim(best, -2)[..., 0, :]


def _status(definite: Tensor, solved: Tensor) -> Tensor:
    """Name how each problem ended."""
    codes = torch.where(solved, int(Status.CONVERGED), int(Status.ITERATION_LIMIT))
    return torch.where(definite, codes, int(Status.NOT_POSITIVE_DEFINITE))
