"""The belief in plain numpy, batched and without factors: what the compiled one is measured by."""

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.control.belief import Figures, surprising
from e2c.control.belief_kernels import LEAST, LEAST_SCALE, MEMORY, NOTHING
from e2c.models.gaussians import DiagonalGaussian
from planners import Dynamics

Floats = NDArray[np.float64]


class SimpleBelief:
    """See `e2c.control.belief.Belief`, whose attributes, arguments and methods these are."""

    def __init__(self, dynamics: Dynamics, figures: Figures, episodes: int) -> None:
        self.dynamics, self.figures = dynamics, figures
        B, n = episodes, len(figures.mean)
        self.mean = np.tile(figures.mean, (B, 1))
        self.covariance = np.tile(np.diag(figures.variance), (B, 1, 1))
        self.w = np.zeros((B, n))  # the mean of the last w
        self.ww = np.tile(figures.errors, (B, 1, 1))  # its covariance
        self.zw = np.zeros((B, n, n))  # the covariance of state and w
        self.limits = surprising(n)
        self.begun = False
        self.nis, self.seen, self.surprises, self.logarithms = np.zeros((4, B))
        self.scale = np.ones(B)

    def predict(self, u: Floats) -> None:
        z, control = torch.from_numpy(self.mean), torch.from_numpy(u)
        A = self.dynamics.linearize(z, control)[0].numpy()
        after = self.dynamics.step(z, control).numpy()
        far = np.square(after - self.mean).sum(-1)[:, None, None]
        self.mean, self.zw, self.begun = after, A @ self.zw, True
        self.covariance = A @ self.covariance @ A.mT + (
            self.figures.process * (1 + self.figures.speed * far)
        )

    def observe(self, q: DiagonalGaussian, seen: NDArray[np.bool_]) -> None:
        known = self.figures
        told, variance = q.mean.double().numpy(), q.variance.double().numpy()
        precision = 1 / variance - 1 / known.variance
        told_of = ~(precision <= LEAST / known.variance)
        precision = np.where(told_of, precision, NOTHING / known.variance)
        y = (told / variance - known.mean / known.variance) / precision
        D = 1 / np.sqrt(precision)
        error = D[:, :, None] * known.errors * D[:, None, :]  # the new part of the errors
        again = D[:, :, None] * known.shared  # and what w adds to them
        r = np.where(told_of, y - self.mean - apply(again, self.w), 0.0)
        zy = self.covariance + self.zw @ again.mT
        S = zy + again @ self.zw.mT + again @ self.ww @ again.mT + error
        nis = (r * np.linalg.solve(S, r[..., None])[..., 0]).sum(-1) / self.scale
        k = told_of.sum(-1)
        counted, limit = seen & self.begun & (k > 0), self.limits[k]
        surprise = counted & (nis > limit)
        self.nis += np.where(counted, nis / np.maximum(k, 1), 0.0)
        self.logarithms += np.where(counted, np.log(self.scale), 0.0)
        self.seen += counted
        self.surprises += surprise
        wide = (surprise / self.scale)[:, None, None] * r[:, :, None] * r[:, None, :]
        grown = MEMORY + (1 - MEMORY) * np.minimum(nis, limit) / np.maximum(k, 1)
        self.scale = np.where(counted, np.maximum(self.scale * grown, LEAST_SCALE), self.scale)
        wy = D[:, None, :] * known.errors
        gains = np.concatenate((zy + wide, wy), 1) @ np.linalg.inv(S + wide)
        gains *= seen[:, None, None]
        n = self.mean.shape[1]
        K, L = gains[:, :n], gains[:, n:]
        self.covariance = symmetric(self.covariance + wide - K @ (zy + wide).mT)
        self.mean, self.w = self.mean + apply(K, r), apply(L, r)
        self.zw, self.ww = -K @ wy.mT, symmetric(known.errors - L @ wy.mT)


def apply(matrix: Floats, vector: Floats) -> Floats:
    """``matrix [B, n, n] @ vector [B, n]``."""
    product: Floats = (matrix @ vector[..., None])[..., 0]
    return product


def symmetric(matrix: Floats) -> Floats:
    return 0.5 * (matrix + matrix.mT)
