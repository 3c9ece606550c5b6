"""The quadratic cost of being away from a goal.

Source: Watter et al. 2015 (Embed to Control), section 2.1, whose convention is kept: there is **no
factor 1/2**, so gradients are ``2 Q (x - g)`` and Hessians ``2 Q``.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from planners.base import Cost, QuadraticCost


class GoalCost:
    """``sum_t (x_t-g)ᵀ Q (x_t-g) + (u_t-r)ᵀ R (u_t-r)``, and ``(x_T-g)ᵀ Qf (x_T-g)`` at the end.

    Args:
        goal: ``g [n]`` or, one for each problem, ``[B, n]``; it also sets dtype and device.
        Q: Weight of the running state error: ``[n]``, a diagonal, or ``[n, n]``, symmetric.
        R: Weight of the control: ``[m]`` or ``[m, m]``, symmetric.
        Qf: Weight of the terminal state error, as ``Q``; left out, it is ``Q``.
        reference: ``r [m]`` or ``[B, m]``: the control that costs nothing; left out, it is zero.
            Best is the control that holds the goal, if it is known.

    Raises:
        ValueError: when an argument is no tensor, or has another shape.
    """

    def __init__(
        self,
        goal: Tensor,
        Q: Tensor,
        R: Tensor,
        Qf: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> None:
        _check_tensors(goal=goal, Q=Q, R=R)
        _check_tensors(**{k: v for k, v in (("Qf", Qf), ("reference", reference)) if v is not None})
        n, m = goal.shape[-1] if goal.dim() else 0, len(R) if R.dim() else 0
        _check("goal", goal, ("[n]", (n,)), ("[B, n]", (*goal.shape[:1], n)))
        for name, weight, size in (("Q", Q, n), ("Qf", Qf, n), ("R", R, m)):
            _check(name, weight, (f"[{size}]", (size,)), (f"[{size}, {size}]", (size, size)))
        if reference is not None:
            rows = reference.shape[:1]
            _check("reference", reference, (f"[{m}]", (m,)), (f"[B, {m}]", (*rows, m)))
        self.goal = goal
        self.Q = _matrix(Q, goal)
        self.R = _matrix(R, goal)
        self.Qf = self.Q if Qf is None else _matrix(Qf, goal)
        self.reference = goal.new_zeros(m) if reference is None else reference.to(goal)

    def check(self, x0: Tensor, m: int) -> None:
        """Raise a ValueError unless it is a cost of ``m`` controls and of states ``x0 [B, n]``."""
        (B, n), targets = x0.shape, (self.goal, self.reference)
        if self.goal.shape[-1] != n or len(self.R) != m:
            raise ValueError(
                f"The cost is of {self.goal.shape[-1]} states and {len(self.R)} controls; the "
                f"system has {n} and {m}."
            )
        if any(target.dim() == 2 and len(target) not in (1, B) for target in targets):
            raise ValueError(
                f"The cost has goals {list(self.goal.shape)} and references "
                f"{list(self.reference.shape)} for {B} problems; give one for all, or one for each."
            )
        if self.goal.dtype != x0.dtype:
            raise ValueError(
                f"The cost's goal is {self.goal.dtype}, and the states are {x0.dtype}; make both "
                "alike."
            )

    def total(self, X: Tensor, U: Tensor) -> Tensor:
        """Return the cost ``[B, ...]`` of ``X [B, ..., T+1, n]`` under ``U [B, ..., T, m]``."""
        dx, du = self._errors(X, U)
        running = ((dx[..., :-1, :] @ self.Q) * dx[..., :-1, :]).sum((-2, -1))
        terminal = ((dx[..., -1, :] @ self.Qf) * dx[..., -1, :]).sum(-1)
        return running + terminal + ((du @ self.R) * du).sum((-2, -1))

    def quadratize(self, X: Tensor, U: Tensor) -> QuadraticCost:
        """Return the exact derivatives at ``X [B, ..., T+1, n]``, ``U [B, ..., T, m]``."""
        dx, du = self._errors(X, U)
        T, m = U.shape[-2:]
        cxx = 2 * torch.cat((self.Q.expand(T, *self.Q.shape), self.Qf[None]))
        return QuadraticCost(
            cx=(cxx @ dx[..., None])[..., 0],
            cu=2 * du @ self.R,
            cxx=cxx.expand(*X.shape, X.shape[-1]),
            cuu=(2 * self.R).expand(*U.shape, m),
            cux=X.new_zeros(()).expand(*U.shape, X.shape[-1]),
        )

    def targets(self, B: int) -> tuple[Tensor, Tensor]:
        """Return the goal ``[B, n]`` and the reference ``[B, m]`` of each of ``B`` problems."""
        goal, reference = self.goal, self.reference
        return goal.expand(B, goal.shape[-1]), reference.expand(B, reference.shape[-1])

    def distances(self, X: Tensor) -> Tensor:
        """Return ``(x-g)ᵀ Q (x-g)`` of ``X [B, ..., T+1, n]``: ``[B, ..., T+1]``."""
        dx = X - _along(self.goal, X)
        return ((dx @ self.Q) * dx).sum(-1)

    def select(self, rows: Tensor) -> GoalCost:
        """Return the cost of the problems ``rows [R] int64`` alone."""
        goal, reference = (
            target if target.dim() == 1 or len(target) == 1 else target[rows]
            for target in (self.goal, self.reference)
        )
        return GoalCost(goal, self.Q, self.R, self.Qf, reference)

    def _errors(self, X: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``x - g`` and ``u - r``."""
        return X - _along(self.goal, X), U - _along(self.reference, U)


def has_numbers(cost: Cost, x: Tensor) -> TypeGuard[GoalCost]:
    """Tell whether compiled code can compute a cost of states like ``x``."""
    return type(cost) is GoalCost and cost.goal.dtype == x.dtype


def _check_tensors(**given: object) -> None:
    """Raise a ValueError unless all arguments are tensors."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is a tensor; got type {type(value).__name__}.")


def _check(name: str, given: Tensor | None, *allowed: tuple[str, tuple[int, ...]]) -> None:
    """Raise a ValueError unless a tensor has one of the shapes that are allowed."""
    if given is not None and tuple(given.shape) not in [shape for _, shape in allowed]:
        told = " or ".join(words for words, _ in allowed)
        raise ValueError(f"{name} is of shape {told}; got {list(given.shape)}.")


def _matrix(weight: Tensor, like: Tensor) -> Tensor:
    """Return a weight, diagonal ``[n]`` or full ``[n, n]``, as a matrix ``[n, n]``."""
    return torch.diag(weight).to(like) if weight.dim() == 1 else weight.to(like)


def _along(target: Tensor, trajectory: Tensor) -> Tensor:
    """Give a target ``[n]`` or ``[B, n]`` the dimensions of ``[B, ..., T, n]``."""
    if target.dim() == 1:
        return target
    return target.reshape(len(target), *(1,) * (trajectory.dim() - 2), target.shape[-1])
