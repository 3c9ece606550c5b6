"""Carrying points and differences through locally linear dynamics, with derivatives by hand.

`LocallyLinear` does this at every training step. With automatic differentiation, this takes over a
thousand operations on small matrices. The derivative by hand (the adjoint method: one sweep back in
time) takes a third of them. On a CPU, compiled code takes the place of all, and of the comparison
with the encodings. `Transition.carry` and `Transition.follow` do the same in a few lines.
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
    without a derivative, each hidden layer's output before its activation, ``[T, N, width]``.
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
        """Sweep back: ``G`` is the derivative by the columns, ``d`` by the output of a layer."""
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


class CompiledFollow(torch.autograd.Function):
    """`Transition.follow` of a locally linear transition on a CPU, in compiled code.

    Inputs, in their order:
        * mean and log variance of the encodings, ``[N, S, n]``, and the normal numbers ``[N, n]``
          of the first sample;
        * ``u [N, T, m]``, the controls in the unit of the network, and the S times;
        * the gain and all inputs after it, as in `Carry`.

    Outputs: the path ``[N, S, n]`` and the latent KL ``[N, S - 1]``; then, without a derivative,
    what the sweep back needs, in the rows of `e2c.models.carry_kernels`.
    """

    @staticmethod
    def forward(*inputs: Any) -> Any:
        """Take the steps, and compare."""
        from e2c.models import carry_kernels

        mean, u, times, layers = inputs[0], inputs[3], inputs[4], inputs[8:]
        (N, S, n), T = mean.shape, int(times[-1])
        widths, network = _network(layers)
        X, Y = mean.new_empty(n * (n + 2), T + 1, N), mean.new_empty(widths[-1], T, N)
        kept = mean.new_empty(2, sum(widths[:-1]), T, N)
        path, kl = mean.new_empty(n, S, N), mean.new_empty(S - 1, N)
        rows = map(_array, (u[:, :T].permute(2, 1, 0), X, Y, *kept))
        steps = carry_kernels.Steps(*network, *inputs[5:8], *rows)
        carry_kernels.forward(steps, _compared(inputs), _array(path), _array(kl))
        return path.permute(2, 1, 0), kl.mT, X, Y, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the sweep back needs."""
        ctx.options = inputs[5:8]
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*output[2:], *inputs[:5], *inputs[8:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_path: Tensor, by_kl: Tensor, *_: Tensor) -> Any:
        """Sweep back."""
        from e2c.models import carry_kernels

        X, Y, kept, *inputs = ctx.saved_tensors
        u, layers, T = inputs[3], inputs[5:], Y.shape[1]
        widths, network = _network(layers)
        by_q = X.new_empty(2, *inputs[0].permute(2, 1, 0).shape)
        deltas = X.new_empty(sum(widths[1:]), T, len(u))
        rows = map(_array, (u[:, :T].permute(2, 1, 0), X, Y, *kept))
        steps = carry_kernels.Steps(*network, *ctx.options, *rows)
        given = map(_array, (by_path.permute(2, 1, 0), by_kl.mT))
        carry_kernels.backward(steps, _compared(inputs), *given, _array(by_q), _array(deltas))
        by_layers, pairs = [], (deltas.split(widths[1:]), kept[0].split(widths[:-1]))
        for delta, h in zip(*pairs, strict=True):
            by_layers += [delta.flatten(1) @ h.flatten(1).mT, delta.sum((1, 2))]
        return *by_q.permute(0, 3, 2, 1), *[None] * 6, *by_layers

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """Compute one network after another."""
        turns = [
            CompiledFollow.apply(
                *(x if d is None else x.select(d, e) for x, d in zip(inputs, in_dims, strict=True))
            )
            for e in range(info.batch_size)
        ]
        outputs = tuple(torch.stack(parts) for parts in zip(*turns, strict=True))
        return outputs, (0,) * len(outputs)


def _compared(inputs: Sequence[Any]) -> Any:
    """Return the first inputs of `CompiledFollow` as arrays for compiled code."""
    from e2c.models.carry_kernels import Compared

    mean, log_variance, eps, _, times = inputs[:5]
    rows = (mean.permute(2, 1, 0), log_variance.permute(2, 1, 0), eps.mT, times)
    return Compared(*map(_array, rows))


def _network(layers: Sequence[Tensor]) -> tuple[list[int], tuple[Any, Any]]:
    """Return the widths of a network; and its numbers and widths for `carry_kernels.Steps`."""
    widths = [layers[0].shape[1], *map(len, layers[1::2])]
    numbers = torch.cat([part.detach().flatten() for part in layers])
    return widths, (numbers.numpy(), np.array(widths))


def _array(tensor: Tensor) -> Any:
    """Return the numbers of a tensor as a contiguous array."""
    return tensor.detach().contiguous().numpy()
