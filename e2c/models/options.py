"""Which method and which networks a model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from e2c.options import WIDTHS, option

View = Literal["auto", "plain", "silhouette"]
"""What the networks see of frames; see `ModelConfig`."""


@dataclass(frozen=True)
class ModelConfig:
    """The method and its networks.

    A name stands for a class in a registry: `METHODS`, `ENCODERS`, `DECODERS`, `LIKELIHOODS`. A new
    entry there can be named here at once.
    """

    method: str = "e2c"
    """What is learned and by which objective; the names are in e2c/models/methods.py."""
    latent_dim: int = option(5, 1, 256)
    """n, the dimension of the latent state."""
    view: View = "auto"
    """What the networks see. plain: frames as they are. silhouette: what stands out from a still
    background, white on black. auto: chosen from the first data; see e2c/learning/looks.py."""
    encoder: str = "siamese"
    """Network that encodes images: mlp, siamese, conv, or another of e2c/models/encoders.py."""
    encoder_hidden: tuple[int, ...] = option((128, 16, 128), *WIDTHS)
    """Widths of the encoder's hidden fully connected layers."""
    pool: int = option(2, 1, 64)
    """The encoder first averages blocks of pool x pool pixels; 1 leaves the image as it is."""
    decoder: str = "mlp"
    """Network that draws images: mlp, conv, or another of e2c/models/decoders.py."""
    decoder_hidden: tuple[int, ...] = option((64, 64), *WIDTHS)
    """Widths of the decoder's hidden fully connected layers."""
    lattices: int = option(2, 1, 64)
    """The mlp decoder has lattices x lattices interleaved lattices of pixels, and a training step
    draws one of them: an unbiased, cheaper estimate of the likelihood. 1 draws all pixels."""
    likelihood: str = "bernoulli"
    """How an image is compared with the drawn one: bernoulli, gaussian, or another of
    e2c/models/likelihoods.py."""
    transition_hidden: tuple[int, ...] = option((100, 100), *WIDTHS)
    """Widths of the transition's hidden layers."""
    transition_bound: float = option(0.95, 0, 0.999)
    """|v^T r| of A = I + v r^T stays below this, so that A is invertible; 0 for free v and r."""
    activation: Literal["relu", "silu"] = "silu"
    """Activation between layers; silu is smooth, and gives the planner smooth Jacobians."""
