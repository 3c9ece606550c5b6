"""``z' = f(z, u)``: the locally linear transition of Embed to Control, and simpler ones.

An own transition is a subclass of `Transition`; a method says which it takes (``dynamics``).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from e2c.models.carry import Carry, CompiledFollow
from e2c.models.gaussians import DiagonalGaussian, FactoredGaussian, kl_to_diagonal
from e2c.models.layers import mlp, value_and_jacobian
from e2c.models.options import ModelConfig


@dataclass(frozen=True, eq=False)
class LocalLinearisation:
    """``z' = A z + B u + o`` around a state.

    Attributes:
        A: ``[..., n, n]``.
        B: ``[..., n, m]``, latent units per unit of control.
        o: ``[..., n]``.
    """

    A: Tensor
    B: Tensor
    o: Tensor

    @classmethod
    def through(cls, value: Tensor, A: Tensor, B: Tensor, z: Tensor, u: Tensor) -> Self:
        """Return A, B and the o that gives ``value [..., n]`` at ``z [..., n]``, ``u [..., m]``."""
        Az, Bu = (A @ z.unsqueeze(-1)).squeeze(-1), (B @ u.unsqueeze(-1)).squeeze(-1)
        return cls(A, B, value - Az - Bu)

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
        exact: whether `jacobian` is the derivative of `step`; False where it is learned.

    Args:
        config: the networks' options.
        control_scale: ``[m]``, the unit in which networks see controls (their limits).
    """

    control_scale: Tensor
    identity: Tensor
    is_point: Tensor
    exact: ClassVar[bool] = True

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__()
        self.n, self.m = config.latent_dim, len(control_scale)
        self.register_buffer("control_scale", control_scale)
        # Loading a checkpoint builds the model on torch's meta device, without contents. Constants
        # are no part of a checkpoint, so they are made on the CPU.
        self.register_buffer("identity", torch.eye(self.n, device="cpu"), persistent=False)
        is_point = torch.tensor([0.0] * self.n + [1.0, 1.0], device="cpu")
        self.register_buffer("is_point", is_point, persistent=False)

    @abstractmethod
    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the linearisation at ``z [..., n]``, ``u [..., m]``; there, it equals `step`."""

    @abstractmethod
    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``f(z, u)``, shape ``[..., n]``, for ``z [..., n]`` and ``u [..., m]``."""

    @abstractmethod
    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``df/dz [..., n, n]`` and ``df/du [..., n, m]``."""

    def log_det(self, A: Tensor) -> Tensor:
        """``log |det A|``, ``[...]``, of the ``A [..., n, n]`` that `forward` returns."""
        return torch.linalg.slogdet(A).logabsdet

    def carry(
        self, z: Tensor, belief: FactoredGaussian, u: Tensor
    ) -> tuple[Tensor, FactoredGaussian]:
        """Carry a state and a belief open loop, through the linearisations along the state's path.

        Mean, state and the factor's columns all go through the same A, so they are carried as the
        columns of one matrix.

        Args:
            z: the first state, ``[..., n]``.
            belief: over ``[..., n]``.
            u: ``[..., T, m]``, the controls.

        Returns:
            The path ``[..., T + 1, n]``, and the beliefs at its T + 1 times.
        """
        columns = as_columns(z, belief)
        carried, steps = [columns], []
        for control in u.unbind(-2):
            local = self(columns[..., -1], control)
            columns = local.A @ columns + local.offset(control).unsqueeze(-1) * self.is_point
            carried.append(columns)
            steps.append(local.A)
        growth = self.log_det(torch.stack(steps, -3))
        return from_columns(torch.stack(carried, -3), belief.log_det, growth)

    def follow(
        self, q: DiagonalGaussian, eps: Tensor, u: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Roll out from a sample of the first encoding, and compare with the later encodings.

        Args:
            q: the encodings at the S ``times``, ``[B, S, n]``.
            eps: the first state is ``mu + sigma eps``, ``[B, n]``.
            u: ``[B, T, m]``, the controls.
            times: ``[S] int64``: 0 first, ascending, at most T.

        Returns:
            The path at ``times``, ``[B, S, n]``, and the latent KL at all but the first,
            ``[B, S - 1]``: the KL of the carried belief to the encoding (Watter et al. 2015,
            section 2.4).
        """
        first = q[:, 0]
        z, belief = first.mean + first.std * eps, FactoredGaussian.from_diagonal(first)
        path, beliefs = self.carry(z, belief, u)
        path, beliefs = path.index_select(1, times), beliefs.index_select(1, times[1:])
        return path, kl_to_diagonal(beliefs, q[:, 1:])

    @abstractmethod
    def features(self, z: Tensor, u: Tensor) -> Tensor:
        """Return ``phi(z, u) [..., d]``: f is linear in the `last_weights`, with this slope."""

    @abstractmethod
    def last_weights(self) -> list[Tensor]:
        """Return views of parameters, which side by side are a matrix ``W [n, d]``.

        With ``W + dW``, f becomes ``f(z, u) + dW phi(z, u)``.
        """

    @torch.no_grad()
    def moved(self, dW: Tensor) -> Self:
        """Return a copy whose `last_weights` are greater by ``dW [n, d]``."""
        other = copy.deepcopy(self)
        views = other.last_weights()
        for view, part in zip(views, dW.split([view.shape[1] for view in views], -1), strict=True):
            view.add_(part)
        return other


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
        A = torch.addcmul(self.identity, v.unsqueeze(-1), r.unsqueeze(-2))
        return LocalLinearisation(A, B, o)

    @property
    def gain(self) -> float:
        """The factor in ``v^T r = gain tanh(v)^T tanh(r)``; 1 where v and r are free."""
        return self.scale**2 or 1.0

    @property
    def is_plain(self) -> bool:
        """Whether faster code may replace `step`; a subclass may define another one."""
        return type(self) is LocallyLinear

    def log_det(self, A: Tensor) -> Tensor:
        """``log |1 + v^T r|`` by the matrix determinant lemma; the trace of A is ``n + v^T r``."""
        if not self.is_plain:
            return super().log_det(A)
        return (A.diagonal(dim1=-2, dim2=-1).sum(-1) + (1 - self.n)).abs().log()

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
        return self.identity + by_z.mT, B

    def carry(
        self, z: Tensor, belief: FactoredGaussian, u: Tensor
    ) -> tuple[Tensor, FactoredGaussian]:
        """See `Transition.carry`, which gives the same more slowly."""
        if not self.is_plain:
            return super().carry(z, belief, u)
        lead, columns = z.shape[:-1], as_columns(z, belief)
        controls = (u / self.control_scale).reshape(-1, *u.shape[-2:]).transpose(0, 1)
        columns = columns.reshape(-1, *columns.shape[-2:])
        carried, outputs, *_ = Carry.apply(columns, controls, self.is_point, *self._numbers())
        v, r = outputs[..., : 2 * self.n].split_with_sizes([self.n] * 2, -1)
        growth = (1 + self.gain * (v * r).sum(-1)).abs().log()
        carried = carried.transpose(0, 1).reshape(*lead, *carried.shape[:1], *carried.shape[2:])
        return from_columns(carried, belief.log_det, growth.mT.reshape(*lead, -1))

    def follow(
        self, q: DiagonalGaussian, eps: Tensor, u: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Transition.follow`; on a CPU in compiled code."""
        if u.device.type != "cpu" or not self.is_plain:
            return super().follow(q, eps, u, times)
        controls = u / self.control_scale
        inputs = (q.mean, q.log_variance, eps, controls, times, *self._numbers())
        path, latent_kl, *_ = CompiledFollow.apply(*inputs)
        return path, latent_kl

    def _numbers(self) -> tuple[Any, ...]:
        """Return `gain`, whether v and r are bounded, whether activations are smooth, weights."""
        linears = [layer for layer in self.net if isinstance(layer, nn.Linear)]
        is_smooth = not any(isinstance(layer, nn.ReLU) for layer in self.net)
        weights = [part for layer in linears for part in (layer.weight, layer.bias)]
        return self.gain, self.scale > 0, is_smooth, *weights

    def features(self, z: Tensor, u: Tensor) -> Tensor:
        """See `Transition.features`: the last hidden layer and 1, then both times each control."""
        h = _hidden(self.net, z)
        factor = torch.cat((torch.ones_like(u[..., :1]), u / self.control_scale), -1)
        return (factor.unsqueeze(-1) * h.unsqueeze(-2)).flatten(-2)

    def last_weights(self) -> list[Tensor]:
        """See `Transition.last_weights`: those of o(z), then those of each column of B(z)."""
        last, n = _last(self.net), self.n
        rows = [slice(2 * n, 3 * n), *(slice(3 * n + j, None, self.m) for j in range(self.m))]
        return [part for row in rows for part in (last.weight[row], last.bias[row, None])]

    def _parts(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut the network's output into ``v, r, o [..., n]`` and ``B [..., n, m]``."""
        vr, o, B = y.split_with_sizes([2 * self.n, self.n, self.n * self.m], -1)
        v, r = (self.scale * vr.tanh() if self.scale else vr).split_with_sizes([self.n] * 2, -1)
        return v, r, o, B.unflatten(-1, (self.n, self.m)) / self.control_scale


def as_columns(z: Tensor, belief: FactoredGaussian) -> Tensor:
    """Write a belief and a state as the columns of one matrix, ``[..., n, n + 2]``."""
    return torch.cat((belief.factor, belief.mean.unsqueeze(-1), z.unsqueeze(-1)), -1)


def from_columns(
    columns: Tensor, log_det: Tensor, growth: Tensor
) -> tuple[Tensor, FactoredGaussian]:
    """Read a path and its beliefs from what was carried.

    Args:
        columns: ``[..., T + 1, n, n + 2]``, as `as_columns` writes them.
        log_det: of the first belief, ``[...]``.
        growth: what each step adds to ``log_det``, ``[..., T]``.
    """
    factor, mean, path = columns.split_with_sizes([columns.shape[-2], 1, 1], -1)
    log_dets = log_det.unsqueeze(-1) + pad(growth.cumsum(-1), (1, 0))
    return path.squeeze(-1), FactoredGaussian(mean.squeeze(-1), factor, log_dets)


class NonLinear(Transition):
    """``f(z, u) = z + g(z, u)`` with one network g, linearised by its exact Jacobian."""

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        sizes = [self.n + self.m, *config.transition_hidden, self.n]
        self.net = mlp(sizes, config.activation)

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return the first-order Taylor expansion at ``z [..., n]``, ``u [..., m]``."""
        g, slopes = value_and_jacobian(self.net, self._inputs(z, u))
        return LocalLinearisation.through(z + g, *self._derivatives(slopes.mT), z, u)

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``f(z, u)``, shape ``[..., n]``."""
        g: Tensor = self.net(self._inputs(z, u))
        return z + g

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``df/dz [..., n, n]`` and ``df/du [..., n, m]``."""
        return self._derivatives(value_and_jacobian(self.net, self._inputs(z, u))[1].mT)

    def features(self, z: Tensor, u: Tensor) -> Tensor:
        """See `Transition.features`: the last hidden layer and 1."""
        return _hidden(self.net, self._inputs(z, u))

    def last_weights(self) -> list[Tensor]:
        """See `Transition.last_weights`: those of the last layer, and its bias."""
        last = _last(self.net)
        return [last.weight, last.bias[:, None]]

    def _derivatives(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """``df/dz`` and ``df/du`` from ``slopes [..., n, n + m]``, the derivatives of g."""
        by_z, by_u = slopes.split_with_sizes([self.n, self.m], -1)
        return self.identity + by_z, by_u / self.control_scale

    def _inputs(self, z: Tensor, u: Tensor) -> Tensor:
        return torch.cat((z, u / self.control_scale), -1)


class GlobalLinear(Transition):
    """``f(z, u) = A z + B u + o`` with the same A, B and o everywhere."""

    def __init__(self, config: ModelConfig, control_scale: Tensor) -> None:
        super().__init__(config, control_scale)
        # On the meta device, eye imports a large part of torch, which takes a second.
        self.A = nn.Parameter(torch.eye(self.n, device="cpu"))
        self.B = nn.Parameter(torch.zeros(self.n, self.m))
        self.o = nn.Parameter(torch.zeros(self.n))

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        """Return A, B and o, for each of ``z [..., n]``."""
        shape = z.shape[:-1]
        A, B = self.jacobian(z, u)
        return LocalLinearisation(A, B, self.o.expand(*shape, -1))

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """``A z + B u + o``, shape ``[..., n]``."""
        return z @ self.A.mT + u @ (self.B / self.control_scale).mT + self.o

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``A [..., n, n]`` and ``B [..., n, m]``."""
        shape, B = z.shape[:-1], self.B / self.control_scale
        return self.A.expand(*shape, -1, -1), B.expand(*shape, -1, -1)

    def features(self, z: Tensor, u: Tensor) -> Tensor:
        """See `Transition.features`: state, control and 1."""
        return torch.cat((z, u / self.control_scale, torch.ones_like(z[..., :1])), -1)

    def last_weights(self) -> list[Tensor]:
        """See `Transition.last_weights`: A, B and o."""
        return [self.A, self.B, self.o[:, None]]


def _last(net: nn.Sequential) -> nn.Linear:
    """Return the last layer of an `mlp`."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    return last


def _hidden(net: nn.Sequential, x: Tensor) -> Tensor:
    """Return the last hidden layer of an `mlp` for ``x [..., k]``, with a 1 appended."""
    for layer in [*net][:-1]:
        x = layer(x)
    return torch.cat((x, torch.ones_like(x[..., :1])), -1)
