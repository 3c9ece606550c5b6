"""Local models: linear-Gaussian dynamics of each time step, fitted to a few roll-outs.

``z_{t+1} = A_t z_t + B_t u_t + o_t + w_t`` with ``w_t ~ N(0, Sigma_t)``, for t = 0 .. T-1.

A few roll-outs alone do not determine so many numbers. So there is a conjugate prior, whose mean is
a global model's linearisation at the same step. In coordinates around the mean of the roll-outs,
``x = [z - z_mean; u - u_mean; 1]``, and with ``M = [A B o]`` in these coordinates, it is

``Sigma ~ IW(Psi_0, nu_0)``, ``M | Sigma ~ MN(M_0, Sigma, Lambda_0^-1)``

(matrix-normal, inverse-Wishart), with ``Lambda_0 = s diag(spread^2, 1)``, ``nu_0 = n + 1 + s`` and
``Psi_0 = s Sigma_0``: it counts as s transitions that the global model predicts, at points that
spread around the mean.

Sources: Levine & Abbeel 2014 (their background dynamics distribution: local models with a prior
along the controller's own trajectories); Zhang et al. 2019 (SOLAR; in a learned latent space);
Gelman et al. 2013, section 14.8, and Minka 2001 for the posterior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from e2c.errors import E2CError
from e2c.models.transitions import LocalLinearisation


@dataclass(frozen=True, eq=False)
class LocalPrior:
    """What is believed of the dynamics of every step before roll-outs are seen.

    Attributes:
        mean: the global model's linearisations, of T steps: ``A [T, n, n]``, ``B [T, n, m]``,
            ``o [T, n]``.
        noise: ``Sigma_0 [n, n]``, the covariance of the global model's error in a step.
        spread: ``[n + m]``, above 0: how far its transitions lie around the mean of the roll-outs,
            a standard deviation for each latent coordinate and control, in their units.
        strength: s, above 0: how many transitions it counts as. With ``s -> inf`` the fit is the
            prior's mean; with ``s -> 0`` it is least squares, where there are enough roll-outs.
    """

    mean: LocalLinearisation
    noise: Tensor
    spread: Tensor
    strength: float


@dataclass(frozen=True, eq=False)
class LocalDynamics:
    """Linear-Gaussian dynamics of T steps.

    Attributes:
        mean: ``A [T, n, n]``, ``B [T, n, m]``, ``o [T, n]``.
        covariance: ``Sigma [T, n, n]``.
    """

    mean: LocalLinearisation
    covariance: Tensor


def fit_local(z: Tensor, u: Tensor, prior: LocalPrior) -> LocalDynamics:
    """Return the posterior mean of the dynamics of every step, given R roll-outs.

    With ``X [R, n+m+1]`` and ``Y [R, n]``, the points and the next states of a step:

    * ``Lambda = X^T X + Lambda_0`` and ``M^T = Lambda^-1 (X^T Y + Lambda_0 M_0^T)``;
    * ``Psi = Psi_0 + (Y - X M^T)^T (Y - X M^T) + (M - M_0) Lambda_0 (M - M_0)^T``, and
      ``Sigma = Psi / (s + R)``, the mean of the inverse-Wishart.

    Args:
        z: ``[R, T+1, n]``: latent codes of what was seen.
        u: ``[R, T, m]``: the controls that acted.
        prior: of T steps, of the same dtype.

    Raises:
        E2CError: when the prior's strength or spread is not above 0, or shapes do not fit.
    """
    _check(z, u, prior)
    s, n, m = prior.strength, z.shape[-1], u.shape[-1]
    points, Y = torch.cat((z[:, :-1], u), -1).transpose(0, 1), z[:, 1:].transpose(0, 1)
    centre = points.mean(1)
    X = pad(points - centre[:, None], (0, 1), value=1.0)
    z_mean, u_mean = centre.split_with_sizes((n, m), -1)
    M_0 = torch.cat((prior.mean.A, prior.mean.B, prior.mean.step(z_mean, u_mean)[..., None]), -1)
    Lambda_0 = s * torch.diag(pad(prior.spread.square(), (0, 1), value=1.0))
    M = torch.linalg.solve(X.mT @ X + Lambda_0, X.mT @ Y + Lambda_0 @ M_0.mT).mT
    error, moved = Y - X @ M.mT, M - M_0
    Psi = s * prior.noise + error.mT @ error + moved @ Lambda_0 @ moved.mT
    A, B, at_mean = M.split_with_sizes((n, m, 1), -1)
    o = (at_mean - A @ z_mean[..., None] - B @ u_mean[..., None])[..., 0]
    return LocalDynamics(LocalLinearisation(A, B, o), Psi / (s + len(z)))


def _check(z: Tensor, u: Tensor, prior: LocalPrior) -> None:
    """Raise an E2CError unless roll-outs and prior fit together."""
    if not (prior.strength > 0 and bool((prior.spread > 0).all())):
        raise E2CError(
            f"The strength of a prior of local models is {prior.strength} and its spread "
            f"{prior.spread.tolist()}; give numbers above 0 (a small strength for little prior)."
        )
    R, T, m = u.shape
    n = z.shape[-1]
    found = [list(t.shape) for t in (z, prior.mean.A, prior.mean.B, prior.noise, prior.spread)]
    wanted = [[R, T + 1, n], [T, n, n], [T, n, m], [n, n], [n + m]]
    if found != wanted or R < 1:
        raise E2CError(
            f"Codes, the prior's A and B, its noise and its spread have the shapes {found}; with "
            f"controls of shape [R, T, m] = {[R, T, m]}, R at least 1, they are {wanted}: give all "
            "of the same roll-outs."
        )
