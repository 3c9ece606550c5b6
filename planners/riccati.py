"""The backward pass of iLQG: pure functions from a local model to a control law.

Deviations are written in homogeneous coordinates, so that one matrix holds the affine terms too:
with ``y = [1; x]`` (dimension ``n+1``) and ``w = [1; x; u]`` (dimension ``n+1+m``)

* dynamics are ``y' = F w``, costs are ``1/2 wᵀ C w``, values are ``1/2 yᵀ V y``;
* one step back is ``Q = C + Fᵀ V F``, ``G = [I; k K]`` from ``Q``, and ``V = Gᵀ Q G``.

``k`` and ``K`` come from ``Quu + lambda I``, the value from the unregularised ``Q`` (Tassa, Erez &
Todorov 2012, eq. 11). Limits enter as a box QP; clamped controls get no feedback (Tassa, Mansard &
Todorov 2014). With ``lambda = 0`` and no limits this is the finite-horizon LQR.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planners.base import QuadraticCost
from planners.boxqp import limited_law, positive_definite


class LocalModel(NamedTuple):
    """Affine dynamics and quadratic cost around a trajectory, in homogeneous coordinates."""

    F: Tensor
    """``[..., T, n+1, n+1+m]``: dynamics."""
    C: Tensor
    """``[..., T, n+1+m, n+1+m]``: stage costs, symmetric."""
    V: Tensor
    """``[..., n+1, n+1]``: terminal cost, symmetric."""

    def is_finite(self) -> Tensor:
        """Tell ``[...] bool`` which models have neither NaN nor infinity in them."""
        stages = self.F.sum((-3, -2, -1)) + self.C.sum((-3, -2, -1))
        return (stages + self.V.sum((-2, -1))).isfinite()


class ControlLaw(NamedTuple):
    """The minimiser of a local model: ``u = U + alpha k + K (x - X)``."""

    k: Tensor
    """``[..., T, m]``: feed-forward."""
    K: Tensor
    """``[..., T, m, n]``: feedback; rows of clamped controls are zero."""
    slope: Tensor
    """``[...]``: the cost is expected to change by ``alpha slope + alpha² curvature``."""
    curvature: Tensor
    """``[...]``: see ``slope``."""
    usable: Tensor
    """``[...] bool``: False where some ``Quu + lambda I`` is not positive definite or its box QP
    was not solved; the law is then meaningless."""


def local_model(fx: Tensor, fu: Tensor, cost: QuadraticCost) -> LocalModel:
    """Assemble Jacobians ``fx [..., T, n, n]``, ``fu [..., T, n, m]`` and cost derivatives."""
    n, m = fu.shape[-2:]
    F = cost.cx.new_zeros(*fx.shape[:-2], n + 1, n + 1 + m)
    F[..., 0, 0] = 1
    F[..., 1:, 1 : n + 1] = fx
    F[..., 1:, n + 1 :] = fu
    C = cost.cx.new_zeros(*fx.shape[:-2], n + 1 + m, n + 1 + m)
    C[..., : n + 1, : n + 1] = _affine(cost.cx[..., :-1, :], cost.cxx[..., :-1, :, :])
    C[..., n + 1 :, 0] = C[..., 0, n + 1 :] = cost.cu
    C[..., n + 1 :, 1 : n + 1] = cost.cux
    C[..., 1 : n + 1, n + 1 :] = cost.cux.mT
    C[..., n + 1 :, n + 1 :] = cost.cuu
    return LocalModel(F, C, _affine(cost.cx[..., -1, :], cost.cxx[..., -1, :, :]))


def backward_pass(model: LocalModel, lam: Tensor, low: Tensor, high: Tensor) -> ControlLaw:
    """Minimise a local model by dynamic programming, from the last control to the first.

    Args:
        model: Local model with leading dimensions ``[*L]``.
        lam: ``[*L]``: regularisation added to the diagonal of ``Quu``.
        low: ``[*L, T, m]``: smallest admissible change of each control, ``<= 0``.
        high: ``[*L, T, m]``: largest admissible change of each control, ``>= 0``.
    """
    lead, (T, n1, nm) = lam.shape, model.F.shape[-3:]
    m = nm - n1
    F, C = model.F.reshape(-1, T, n1, nm), model.C.reshape(-1, T, nm, nm)
    ridge = lam.reshape(-1, 1, 1) * torch.eye(m, dtype=lam.dtype, device=lam.device)
    times = zip(
        F.unbind(1),
        F.mT.unbind(1),
        C.unbind(1),
        low.reshape(-1, T, m, 1).unbind(1),
        high.reshape(-1, T, m, 1).unbind(1),
        strict=True,
    )
    V = model.V.reshape(-1, n1, n1)
    identity = torch.eye(n1, dtype=V.dtype, device=V.device).expand_as(V)
    laws, Qs, solved = [], [], torch.ones_like(V[:, 0, 0], dtype=torch.bool)
    for F_t, Ft_t, C_t, low_t, high_t in reversed(list(times)):
        Q = torch.baddbmm(C_t, Ft_t, torch.bmm(V, F_t))
        _, Qu = Q.split_with_sizes((n1, m), 1)
        Quy, Quu = Qu.split_with_sizes((n1, m), 2)
        law, is_solved = limited_law(Quu + ridge, Quy, low_t, high_t)
        G = torch.cat((identity, law), 1)
        V = torch.bmm(G.mT, torch.bmm(Q, G))
        solved = solved & is_solved
        laws.append(law)
        Qs.append(Qu)
    return _control_law(torch.stack(laws[::-1], 1), torch.stack(Qs[::-1], 1), ridge, solved, lead)


def _control_law(
    laws: Tensor, Qu: Tensor, ridge: Tensor, solved: Tensor, lead: torch.Size
) -> ControlLaw:
    """Name the parts of ``laws [N, T, m, n+1]``, given the rows ``Qu [N, T, m, n+1+m]``."""
    n1 = laws.shape[-1]
    k, Quu = laws[..., :1], Qu[..., n1:]
    slope = (k * Qu[..., :1]).sum((1, 2, 3))
    curvature = 0.5 * (k * (Quu @ k)).sum((1, 2, 3))
    definite = positive_definite(Quu + ridge[:, None]).all(-1)
    return ControlLaw(
        k[..., 0].reshape(*lead, *k.shape[1:3]),
        laws[..., 1:].reshape(*lead, *laws.shape[1:3], n1 - 1),
        slope.reshape(lead),
        curvature.reshape(lead),
        (definite & solved).reshape(lead),
    )


def _affine(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Return ``[[0, gᵀ], [g, H]]``, ``[..., n+1, n+1]``."""
    column = gradient[..., None]
    top = torch.cat((column.new_zeros(*column.shape[:-2], 1, 1), column.mT), -1)
    return torch.cat((top, torch.cat((column, hessian), -1)), -2)
