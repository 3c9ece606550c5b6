"""Carrying points and differences through locally linear dynamics, with its derivative by hand.

`LocallyLinear` does this at every training step. Left to automatic differentiation, it is over a
thousand operations on small matrices. The derivative by hand (the adjoint method: one sweep back in
time) takes a third of them, and compiled code, on a CPU, none. `Transition.carry` is the same in a
few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import relu, silu

silu_backward, relu_backward = torch.ops.aten.silu_backward, torch.ops.aten.threshold_backward


class Carry(torch.autograd.Function):
    """``X' = A(z) X + (B(z) u + o(z)) e^T`` for T steps, where z is the last column of X.

    ``A = I + gain v r^T``; v, r, o and B are the outputs of a network. e is 1 for points, which
    are moved by the offset, and 0 for differences, which are not.

    Inputs, in their order:
        * ``X [N, n, c]``, the columns;
        * ``u [T, N, m]``, the controls in the unit of the network;
        * ``e [c]``;
        * the gain, a number; v and r are passed through tanh where ``is_bounded``;
        * ``is_bounded`` and ``is_smooth`` (whether the activation is SiLU or ReLU);
        * weight ``[fan_out, fan_in]`` and bias ``[fan_out]`` of each layer.

    Outputs: the columns ``[T + 1, N, n, c]``; v, r, o and B ``[T, N, 3n + nm]`` of each step; and,
    without a derivative, what each hidden layer gave before its activation, ``[T, N, width]``.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Any:
        """Take the steps."""
        X, u, e, gain, is_bounded, is_smooth, *layers = inputs
        n, activate = X.shape[-2], silu if is_smooth else relu
        identity = torch.eye(n, device=X.device, dtype=X.dtype)
        weights, biases = [weight.mT for weight in layers[::2]], layers[1::2]
        carried, outputs = [X], []
        hidden: list[list[Tensor]] = [[] for _ in biases[:-1]]
        for control in u.unbind(0):
            h = X[..., -1]
            for layer, kept in enumerate(hidden):
                kept.append(torch.addmm(biases[layer], h, weights[layer]))
                h = activate(kept[-1])
            y = torch.addmm(biases[-1], h, weights[-1])
            vr, o, B = y.split_with_sizes([2 * n, n, y.shape[-1] - 3 * n], -1)
            if is_bounded:
                vr = vr.tanh()
            v, r = vr.split_with_sizes([n, n], -1)
            A = torch.baddbmm(identity, v.unsqueeze(-1), r.unsqueeze(-2), alpha=gain)
            shift = torch.baddbmm(o.unsqueeze(-1), B.unflatten(-1, (n, -1)), control.unsqueeze(-1))
            X = torch.baddbmm(shift * e, A, X)
            carried.append(X)
            outputs.append(torch.cat((vr, o, B), -1) if is_bounded else y)
        return torch.stack(carried), torch.stack(outputs), *(torch.stack(kept) for kept in hidden)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the sweep back needs."""
        _, u, e, *options = inputs[:6]
        ctx.options = options
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(u, e, *output, *inputs[6:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Sweep back: ``G`` is the derivative by the columns, ``d`` that by a layer's output."""
        u, e, X, y, *rest = ctx.saved_tensors
        gain, is_bounded, is_smooth = ctx.options
        n, depth = X.shape[-2], len(rest) // 3
        hidden, layers = rest[:depth], rest[depth:]
        weights = layers[::2]
        by_X, by_y = gradients[:2]
        v, r = (part.unsqueeze(-1) for part in y[..., : 2 * n].split_with_sizes([n, n], -1))
        At = torch.eye(n, device=X.device, dtype=X.dtype) + gain * r * v.mT
        slope = torch.ones_like(y)
        if is_bounded:
            slope = torch.cat((1 - y[..., : 2 * n].square(), slope[..., 2 * n :]), -1)
        deltas: list[list[Tensor]] = [[] for _ in weights]
        G = by_X[-1]
        for t in range(len(u) - 1, -1, -1):
            by_A = torch.bmm(G, X[t].mT) * gain
            by_shift = G @ e
            d = torch.cat(
                (
                    by_A.bmm(r[t]).squeeze(-1),
                    by_A.mT.bmm(v[t]).squeeze(-1),
                    by_shift,
                    (by_shift.unsqueeze(-1) * u[t].unsqueeze(-2)).flatten(1),
                ),
                -1,
            )
            d = (d + by_y[t]) * slope[t]
            deltas[-1].append(d)
            for layer in range(depth, 0, -1):
                d, before = d @ weights[layer], hidden[layer - 1][t]
                d = silu_backward(d, before) if is_smooth else relu_backward(d, before, 0)
                deltas[layer - 1].append(d)
            G = torch.baddbmm(by_X[t], At[t], G)
            G = torch.cat((G[..., :-1], (G[..., -1] + d @ weights[0]).unsqueeze(-1)), -1)
        activate = silu if is_smooth else relu
        inputs = [X[:-1, ..., -1], *(activate(before) for before in hidden)]
        by_layers = []
        for delta, h in zip(deltas, inputs, strict=True):
            d = torch.stack(delta[::-1]).flatten(0, 1)
            by_layers += [d.mT @ h.flatten(0, 1), d.sum(0)]
        return G, None, None, None, None, None, *by_layers


class CompiledCarry(torch.autograd.Function):
    """`Carry` on a CPU, in compiled code: the same inputs; the first two outputs are the same.

    The third is what the sweep back needs of the layers; see `e2c.models.carry_kernels`.
    """

    @staticmethod
    def forward(*inputs: Any) -> Any:
        """Take the steps."""
        from e2c.models import carry_kernels

        X, u, e, *options = inputs[:6]
        (T, N, _), (n, c) = u.shape, X.shape[1:]
        widths, network = _network(inputs[6:])
        carried = X.new_empty(n * c, T + 1, N)
        carried[:, 0] = X.flatten(1).mT
        outputs, kept = X.new_empty(widths[-1], T, N), X.new_empty(2, sum(widths[:-1]), T, N)
        rows = map(_array, (u.permute(2, 0, 1), e, carried, outputs, *kept))
        carry_kernels.forward(carry_kernels.Steps(*network, *options, *rows))
        columns = carried.permute(1, 2, 0).unflatten(-1, (n, c))
        return columns, outputs.permute(1, 2, 0), kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the sweep back needs."""
        _, u, e, *options = inputs[:6]
        ctx.options = options
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(u, e, *output, *inputs[6:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_X: Tensor, by_Y: Tensor, _: Tensor) -> Any:
        """Sweep back."""
        from e2c.models import carry_kernels

        u, e, X, Y, kept, *layers = ctx.saved_tensors
        (T, N, _), (n, c) = u.shape, X.shape[2:]
        widths, network = _network(layers)
        by_first, deltas = X.new_empty(n * c, 1, N), X.new_empty(sum(widths[1:]), T, N)
        columns, by_columns = (part.flatten(2).permute(2, 0, 1) for part in (X, by_X))
        outputs, by_outputs = (part.permute(2, 0, 1) for part in (Y, by_Y))
        rows = map(_array, (u.permute(2, 0, 1), e, columns, outputs, *kept))
        written = map(_array, (by_columns, by_outputs, by_first, deltas))
        carry_kernels.backward(carry_kernels.Steps(*network, *ctx.options, *rows), *written)
        by_layers, pairs = [], (deltas.split(widths[1:]), kept[0].split(widths[:-1]))
        for delta, h in zip(*pairs, strict=True):
            by_layers += [delta.flatten(1) @ h.flatten(1).mT, delta.sum((1, 2))]
        return by_first[:, 0].mT.unflatten(1, (n, c)), *[None] * 5, *by_layers

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """Let torch carry several networks at once."""
        outputs = torch.func.vmap(Carry.apply, in_dims)(*inputs)
        return outputs, (0,) * len(outputs)


def _network(layers: Sequence[Tensor]) -> tuple[list[int], tuple[Any, Any]]:
    """Return the widths of a network, and it as `e2c.models.carry_kernels` has it."""
    widths = [layers[0].shape[1], *map(len, layers[1::2])]
    numbers = torch.cat([part.detach().flatten() for part in layers])
    return widths, (numbers.numpy(), np.array(widths))


def _array(tensor: Tensor) -> Any:
    """Return the numbers of a tensor as an array in one piece."""
    return tensor.detach().contiguous().numpy()
