"""A belief about the latent state: a Gaussian that the model predicts and observations correct.

It is the extended Kalman filter of the model's own locally linear dynamics. With A the derivative
of f at the last mean, and the process noise H::

    m- = f(m, u)        S- = A S A^T + H

What the sight tells of an observation, ``N(mu, diag v)``, already holds once what is known without
it, the spread ``N(c, diag V)`` of the encodings. In information form it is taken off::

    L = 1/v - 1/V       L y = mu / v - c / V

so that y is an observation of the state with the variance 1/L. Successive observations share
frames, so their errors are correlated: ``e_t = D_t (w_t + Theta w_{t-1})`` with D_t the standard
deviations and w white. So the belief is a Gaussian of the state *and* of the last w; this is the
augmented state of the Kalman filter with coloured measurement noise (Bryson & Henrikson 1968).

A frame is a *surprise* when its innovation r is too large for the predicted covariance (by its
normalised square, the NIS, against chi-square of k degrees of freedom, where the sight tells k
components of the state). The world is then not what the model takes it for: after a kick, with
another mass. Then ``r r^T`` is added to the predicted covariance, so that the camera is believed in
the direction of the surprise.

Cameras and worlds differ in how far they stray from what training has seen. So all covariances are
known but for one factor, the *scale*, which follows the NIS over k with a memory of seven steps
(variance discounting, West & Harrison 1997, chapter 10). Gains do not depend on it, but surprises
and the covariance that is told do.

The arithmetic is compiled: `e2c.control.belief_kernels`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2c.models.gaussians import DiagonalGaussian
from e2c.models.sight import Sight
from planners import Dynamics
from planners.compiled import code_of, numbers

SURPRISE = 3.1
"""A surprise is beyond this many standard deviations of chi-square, on the scale on which that is
nearly normal (Wilson & Hilferty 1931): one in a thousand."""

Floats = NDArray[np.float64]


class Figures(NamedTuple):
    """What a belief is built on, as arrays; see `Sight`."""

    process: Floats
    speed: float
    errors: Floats
    shared: Floats
    mean: Floats
    variance: Floats

    @staticmethod
    def of(sight: Sight) -> Figures:
        """Read the figures of a sight."""
        read: dict[str, Any] = {
            name: getattr(sight, name).double().cpu().numpy() for name in Figures._fields
        }
        return Figures(**read)

    def prepared(self) -> Figures:
        """Return them as compiled code takes them, with symmetric covariances."""
        return Figures(
            _symmetric(self.process),
            float(self.speed),
            _symmetric(self.errors),
            *(np.ascontiguousarray(a, np.float64) for a in (self.shared, self.mean, self.variance)),
        )


class Belief:
    """A Gaussian belief about the latent state of each of B episodes.

    Attributes:
        nis: ``[B]``, the sum of the normalised squared innovations of all frames seen, with the
            scale before each, over the number of components that were told.
        seen: ``[B]``, how many these are; the first of an episode does not count, nor does a frame
            that tells nothing.
        surprises: ``[B]``, how many of them were surprises.
        logarithms: ``[B]``, the sum of the logarithms of their scales.
        scale: ``[B]``, the factor on all covariances, 1 at first.
        corrected: mean ``[B, n]`` and covariance ``[B, n, n]`` of the state after the last
            observation, with the scale; a prediction does not change them.

    Args:
        dynamics: f, and its derivatives.
        figures: how far the model and the sight err.
        episodes: B.
        dtype: of the states that the dynamics take.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        figures: Figures,
        episodes: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dynamics, self.figures = dynamics, figures.prepared()
        B, n = episodes, len(figures.mean)
        self._mean = np.tile(np.append(figures.mean, np.zeros(n)), (B, 1))
        """``[B, 2n]``, of the state and, below it, of the last w."""
        self._covariance = np.zeros((B, 2 * n, 2 * n))
        """``[B, 2n, 2n]``, of both."""
        self._covariance[:, :n, :n] = np.diag(figures.variance)
        self._covariance[:, n:, n:] = self.figures.errors
        self.scale = np.ones(B)
        self.corrected = self.mean, self.covariance
        self._limits = surprising(n)
        self._begun = False
        self._like = torch.empty(0, dtype=dtype)
        """No number, but the dtype of the states that the dynamics take."""
        self._device = self._like.device
        """Where the dynamics take states in torch: where observations come from."""
        self.nis, self.seen, self.surprises, self.logarithms = np.zeros((4, B))

    @property
    def mean(self) -> Floats:
        """The mean of the state, ``[B, n]``, in latent units."""
        return self._mean[:, : len(self.figures.mean)]

    @property
    def covariance(self) -> Floats:
        """The covariance of the state but for the scale, ``[B, n, n]``."""
        n = len(self.figures.mean)
        return self._covariance[:, :n, :n]

    def predict(self, u: Floats) -> None:
        """Move on by a step under the controls ``u [B, m]``."""
        from e2c.control import belief_kernels  # and with it numba, only where it is needed

        code = code_of(self.dynamics, self._like)
        if code is None:
            after, A = self._foresee(u)
        else:
            after, A = belief_kernels.foresee(numbers(code), self._mean, u)
        self._mean, self._covariance = belief_kernels.predict(
            self.figures, after, A, self._mean, self._covariance
        )
        self._begun = True

    def _foresee(self, u: Floats) -> tuple[Floats, Floats]:
        """Compute in torch what `e2c.control.belief_kernels.foresee` computes."""
        dtype, device = self._like.dtype, self._device
        z, control = (torch.from_numpy(a).to(device, dtype) for a in (self.mean, u))
        after, A = self.dynamics.step(z, control), self.dynamics.linearize(z, control)[0]
        return _floats(after), _floats(A)

    def observe(self, q: DiagonalGaussian, seen: NDArray[np.bool_]) -> None:
        """Correct the belief.

        Args:
            q: what the sight tells, ``[B, n]``.
            seen: ``[B]``, which observations show anything; the others change nothing. Those of
                which nothing finite follows do not either.
        """
        from e2c.control import belief_kernels

        self._device = q.mean.device
        self._mean, self._covariance = belief_kernels.observe(
            self.figures,
            (_floats(q.mean), _floats(q.variance)),
            seen,
            (self._limits, self._begun),
            (self.nis, self.seen, self.surprises, self.logarithms, self.scale),
            (self._mean, self._covariance),
        )
        self.corrected = self.mean, self.covariance * self.scale[:, None, None]

    def summary(self) -> dict[str, float | None]:
        """Return how well the belief knew what it would see; None where nothing was seen.

        ``nis`` is the mean NIS over the number of components, 1 where errors are as large as the
        belief told; ``scale`` the geometric mean of the scale, 1 where they are as large as model
        and sight themselves told; ``gated`` the share of surprises.
        """
        names, seen = ("nis", "scale", "gated"), self.seen.sum()
        if not seen:
            return dict.fromkeys(names)
        means = [float(a.sum() / seen) for a in (self.nis, self.logarithms, self.surprises)]
        return dict(zip(names, (means[0], math.exp(means[1]), means[2]), strict=True))


def surprising(n: int) -> Floats:
    """Return the NIS ``[n + 1]`` beyond which a frame is a surprise that tells k components."""
    k = np.arange(1, n + 1)
    found: Floats = k * (1 - 2 / (9 * k) + SURPRISE * (2 / (9 * k)) ** 0.5) ** 3
    return np.append(0.0, found)


def _symmetric(matrix: Floats) -> Floats:
    """Return the symmetric part of ``matrix [n, n]``, as an array in one piece."""
    return np.ascontiguousarray(0.5 * (matrix + matrix.T), np.float64)


def _floats(tensor: Tensor) -> Floats:
    """Return numbers as an array in one piece, which compiled code takes."""
    array: Floats = np.ascontiguousarray(tensor.cpu().numpy(), np.float64)
    return array
