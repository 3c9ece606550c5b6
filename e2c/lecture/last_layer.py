"""A Bayesian last layer: how much one more transition tells about the latent dynamics.

The hidden layers of a trained transition f stay as they are. With the features ``phi(z, u)`` that
they give, its last layer is learned on with a Gaussian posterior. What is unknown is by how much,
w, its weights are to be changed. For each latent dimension j::

    z'_j = f_j(z, u) + w_j^T phi(z, u) + e_j        e_j ~ N(0, s_j^2)        w_j ~ N(0, I / lambda)

After transitions with the features ``Phi [N, d]`` and the errors ``y_j = z'_j - f_j [N]``::

    w_j | Phi, y ~ N(m_j, Lambda_j^-1)
    Lambda_j = lambda I + Phi^T Phi / s_j^2        m_j = Lambda_j^-1 Phi^T y_j / s_j^2

What one more transition tells about the weights is how much their entropy falls::

    H(w_j) - H(w_j | transition) = 1/2 log(1 + phi^T Lambda_j^-1 phi / s_j^2)

It does not depend on where the transition leads, so it is known before. It is also the divergence
``KL(w_j | transition || w_j)`` that is expected before, which VIME maximises.

Source: MacKay 1992, "Information-based objective functions for active data selection"; Snoek et al.
2015 (the last layer of a network); Houthooft et al. 2016, VIME.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from e2c.models.transitions import Transition

LEAST_NOISE = 1e-12
"""Variance of the noise on an output at least [latent units squared]."""


class LastLayer:
    """A Gaussian posterior over the weights w of n outputs that are linear in d features.

    It begins as the prior. The arithmetic is in float64, but for `gain`, which is in the dtype of
    its features.

    Args:
        prior: lambda, the precision of every weight before anything is observed.
        noise: ``s^2 [n]``, the variance of the noise on each output.
        features: d.
    """

    def __init__(self, prior: float, noise: Tensor, features: int) -> None:
        self.prior, self.noise = prior, noise.double()
        self._gram = self.noise.new_zeros(features, features)  # Phi^T Phi
        self._cross = self.noise.new_zeros(features, len(noise))  # Phi^T y

    def observe(self, phi: Tensor, y: Tensor) -> None:
        """Learn from the features ``phi [N, d]`` and the errors ``y [N, n]`` of N transitions."""
        phi = phi.double()
        self._gram = self._gram + phi.mT @ phi
        self._cross = self._cross + phi.mT @ y.double()
        self.__dict__.pop("_spectrum", None)

    @property
    def precision(self) -> Tensor:
        """``Lambda [n, d, d]``."""
        identity = torch.eye(len(self._gram)).to(self._gram)
        return self.prior * identity + self._gram / self.noise[:, None, None]

    @property
    def mean(self) -> Tensor:
        """``m [n, d]``."""
        vectors, variances = self._spectrum
        return ((vectors.mT @ self._cross).mT * variances / self.noise[:, None]) @ vectors.mT

    def gain(self, phi: Tensor) -> Tensor:
        """Return what a transition with the features ``phi [..., d]`` tells, ``[..., n]`` in nats.

        All ``Lambda_j`` have the eigenvectors of ``Phi^T Phi``, so features are turned only once.
        """
        vectors, variances = (part.to(phi) for part in self._spectrum)
        told = (phi @ vectors).square() @ (variances / self.noise.to(phi)[:, None]).mT
        return 0.5 * told.log1p()

    @functools.cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvectors ``[d, d]`` of ``Phi^T Phi`` and the variances ``[n, d]`` along them."""
        values, vectors = torch.linalg.eigh(self._gram)
        return vectors, 1 / (self.prior + values.clamp(min=0) / self.noise[:, None])


@torch.no_grad()
def last_layer_of(transition: Transition, z: Tensor, u: Tensor, after: Tensor) -> LastLayer:
    """Return what N transitions tell about the last layer of latent dynamics.

    The prior says that a weight is as uncertain as it is large, in the mean over all. The noise is
    the error that the dynamics make; where they make none, a little.

    Args:
        transition: trained.
        z: ``[N, n]``, latent states.
        u: ``[N, m]``, controls, in the world's unit.
        after: ``[N, n]``, the latent states that followed.
    """
    phi, y = transition.features(z, u), after - transition.step(z, u)
    W = torch.cat(transition.last_weights(), -1)
    noise = y.square().mean(0).clamp(min=LEAST_NOISE)
    layer = LastLayer(1 / float(W.square().mean()), noise, phi.shape[-1])
    layer.observe(phi, y)
    return layer
