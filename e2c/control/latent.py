"""A model's transition as the planner wants it: in torch and, on a CPU, compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from e2c.models.transitions import GlobalLinear, LocallyLinear, NonLinear, Transition
from planners.compiled import Compiled


class LatentDynamics:
    """The transition as the planner wants it.

    Args:
        transition: of the model, whose training is over: its weights are copied.
        jacobian: ``"true"`` for the derivative of ``A(z)z + B(z)u + o(z)``; ``"A"`` for ``A(z)``,
            which leaves out how A, B and o change with z.
    """

    def __init__(self, transition: Transition, jacobian: str = "true") -> None:
        self.learned, self.jacobian = transition, jacobian
        self.state_dim, self.control_dim = transition.n, transition.m
        self.forget()

    def forget(self) -> None:
        """Let every step lead where was learned."""
        self.transition = copy.deepcopy(self.learned)
        self._compiled: Compiled | None = None

    def correct(self, dW: Tensor) -> None:
        """Let the last weights be greater by ``dW [n, d]`` than was learned."""
        self.transition = self.learned.moved(dW.to(self.learned.control_scale))
        self._compiled = None

    def stay(self, x: Tensor, u: Tensor) -> None:
        """Let a step from ``x [n]`` under ``u [m]`` lead to x, by the least change of the weights.

        With ``phi`` at x and u, that is ``dW = (x - f(x, u)) phi^T / |phi|^2`` (least norm). It
        moves other steps as far as their features are like these: near x by as much, far from it
        hardly. Source: ours.
        """
        phi = self.learned.features(x, u)
        drift = x - self.learned.step(x, u)
        self.correct(torch.outer(drift, phi / phi.square().sum()))

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the next latent state ``[..., n]`` of ``x [..., n]`` under ``u [..., m]``."""
        return self.transition.step(x, u)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[..., n, n]`` and ``[..., n, m]``, the derivatives by state and control."""
        if self.jacobian == "true":
            return self.transition.jacobian(x, u)
        local = self.transition(x, u)
        return local.A, local.B

    def compiled(self) -> Compiled | None:
        """Return the transition in compiled code; None of a class not in `COMPILED`, or on a GPU.

        A subclass of one of these classes may step in another way, so it is not compiled.
        """
        if (
            self._compiled is None
            and type(self.transition) in COMPILED
            and self.transition.control_scale.device.type == "cpu"
        ):
            compile_one = COMPILED[type(self.transition)]
            with torch.no_grad():
                self._compiled = compile_one(self.transition, self.jacobian == "true")
        return self._compiled


def _locally_linear(transition: LocallyLinear, exact: bool) -> Compiled:
    """Order the outputs for B column by column, in the unit of the controls."""
    from e2c.models import kernels

    n, m = transition.n, transition.m
    *hidden, last = _affine(transition.net)
    B = last[3 * n :].unflatten(0, (n, m)) / transition.control_scale[:, None]
    layers = [*hidden, torch.cat((last[: 3 * n], B.transpose(0, 1).flatten(0, 1)))]
    return kernels.locally_linear(
        n, m, _numpy(layers), _smooth(transition.net), exact, transition.scale**2
    )


def _non_linear(transition: NonLinear, exact: bool) -> Compiled:
    """Let the first layer take controls in their unit; the derivative is exact either way."""
    from e2c.models import kernels

    n, m = transition.n, transition.m
    first, *others = _affine(transition.net)
    unit = torch.cat((first.new_ones(n), transition.control_scale, first.new_ones(1)))
    return kernels.residual(n, m, _numpy([first / unit, *others]), _smooth(transition.net))


def _global_linear(transition: GlobalLinear, exact: bool) -> Compiled:
    """Write ``z' - z`` as a network of a single layer."""
    from e2c.models import kernels

    n, m = transition.n, transition.m
    A, B = transition.A, transition.B / transition.control_scale
    layer = torch.cat((A - torch.eye(n).to(A), B, transition.o[:, None]), 1)
    return kernels.residual(n, m, _numpy([layer]), smooth=True)


COMPILED: dict[type[Transition], Callable[[Any, bool], Compiled]] = {
    LocallyLinear: _locally_linear,
    NonLinear: _non_linear,
    GlobalLinear: _global_linear,
}
"""How each transition is handed over, given whether the derivative is exact."""


def _affine(net: nn.Sequential) -> list[Tensor]:
    """Return weights and biases of an `e2c.models.layers.mlp`, layer by layer, ``[J, I + 1]``."""
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    return [torch.cat((layer.weight, layer.bias[:, None]), 1) for layer in linears]


def _smooth(net: nn.Sequential) -> bool:
    """Tell whether the activation of a network is SiLU, not ReLU."""
    return not any(isinstance(layer, nn.ReLU) for layer in net)


def _numpy(layers: list[Tensor]) -> list[Any]:
    """Return layers as arrays."""
    return [layer.numpy() for layer in layers]
