"""``p(x|y)`` of every pixel, where y is the output of a decoder's network for the pixel.

An own likelihood is a subclass of `Likelihood` and one line in `LIKELIHOODS`. It belongs to the
decoder, so its weights are trained and kept with the decoder's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from planners.names import Names


class Likelihood(nn.Module, ABC):
    """The distribution of a pixel's brightness x in [0, 1].

    Its negative logarithm must not be negative: training counts as diverged when this loss grows to
    a multiple of its first value.
    """

    @abstractmethod
    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        """``-log p(x|y)`` in nats, of each pixel: ``y``, ``x`` and the result have one shape."""

    @abstractmethod
    def mean(self, y: Tensor) -> Tensor:
        """The brightness in [0, 1] to be drawn for ``y``, of the same shape."""

    @abstractmethod
    def inverse(self, mean: Tensor) -> Tensor:
        """A finite ``y`` whose drawn brightness is nearly ``mean``; of the same shape."""


class Bernoulli(Likelihood):
    """A pixel is white with probability ``sigmoid(y)`` (Watter et al. 2015, section 2.4).

    Its negative logarithm is computed from the logit y directly, which keeps it finite.
    """

    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the cross-entropy of ``x``, read as a probability, and ``sigmoid(y)``."""
        if y.device.type != "cpu":
            return binary_cross_entropy_with_logits(y, x, reduction="none")
        entropy: Tensor = CompiledCrossEntropy.apply(y, x)[0]
        return entropy

    def mean(self, y: Tensor) -> Tensor:
        """``sigmoid(y)``."""
        return y.sigmoid()

    def inverse(self, mean: Tensor) -> Tensor:
        """The logit of ``mean``, which is kept a thousandth away from black and white."""
        return mean.clamp(1e-3, 1 - 1e-3).logit()


class CompiledCrossEntropy(torch.autograd.Function):
    """`binary_cross_entropy_with_logits` of each pixel on a CPU, in compiled code.

    Inputs: y and x, of one shape. Outputs: the cross-entropy and, without a derivative, its
    derivative by y. There is no derivative by x.
    """

    @staticmethod
    def forward(*inputs: Tensor) -> Any:
        """Compute both at once."""
        from e2c.models import pixel_kernels  # and with it numba, only where it is needed

        y, x = (part.detach().contiguous() for part in inputs)
        entropy, slope = torch.empty_like(y), torch.empty_like(y)
        flat = (part.view(-1).numpy() for part in (y, x, entropy, slope))
        pixel_kernels.cross_entropy(*flat)
        return entropy, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the derivative."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_entropy: Tensor, _: Tensor) -> Any:
        """Return the derivative by y."""
        return by_entropy * ctx.saved_tensors[0], None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> Any:
        """Compute all at once: every pixel is computed alone."""
        parts = [
            part.unsqueeze(0).expand(info.batch_size, *part.shape)
            if dim is None
            else part.movedim(dim, 0)
            for part, dim in zip(inputs, in_dims, strict=True)
        ]
        return CompiledCrossEntropy.apply(*parts), (0, 0)


class Gaussian(Likelihood):
    """``N(y, sigma^2)`` with one learned sigma for all pixels (sigma-VAE, Rybkin et al. 2021).

    With a learned sigma, reconstruction and the KL terms balance by themselves, without a weight to
    be tuned. ``log sigma`` is a weight of the model. As in the paper it has a soft lower bound, -6.
    Without one, pixels that never change would let training make sigma as small as it likes.

    A camera resolves one grey level in 255, so the density times 1/255 is about the probability of
    a grey level. `negative_log` returns the negative logarithm of this. With sigma bounded it is
    never negative.
    """

    start: float = 0.1
    """Sigma of the untrained model."""
    least: float = -6.0
    """Lower bound of ``log sigma``."""

    def __init__(self) -> None:
        super().__init__()
        self.free_log_sigma = nn.Parameter(torch.tensor(math.log(self.start)))

    @property
    def log_sigma(self) -> Tensor:
        """``log sigma``, a scalar above `least`; far above, it is the free weight itself."""
        return self.least + softplus(self.free_log_sigma - self.least)

    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        """``-log (N(x; y, sigma^2) / 255)``."""
        distance = ((x - y) * torch.exp(-self.log_sigma)).square()
        return 0.5 * distance + self.log_sigma + (0.5 * math.log(2 * math.pi) + math.log(255))

    def mean(self, y: Tensor) -> Tensor:
        """``y``, cut to [0, 1]."""
        return y.clamp(0, 1)

    def inverse(self, mean: Tensor) -> Tensor:
        """``mean`` itself."""
        return mean


LIKELIHOODS: dict[str, type[Likelihood]] = Names(
    "likelihood", {"bernoulli": Bernoulli, "gaussian": Gaussian}
)
"""What ``model.likelihood`` may be."""
