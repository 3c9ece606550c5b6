"""``z' = f(z, u)``: the locally linear transition of Embed to Control, and simpler ones.

An own transition is a subclass of `Transition`; a method says which it takes (``dynamics``).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, silu

from e2c.models.layers import mlp, value_and_jacobian
from e2c.models.options import ModelConfig


@dataclass(frozen=True)
class LocalLinearisation:
    """``z' = A z + B u + o`` around the state at which it was asked for.

    Attributes:
        A: ``[..., n, n]``.
        B: ``[..., n, m]``, latent units per unit of control.
        o: ``[..., n]``.
        log_det_A: ``log |det A|``, ``[...]``.
    """

    A: Tensor
    B: Tensor
    o: Tensor
    log_det_A: Tensor

    def offset(self, u: Tensor) -> Tensor:
        """``B u + o`` for controls ``u [..., m]``, shape ``[..., n]``."""
        return (self.B @ u.unsqueeze(-1)).squeeze(-1) + self.o

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``A z + B u + o`` for ``z [..., n]`` and ``u [..., m]``, shape ``[..., n]``."""
        return (self.A @ z.unsqueeze(-1)).squeeze(-1) + self.offset(u)


class Transition(nn.Module, ABC):
    """``z' = f(z, u)``, and what the objectives and the planner ask of it.

    Attributes:
        n: latent dimension.
        m: control dimension.

    Args:
        config: the networks' options.
        control_scale: ``[m]``, the unit in which networks see controls (their limits).
    """

    control_scale: Tensor

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__()
        self.n, self.m = config.latent_dim, len(control_scale)
        self.register_buffer("control_scale", control_scale)

    @abstractmethod
    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the model's linearisation for ``z [..., n]``, ``u [..., m]``; exact there."""

    @abstractmethod
    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``f(z, u)``, shape ``[..., n]``, for ``z [..., n]`` and ``u [..., m]``."""

    @abstractmethod
    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``df/dz [..., n, n]`` and ``df/du [..., n, m]``."""

    @abstractmethod
    def constant(self) -> Tensor:
        """Return the parameters ``[n]`` that are added to every next state, as a view."""

    @torch.no_grad()
    def shifted(self, drift: Tensor) -> Self:
        """Return a copy in which every step leads ``drift [n]`` further: ``f(z, u) + drift``."""
        moved = copy.deepcopy(self)
        moved.constant().add_(drift)
        return moved

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return `step` for the many calls of a plan; it may work on a copy of the weights."""
        return self.step


class LocallyLinear(Transition):
    """``A(z) = I + v(z) r(z)^T``, ``B(z)``, ``o(z)`` from one network (Watter et al. 2015, 2.3).

    ``|v^T r|`` stays below ``transition_bound``. With a bound below 1, A stays invertible and
    roll-outs finite; 0 leaves v and r free, as published.
    """

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        n, m = self.n, self.m
        self.scale = (config.transition_bound / n) ** 0.5
        self.net = mlp([n, *config.transition_hidden, 3 * n + n * m], config.activation)

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the A(z), B(z) and o(z) of the paper for ``z [..., n]``, whatever ``u`` is."""
        v, r, o, B = self._parts(self.net(z))
        A = torch.eye(self.n, device=z.device, dtype=z.dtype) + v.unsqueeze(-1) * r.unsqueeze(-2)
        return LocalLinearisation(A, B, o, (1.0 + (v * r).sum(-1)).abs().log())

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``f(z, u) = A(z) z + B(z) u + o(z)``, shape ``[..., n]``."""
        v, r, o, B = self._parts(self.net(z))
        return z + v * (r * z).sum(-1, keepdim=True) + (B @ u.unsqueeze(-1)).squeeze(-1) + o

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate `step`: not A(z), but all of ``d f / d z``.

        With primes for derivatives, ``I + v r^T + v' (r^T z) + v (z^T r') + B' u + o'``.

        Args:
            z: ``[..., n]``.
            u: ``[..., m]``.

        Returns:
            ``df/dz [..., n, n]`` and ``df/du = B(z) [..., n, m]``.
        """
        y, dy = value_and_jacobian(self.net, z)
        v, r, _, B = self._parts(y)
        dv, dr, do, dB = dy.split([self.n, self.n, self.n, self.n * self.m], dim=-1)
        if self.scale:
            dv = dv * (self.scale - v.square() / self.scale).unsqueeze(-2)
            dr = dr * (self.scale - r.square() / self.scale).unsqueeze(-2)
        dB = dB.unflatten(-1, (self.n, self.m)) / self.control_scale
        rz = (r * z).sum(-1)[..., None, None]
        d_rz = r + (dr @ z.unsqueeze(-1)).squeeze(-1)
        by_z = dv * rz + d_rz.unsqueeze(-1) * v.unsqueeze(-2) + do
        by_z = by_z + (dB @ u[..., None, :, None]).squeeze(-1)
        return torch.eye(self.n, device=z.device, dtype=z.dtype) + by_z.mT, B

    def constant(self) -> Tensor:
        """Return the part ``[n]`` of the last bias that is o(z)'s."""
        return _last_bias(self.net)[2 * self.n : 3 * self.n]

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a `Stepper`."""
        return Stepper(self)

    def _parts(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut the network's output into ``v, r, o [..., n]`` and ``B [..., n, m]``."""
        v, r, o, B = y.split_with_sizes([self.n, self.n, self.n, self.n * self.m], -1)
        if self.scale:
            v, r = self.scale * v.tanh(), self.scale * r.tanh()
        return v, r, o, B.unflatten(-1, (self.n, self.m)) / self.control_scale


class Stepper:
    """`LocallyLinear.step` in as few operations as possible: a plan takes thousands of steps.

    It works on a transposed copy of the weights, made when it is built, with B(z) in the unit of
    the controls and laid out column by column.
    """

    @torch.no_grad()
    def __init__(self, transition: LocallyLinear) -> None:
        n, m, net = transition.n, transition.m, transition.net
        self.n, self.m, self.gain = n, m, transition.scale**2
        self.parts = [n] * (3 + m)
        linears = [layer for layer in net if isinstance(layer, nn.Linear)]
        affine = [torch.cat((layer.weight, layer.bias.unsqueeze(-1)), -1) for layer in linears]
        B = affine[-1][3 * n :].unflatten(0, (n, m)) / transition.control_scale.unsqueeze(-1)
        affine[-1] = torch.cat((affine[-1][: 3 * n], B.transpose(0, 1).flatten(0, 1)))
        *self.hidden, self.last = [
            (weight.mT[:-1].contiguous(), weight.mT[-1].contiguous()) for weight in affine
        ]
        self.activate = relu if any(isinstance(layer, nn.ReLU) for layer in net) else silu

    def __call__(self, z: Tensor, u: Tensor) -> Tensor:
        """Return ``f(z, u) [..., n]`` for ``z [..., n]`` and ``u [..., m]``."""
        x = y = z.reshape(-1, self.n)
        for weight, bias in self.hidden:
            y = self.activate(torch.addmm(bias, y, weight), inplace=True)
        weight, bias = self.last
        y = torch.addmm(bias, y, weight)
        v, r, o, *columns = y.split_with_sizes(self.parts, 1)
        if self.gain:
            v, r = v.tanh(), r.tanh()
        x = torch.addcmul(x + o, v, (r * x).sum(1, True), value=self.gain or 1.0)
        u = u.reshape(-1, self.m)
        controls = (u,) if self.m == 1 else u.split_with_sizes([1] * self.m, 1)
        for column, control in zip(columns, controls, strict=True):
            x = torch.addcmul(x, column, control)
        return x.view(z.shape)


class NonLinear(Transition):
    """``f(z, u) = z + g(z, u)`` with one network g, linearised by its exact Jacobian."""

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        sizes = [self.n + self.m, *config.transition_hidden, self.n]
        self.net = mlp(sizes, config.activation)

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the first-order Taylor expansion at ``z [..., n]``, ``u [..., m]``."""
        g, A, B = self._expand(z, u)
        Az, Bu = (A @ z.unsqueeze(-1)).squeeze(-1), (B @ u.unsqueeze(-1)).squeeze(-1)
        return LocalLinearisation(A, B, z + g - Az - Bu, torch.linalg.slogdet(A).logabsdet)

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``f(z, u)``, shape ``[..., n]``."""
        g: Tensor = self.net(self._inputs(z, u))
        return z + g

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``df/dz [..., n, n]`` and ``df/du [..., n, m]``."""
        return self._expand(z, u)[1:]

    def constant(self) -> Tensor:
        """Return the last bias ``[n]``."""
        return _last_bias(self.net)

    def _expand(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``g [..., n]``, ``df/dz`` and ``df/du``."""
        g, transposed = value_and_jacobian(self.net, self._inputs(z, u))
        by_z, by_u = transposed.mT.split_with_sizes([self.n, self.m], -1)
        identity = torch.eye(self.n, device=z.device, dtype=z.dtype)
        return g, identity + by_z, by_u / self.control_scale

    def _inputs(self, z: Tensor, u: Tensor) -> Tensor:
        return torch.cat((z, u / self.control_scale), -1)


class GlobalLinear(Transition):
    """``f(z, u) = A z + B u + o`` with the same A, B and o everywhere."""

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        self.A = nn.Parameter(torch.eye(self.n))
        self.B = nn.Parameter(torch.zeros(self.n, self.m))
        self.o = nn.Parameter(torch.zeros(self.n))

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return A, B and o, for each of ``z [..., n]``."""
        shape = z.shape[:-1]
        A, B = self.jacobian(z, u)
        log_det = torch.linalg.slogdet(self.A).logabsdet.expand(shape)
        return LocalLinearisation(A, B, self.o.expand(*shape, -1), log_det)

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``A z + B u + o``, shape ``[..., n]``."""
        return z @ self.A.mT + u @ (self.B / self.control_scale).mT + self.o

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``A [..., n, n]`` and ``B [..., n, m]``."""
        shape, B = z.shape[:-1], self.B / self.control_scale
        return self.A.expand(*shape, -1, -1), B.expand(*shape, -1, -1)

    def constant(self) -> Tensor:
        """Return o ``[n]``."""
        return self.o


def _last_bias(net: nn.Sequential) -> Tensor:
    """Return the bias of the last layer of an `mlp`."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    return last.bias
