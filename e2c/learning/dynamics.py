"""Training the dynamics alone, after joint training: the latent space stays as it is.

Joint training begins its roll-outs at samples ``z ~ q(z|x)``. Near the goal the noise of a sample
is larger than the motion in a step, and a fit to noisy inputs is less steep than the truth: the
model falls more slowly than the pendulum does. Here roll-outs begin at the means ``mu``, and only
the transition f is changed.

The encodings lie on a surface that has fewer dimensions than the space. Roll-outs that begin on
this surface do not teach f what to do beside it. So a second term keeps f from reacting to noise e
that leads off the surface. With the horizon T of joint training, a roll-out from ``mu_t`` has the
loss::

    1/T sum_k |f^k(mu_t, u) - mu_{t+k}|^2 + |f(mu_t + e, u_t) - f(mu_t, u_t)|^2

Distances are in units of the encoder's standard deviations, as in the latent KL, and both terms are
multiplied by the same constant. The directions off the surface are found from neighbouring
encodings; see `e2c.learning.encodings.beside`.

Source: ours. The fault is known as regression dilution (Fuller 1987, "Measurement error models");
the second term is a contraction (Rifai et al. 2011, "Contractive auto-encoders"), but off the
surface only.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from e2c.learning.descent import descend
from e2c.learning.encodings import Encodings, beside
from e2c.models.transitions import Transition

BATCH = 64
"""Roll-outs in a batch."""
RATE = 1e-3
"""Adam's step size at first; it falls to none along a cosine."""
CLIP = 100.0
"""The norm of the gradient is cut to this."""
NEIGHBOURS = 16
"""Nearest encodings from which the surface around an encoding is found."""
AMONG = 2500
"""Most encodings among which they are searched."""
PIECE = 1000
"""Encodings whose neighbours are found at a time."""


def learn_dynamics(
    transition: Transition, encodings: Encodings, steps: int, seed: int
) -> Transition:
    """Return a copy of a model's transition that was trained further.

    Args:
        transition: trained.
        encodings: of the model's data.
        steps: of Adam.
        seed: of batches and noise.
    """
    transition, generator = copy.deepcopy(transition), torch.Generator().manual_seed(seed)
    q, horizon, place = encodings.q, encodings.horizon, encodings.q.mean.device
    chosen = torch.randperm(len(q.mean), generator=generator)[:AMONG]
    off = off_surface(q.mean, q.mean[chosen.to(place)])
    precision = q.log_variance.neg().exp()
    precision = precision / precision.mean()
    times = torch.arange(horizon + 1)
    noise = torch.zeros(BATCH, q.mean.shape[1], device=place)
    rows = torch.zeros(BATCH, len(times), dtype=torch.int64, device=place)
    u = torch.zeros(BATCH, horizon, transition.m, device=place)

    def draw() -> None:
        frame, action = encodings.starts.draw(BATCH, generator).unbind(-1)
        rows.copy_(frame[:, None] + times)
        u.copy_(encodings.actions[action[:, None] + times[:-1]])
        noise.copy_(torch.randn(noise.shape, generator=generator))

    def loss() -> Tensor:
        at = encodings.at(rows)
        begin, weight = q[at[:, 0]], precision[at[:, 1:]]
        path, _ = transition.follow(q[at], torch.zeros_like(begin.mean), u, times)
        aside = begin.mean + (off[at[:, 0]] @ (begin.std * noise).unsqueeze(-1)).squeeze(-1)
        astray = transition.step(aside, u[:, 0]) - path[:, 1].detach()
        missed = ((path[:, 1:] - q.mean[at[:, 1:]]).square() * weight).sum(-1).mean()
        return missed + (astray.square() * weight[:, 0]).sum(-1).mean()

    rates = [0.5 * RATE * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    descend("dynamics", transition.parameters(), loss, draw, rates, CLIP, place)
    return transition


def off_surface(z: Tensor, among: Tensor) -> Tensor:
    """Return the matrices that keep the part of noise that leads off the encodings' surface.

    Args:
        z: encodings, ``[N, n]``.
        among: encodings among which their neighbours are searched, ``[M, n]``.

    Returns:
        ``[N, n, n]``; see `e2c.learning.encodings.beside`.
    """
    count, found = min(NEIGHBOURS, len(among)), []
    for piece in z.split(PIECE):
        nearest = torch.cdist(piece, among).topk(count, largest=False).indices
        found.append(beside(among[nearest] - piece.unsqueeze(1)))
    return torch.cat(found)
