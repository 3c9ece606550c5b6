"""Embed to Control in plain PyTorch, as one writes it down from the paper.

Our training is timed against it. Public implementations cannot be installed with pip, so this one
stands in for them. It is small and straightforward, and has none of what ours adds: no roll-outs
over several steps, no bounds, no checks, no record.

Source: Watter et al. 2015 (Embed to Control), section 2; sizes of the supplement, 2.6.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class PlainE2C(nn.Module):
    """Encoder, decoder and locally linear transition of pairs of images.

    Args:
        pixels: numbers in an observation.
        n: latent dimension.
        m: control dimension.
        hidden: width of the two hidden layers of encoder and decoder.
        transition_hidden: the same of the transition.
    """

    def __init__(
        self, pixels: int, n: int, m: int, hidden: int = 800, transition_hidden: int = 100
    ) -> None:
        super().__init__()
        self.n, self.m = n, m
        self.encoder = _layers(pixels, hidden, 2 * n)
        self.decoder = _layers(n, hidden, pixels)
        self.transition = _layers(n, transition_hidden, 3 * n + n * m)

    def loss(self, x: Tensor, u: Tensor, x_next: Tensor, latent_weight: float = 0.25) -> Tensor:
        """Return the loss of section 2.4, a mean over the batch [nats].

        Args:
            x: ``[B, pixels]`` in [0, 1], observations.
            u: ``[B, m]``, the controls that followed.
            x_next: ``[B, pixels]``, what was seen then.
            latent_weight: lambda.
        """
        mean, log_variance = self.encoder(x).chunk(2, -1)
        mean_next, log_variance_next = self.encoder(x_next).chunk(2, -1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        v, r, o, B = self.transition(z).split([self.n, self.n, self.n, self.n * self.m], -1)
        A = torch.eye(self.n) + v[:, :, None] * r[:, None, :]
        offset = (B.view(-1, self.n, self.m) @ u[:, :, None])[:, :, 0] + o
        z_next = (A @ z[:, :, None])[:, :, 0] + offset

        prior = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)
        predicted = (A @ mean[:, :, None])[:, :, 0] + offset
        covariance = A @ torch.diag_embed(log_variance.exp()) @ A.mT
        distance = covariance.diagonal(dim1=-2, dim2=-1) + (mean_next - predicted).square()
        log_det = log_variance.sum(-1) + 2 * (1 + (v * r).sum(-1)).abs().log()
        latent = 0.5 * (
            (distance / log_variance_next.exp() + log_variance_next - 1).sum(-1) - log_det
        )
        drawn = self._negative_log_likelihood(z, x) + self._negative_log_likelihood(z_next, x_next)
        return (drawn + prior + latent_weight * latent).mean()

    def _negative_log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """Bernoulli, ``[B]``."""
        return binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )
