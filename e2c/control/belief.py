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
normalised square, the NIS, against chi-square). The world is then not what the model takes it for:
after a kick, with another mass. Then ``r r^T`` is added to the predicted covariance, so that the
camera is believed in the direction of the surprise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.models.gaussians import DiagonalGaussian
from e2c.models.sight import Sight
from planners import Dynamics

SURPRISE = 3.1
"""A surprise is beyond this many standard deviations of chi-square, on the scale on which that is
nearly normal (Wilson & Hilferty 1931): one in a thousand."""
LEAST = 1e-3
"""Observations are taken to say at least this share of what is known without them."""

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


class Belief:
    """A Gaussian belief about the latent state of each of B episodes.

    Attributes:
        mean: ``[B, n]``.
        covariance: ``[B, n, n]``.
        nis: ``[B]``, the sum of the normalised squared innovations of all frames seen.
        seen: ``[B]``, how many these are; the first of an episode does not count.
        surprises: ``[B]``, how many of them were surprises.

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
        self.dynamics, self.figures, self.dtype = dynamics, figures, dtype
        B, n = episodes, len(figures.mean)
        self.mean = np.tile(figures.mean, (B, 1))
        self.covariance = np.tile(np.diag(figures.variance), (B, 1, 1))
        self._w = np.zeros((B, n))  # the mean of the last w
        self._ww = np.tile(figures.errors, (B, 1, 1))  # its covariance
        self._zw = np.zeros((B, n, n))  # the covariance of state and w
        self._limit = n * (1 - 2 / (9 * n) + SURPRISE * (2 / (9 * n)) ** 0.5) ** 3
        self._begun = False
        self.nis, self.seen, self.surprises = np.zeros(B), np.zeros(B), np.zeros(B)

    def predict(self, u: Floats) -> None:
        """Move on by a step under the controls ``u [B, m]``."""
        z, control = (torch.from_numpy(a).to(self.dtype) for a in (self.mean, u))
        A = self.dynamics.linearize(z, control)[0].double().numpy()
        after = self.dynamics.step(z, control).double().numpy()
        far = np.square(after - self.mean).sum(-1)[:, None, None]
        self.mean, self._zw, self._begun = after, A @ self._zw, True
        self.covariance = A @ self.covariance @ A.mT + (
            self.figures.process * (1 + self.figures.speed * far)
        )

    def observe(self, q: DiagonalGaussian, seen: NDArray[np.bool_]) -> None:
        """Correct the belief.

        Args:
            q: what the sight tells, ``[B, n]``.
            seen: ``[B]``, which observations show anything; the others change nothing.
        """
        known = self.figures
        told, variance = q.mean.double().numpy(), q.variance.double().numpy()
        precision = np.maximum(1 / variance - 1 / known.variance, LEAST / known.variance)
        y = (told / variance - known.mean / known.variance) / precision
        D = 1 / np.sqrt(precision)
        error = D[:, :, None] * known.errors * D[:, None, :]  # the new part of the errors
        again = D[:, :, None] * known.shared  # and what w adds to them
        r = y - self.mean - _apply(again, self._w)
        zy = self.covariance + self._zw @ again.mT
        S = zy + again @ self._zw.mT + again @ self._ww @ again.mT + error
        nis = (r * np.linalg.solve(S, r[..., None])[..., 0]).sum(-1)
        surprise = seen & (nis > self._limit) & self._begun
        self._count(nis, seen, surprise)
        wide = surprise[:, None, None] * r[:, :, None] * r[:, None, :]
        wy = D[:, None, :] * known.errors
        gains = np.concatenate((zy + wide, wy), 1) @ np.linalg.inv(S + wide)
        gains *= seen[:, None, None]
        n = self.mean.shape[1]
        K, L = gains[:, :n], gains[:, n:]
        self.covariance = _symmetric(self.covariance + wide - K @ (zy + wide).mT)
        self.mean, self._w = self.mean + _apply(K, r), _apply(L, r)
        self._zw, self._ww = -K @ wy.mT, _symmetric(known.errors - L @ wy.mT)

    def summary(self) -> dict[str, float | None]:
        """Return the mean NIS over n and the share of surprises; None where nothing was seen."""
        seen = self.seen.sum()
        if not seen:
            return {"nis": None, "gated": None}
        nis = float(self.nis.sum() / (seen * self.mean.shape[1]))
        return {"nis": nis, "gated": float(self.surprises.sum() / seen)}

    def _count(self, nis: Floats, seen: NDArray[np.bool_], surprise: NDArray[np.bool_]) -> None:
        counted = seen & self._begun
        self.nis += np.where(counted, nis, 0.0)
        self.seen += counted
        self.surprises += surprise


def _apply(matrix: Floats, vector: Floats) -> Floats:
    """``matrix [B, n, n] @ vector [B, n]``."""
    product: Floats = (matrix @ vector[..., None])[..., 0]
    return product


def _symmetric(matrix: Floats) -> Floats:
    """Return the symmetric part: the rest is rounding, which an unstable A would make grow."""
    return 0.5 * (matrix + matrix.mT)
