"""The planner's vocabulary: notation, the two protocols it needs, its plan and its verdicts.

Notation, stated once and used in every module of this package:

========  =========================================================================
``B``     problems solved side by side (always the first dimension)
``K``     candidates per problem: starting points of which the best is returned
``S``     step sizes tried in parallel by a line search
``T``     horizon: number of controls; a trajectory has ``T + 1`` states
``n, m``  dimensions of the state and of the control
``X, U``  trajectories: states ``[..., T+1, n]`` and controls ``[..., T, m]``
``k, K``  control law ``u = U + alpha k + K (x - X)``: ``[..., T, m]``, ``[..., T, m, n]``
========  =========================================================================

``K`` counts candidates only inside shapes; as a variable it is always the feedback gain. Subscripts
are derivatives: ``fx`` is df/dx, ``cux`` is d²c/du dx. Units are those of the dynamics and the
cost: the planner adds none. All tensors follow the dtype and the device of the initial state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Dynamics(Protocol):
    """A discrete-time deterministic system ``x' = f(x, u)`` with its derivatives.

    Leading dimensions are arbitrary, and all problems share one system: what differs between them
    belongs to the state or to the cost. A non-finite result is allowed; it never wins.
    """

    @property
    def state_dim(self) -> int:
        """The dimension ``n`` of the state."""

    @property
    def control_dim(self) -> int:
        """The dimension ``m`` of the control."""

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next state ``[..., n]`` from ``x [..., n]`` and ``u [..., m]``."""

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobians ``fx [..., n, n]`` and ``fu [..., n, m]`` of :meth:`step`."""


class QuadraticCost(NamedTuple):
    """Gradients and Hessians of a total cost along a trajectory; the last ``x`` is terminal."""

    cx: Tensor
    """``[..., T+1, n]``: gradient by each state."""
    cu: Tensor
    """``[..., T, m]``: gradient by each control."""
    cxx: Tensor
    """``[..., T+1, n, n]``: Hessian by each state."""
    cuu: Tensor
    """``[..., T, m, m]``: Hessian by each control."""
    cux: Tensor
    """``[..., T, m, n]``: mixed second derivative by control (row) and state (column)."""


class Cost(Protocol):
    """A sum over time of stage costs and of a terminal cost."""

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        """Return the cost ``[B, ...]`` of ``X [B, ..., T+1, n]`` under ``U [B, ..., T, m]``."""

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        """Return the derivatives of :meth:`total` at ``X [B, ..., T+1, n]``, ``U [B, ..., T, m]``.

        Results may be views expanded over leading dimensions; the planner only reads them.
        """

    def select(self, rows: Tensor) -> Cost:
        """Return the cost of the problems ``rows [R] int64`` alone."""


class Status(IntEnum):
    """How an optimisation ended; ``.sentence`` says what happened and what to do about it."""

    CONVERGED = 0
    ITERATION_LIMIT = 1
    NO_IMPROVEMENT = 2
    NOT_FINITE = 3
    NOT_POSITIVE_DEFINITE = 4

    @property
    def sentence(self) -> str:
        """What happened, and the remedy."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: (
        "Converged: no step is expected to lower the cost by more than the tolerance; "
        "nothing needs to be done."
    ),
    Status.ITERATION_LIMIT: (
        "Stopped at the iteration limit while the cost was still falling: normal in a receding "
        "horizon; elsewhere raise max_iterations."
    ),
    Status.NO_IMPROVEMENT: (
        "No step size lowered the cost and the plan is the best one known: allow more iterations "
        "so that the regularisation can grow, or check that linearize agrees with step."
    ),
    Status.NOT_FINITE: (
        "A roll-out from the starting controls, or a derivative along it, is not finite: start "
        "from smaller or more varied controls, or bound the dynamics."
    ),
    Status.NOT_POSITIVE_DEFINITE: (
        "The control Hessian is not positive definite even at the largest regularisation: give "
        "every control a positive cost, or raise regularisation_max."
    ),
}


@dataclass(frozen=True)
class Plan:
    """The best trajectory found for each problem, with the feedback law around it."""

    states: Tensor
    """``X [B, T+1, n]``: predicted states; ``X[:, 0]`` is the initial state."""
    controls: Tensor
    """``U [B, T, m]``: always finite and within the limits."""
    gains: Tensor
    """``K [B, T, m, n]``: feedback ``u = U + K (x - X)``; rows of clamped controls are zero."""
    cost: Tensor
    """``[B]``: total cost of the trajectory; infinite where none was finite."""
    status: Tensor
    """``[B] int64``: how each optimisation ended, a :class:`Status`."""
    iterations: Tensor
    """``[B] int64``: iterations spent on the returned candidate."""

    def sentences(self) -> list[str]:
        """Say of every problem how its optimisation ended, and the remedy."""
        return [Status(code).sentence for code in self.status.tolist()]

    def with_found(self, rows: Tensor, other: Plan) -> Plan:
        """Take from ``other``, the plan of ``rows [R] int64``, whatever has a finite cost."""
        found = other.cost.isfinite()
        return Plan(
            **{
                name: mine.index_copy(0, rows[found], getattr(other, name)[found])
                for name, mine in vars(self).items()
            }
        )


def choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.where`` with ``mask [*L]`` over ``a, b [*L, ...]``: whole items are taken."""
    return torch.where(mask.reshape(mask.shape + (1,) * (a.dim() - mask.dim())), a, b)
