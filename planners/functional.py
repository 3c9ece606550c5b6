"""Dynamics from a function alone: derivatives by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from planners import checks


class FunctionDynamics:
    """A `planners.base.Dynamics` whose Jacobians are derived from its function.

    >>> def car(x, u):  # position in m, velocity in m/s; 0.1 s
    ...     position, velocity = x.unbind(-1)
    ...     return torch.stack((position + 0.1 * velocity, velocity + 0.1 * u[..., 0]), -1)
    >>> dynamics = FunctionDynamics(car, state_dim=2, control_dim=1)
    >>> dynamics.linearize(torch.zeros(5, 2), torch.zeros(5, 1))[0].shape
    torch.Size([5, 2, 2])

    Args:
        f: the next state ``[..., n]`` of ``x [..., n]`` under ``u [..., m]``, in differentiable
            torch operations, for any leading dimensions and for none. Neither values nor shapes
            may decide which operations are done.
        state_dim: ``n``.
        control_dim: ``m``.

    Raises:
        ValueError: when ``f`` is no function, or a dimension is not a whole number of at least 1.
    """

    def __init__(
        self, f: Callable[[Tensor, Tensor], Tensor], state_dim: int, control_dim: int
    ) -> None:
        if not callable(f):
            raise ValueError(f"f is a function of x and u; got type {type(f).__name__}.")
        self.f, self.state_dim, self.control_dim = f, state_dim, control_dim
        checks.whole(self, "state_dim", "control_dim")

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next state ``[..., n]`` from ``x [..., n]`` and ``u [..., m]``.

        Raises:
            ValueError: when the function returns another shape.
        """
        y = self.f(x, u)
        if y.shape != x.shape:
            raise ValueError(
                f"The function of FunctionDynamics must return states of shape {list(x.shape)}, "
                f"as it was given; got {list(y.shape)}. Use the last dimension alone: x[..., 0], "
                f"torch.stack(parts, -1)."
            )
        return y

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobians ``fx [..., n, n]`` and ``fu [..., n, m]`` of `step`."""
        # In inference mode, older versions of torch return zeros and report no error; hence clones.
        with torch.inference_mode(False), torch.no_grad():
            xs, us = x.reshape(-1, self.state_dim).clone(), u.reshape(-1, self.control_dim).clone()
            fx, fu = vmap(jacrev(self.step, argnums=(0, 1)))(xs, us)
        return fx.reshape(*x.shape, self.state_dim), fu.reshape(*x.shape, self.control_dim)
