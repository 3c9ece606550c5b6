"""The words of this package: notation, protocols, plans, and how planning can end.

A `Planner` gets `Dynamics` and a `Cost`, and returns a `Plan`.

Notation, stated once and used in every module of this package:

| letter | what it is |
|---|---|
| ``B`` | problems solved side by side (always the first dimension) |
| ``K`` | candidates per problem: starting points of which the best is returned |
| ``S`` | trials per candidate: step sizes of a line search, or samples |
| ``T`` | horizon: number of controls; a trajectory has ``T + 1`` states |
| ``n, m`` | dimensions of the state and of the control |
| ``X, U`` | trajectories: states ``[..., T+1, n]`` and controls ``[..., T, m]`` |
| ``k, K`` | control law ``u = U + alpha k + K (x - X)``: ``[..., T, m]``, ``[..., T, m, n]`` |

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


class System(Protocol):
    """A discrete-time deterministic system ``x' = f(x, u)``.

    Leading dimensions are arbitrary. All problems share one system: what differs between them
    belongs to the state or to the cost. A result may be non-finite; such a roll-out never wins.
    """

    @property
    def state_dim(self) -> int:
        """The dimension ``n`` of the state."""

    @property
    def control_dim(self) -> int:
        """The dimension ``m`` of the control."""

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next state ``[..., n]`` from ``x [..., n]`` and ``u [..., m]``."""


class Dynamics(System, Protocol):
    """A system with its derivatives."""

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobians ``fx [..., n, n]`` and ``fu [..., n, m]`` of `step`."""


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
        """Return the derivatives of `total` at ``X [B, ..., T+1, n]``, ``U [B, ..., T, m]``.

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
        "Stopped at the iteration limit, where the cost could still fall: normal in a receding "
        "horizon; elsewhere allow more iterations."
    ),
    Status.NO_IMPROVEMENT: (
        "No step size lowered the cost and the plan is the best one known: allow more iterations "
        "so that the regularisation can grow, or check that linearize agrees with step."
    ),
    Status.NOT_FINITE: (
        "No roll-out from the starting controls is finite, or a derivative along it is not finite: "
        "start from smaller or more varied controls, or bound the dynamics."
    ),
    Status.NOT_POSITIVE_DEFINITE: (
        "The control Hessian is not positive definite even at the largest regularisation: give "
        "every control a positive cost, or raise regularisation_max."
    ),
}


@dataclass(frozen=True, eq=False)
class Plan:
    """The best trajectory found for each problem, with the feedback law around it.

    An infinite cost means that no finite trajectory was found; `Planner.plan` says what the other
    fields then hold.
    """

    states: Tensor
    """``X [B, T+1, n]``: predicted states; ``X[:, 0]`` is the initial state."""
    controls: Tensor
    """``U [B, T, m]``: always finite and within the limits."""
    gains: Tensor
    """``K [B, T, m, n]``: feedback ``u = U + K (x - X)``.

    The rows of controls that the last backward pass clamped are zero. A planner without feedback
    returns zeros.
    """
    cost: Tensor
    """``[B]``: total cost of the trajectory; infinite where none was finite."""
    status: Tensor
    """``[B] int64``: how each optimisation ended, a `Status`."""
    iterations: Tensor
    """``[B] int64``: iterations spent on the returned candidate."""

    def sentences(self) -> list[str]:
        """Say of every problem how its optimisation ended, and the remedy."""
        return [Status(code).sentence for code in self.status.tolist()]

    def with_found(self, rows: Tensor, other: Plan) -> Plan:
        """Return this plan with ``rows [R]`` replaced by ``other`` where that is finite."""
        found = other.cost.isfinite()
        return self._with(rows[found], other, found)

    def with_cheaper(self, rows: Tensor, other: Plan) -> Plan:
        """Return this plan with ``rows [R]`` replaced by ``other`` where that is cheaper."""
        cheaper = other.cost < self.cost[rows]
        return self._with(rows[cheaper], other, cheaper)

    def _with(self, rows: Tensor, other: Plan, which: Tensor) -> Plan:
        """Return this plan with ``rows`` replaced by the plans ``which [R] bool`` of ``other``."""
        return Plan(
            **{
                name: mine.index_copy(0, rows, getattr(other, name)[which])
                for name, mine in vars(self).items()
            }
        )


class Planner(Protocol):
    """An object that plans at every step of a control loop; the action is ``plan.controls[:, 0]``.

    It may remember the last plan and start from it. A problem's plan does not depend on the
    problems solved beside it.
    """

    @property
    def lost(self) -> Tensor:
        """``[B] int64``: how often each problem's last plan led to no finite plan since the reset.

        Always zero if the planner does not start from its last plan; empty before the first call.
        """

    def plan(self, x0: Tensor, cost: Cost) -> Plan:
        """Plan from the states ``x0 [B, n]``, which set dtype and device.

        Numerical failures are not raised. Where no finite plan is found, the cost is infinite and
        the status says why. States and controls are finite all the same, and the controls are
        within the limits.
        """

    def reset(self) -> None:
        """Forget the past: the next calls return what a newly built planner would return."""


def choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.where`` with ``mask [*L]`` over ``a, b [*L, ...]``: whole items are taken."""
    return torch.where(mask.reshape(mask.shape + (1,) * (a.dim() - mask.dim())), a, b)
