"""Small systems with known answers, on which planners are tested."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LinearSystem:
    """``x' = A x + B u + c``."""

    A: Tensor
    B: Tensor
    c: Tensor

    @property
    def state_dim(self) -> int:
        return self.B.shape[0]

    @property
    def control_dim(self) -> int:
        return self.B.shape[1]

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.T + u @ self.B.T + self.c

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        lead = x.shape[:-1]
        return self.A.expand(*lead, *self.A.shape), self.B.expand(*lead, *self.B.shape)


def random_linear(
    n: int, m: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> LinearSystem:
    """An unstable random linear system."""
    g = torch.Generator().manual_seed(seed)
    A = torch.eye(n, dtype=dtype) + 0.3 * torch.randn(n, n, generator=g, dtype=dtype)
    B = torch.randn(n, m, generator=g, dtype=dtype)
    return LinearSystem(A, B, 0.1 * torch.randn(n, generator=g, dtype=dtype))


class Pendulum:
    """Semi-implicit Euler, dt 0.05 s, m = l = 1, I = 1/3, g = 10; ``(cos, sin, w)``, 0 is up."""

    state_dim = 3
    control_dim = 1

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        c, s, w = x.unbind(-1)
        w = w + 0.05 * (15 * s + 3 * u[..., 0])
        cos, sin = torch.cos(0.05 * w), torch.sin(0.05 * w)
        return torch.stack((c * cos - s * sin, s * cos + c * sin, w), -1)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        s = x[..., 1]
        y = self.step(x, u)
        cos, sin = torch.cos(0.05 * y[..., 2]), torch.sin(0.05 * y[..., 2])
        one, zero = torch.ones_like(s), torch.zeros_like(s)
        turn = torch.stack((-y[..., 1], y[..., 0]), -1) * 0.05
        dw = torch.stack((zero, 0.75 * one, one), -1)
        rotation = torch.stack(
            (torch.stack((cos, -sin, zero), -1), torch.stack((sin, cos, zero), -1)), -2
        )
        fx = torch.cat((rotation + turn[..., None] * dw[..., None, :], dw[..., None, :]), -2)
        fu = 0.15 * torch.cat((turn, one[..., None]), -1)[..., None]
        return fx, fu


@dataclass
class Cliff:
    """A single integrator whose state is NaN beyond an edge."""

    edge: float
    state_dim: int = 1
    control_dim: int = 1

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        y = x + u
        return torch.where(y > self.edge, torch.nan, y)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(x)[..., None]
        return one, one


def hanging(batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """States ``[batch, 3]`` around hanging down at rest, the first exactly so."""
    offset = torch.linspace(0, 0.6, batch, dtype=dtype)
    angle = torch.pi + offset * (-1) ** torch.arange(batch)
    return torch.stack((angle.cos(), angle.sin(), offset), -1)
