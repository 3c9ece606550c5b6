"""Local models: their posterior against closed forms, and a system that is recovered."""

import pytest
import torch
from tiny import generator
from torch import Tensor

from e2c.errors import E2CError
from e2c.lecture.local_models import LocalPrior, fit_local
from e2c.models.transitions import LocalLinearisation

R, T, n, m = 11, 4, 3, 2


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def system(seed: int) -> LocalLinearisation:
    """Some dynamics of T steps."""
    parts = (normal(T, n, k, seed=seed + k) for k in (n, m, 1))
    A, B, o = parts
    return LocalLinearisation(0.5 * A, B, o[..., 0])


def prior(strength: float, mean: LocalLinearisation | None = None) -> LocalPrior:
    noise = torch.diag(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    spread = torch.tensor([0.5, 1.0, 2.0, 0.7, 0.1], dtype=torch.float64)
    return LocalPrior(mean or system(50), noise, spread, strength)


def played(mean: LocalLinearisation, noise: float, count: int = R) -> tuple[Tensor, Tensor]:
    """Roll-outs of dynamics under random controls."""
    u, z = normal(count, T, m, seed=1), [normal(count, n, seed=2)]
    for t in range(T):
        local = LocalLinearisation(mean.A[t], mean.B[t], mean.o[t])
        z.append(local.step(z[-1], u[:, t]) + noise * normal(count, n, seed=3 + t))
    return torch.stack(z, 1), u


def close(found: LocalLinearisation, wanted: LocalLinearisation, tolerance: float) -> None:
    for name, value in vars(wanted).items():
        torch.testing.assert_close(getattr(found, name), value, atol=tolerance, rtol=0)


@pytest.mark.parametrize("count", [R, 1])
def test_a_strong_prior_is_the_fit(count: int) -> None:
    z, u = played(system(20), 0.1, count)
    found = fit_local(z, u, prior(1e12))
    close(found.mean, prior(1.0).mean, 1e-8)
    torch.testing.assert_close(found.covariance, prior(1.0).noise.expand(T, n, n))


def test_a_weak_prior_leaves_least_squares() -> None:
    z, u = played(system(20), 0.1)
    found = fit_local(z, u, prior(1e-12))
    for t in range(T):
        X = torch.cat((z[:, t], u[:, t], torch.ones(R, 1, dtype=torch.float64)), -1)
        M = torch.linalg.lstsq(X, z[:, t + 1]).solution
        fitted = (found.mean.A[t], found.mean.B[t], found.mean.o[t][:, None])
        torch.testing.assert_close(torch.cat(fitted, -1), M.mT, atol=1e-8, rtol=0)
        error = z[:, t + 1] - X @ M
        torch.testing.assert_close(found.covariance[t], error.mT @ error / R, atol=1e-8, rtol=0)


def test_the_prior_counts_as_transitions_of_the_global_model() -> None:
    """With points at ``centre +- sqrt(s (n+m) / 2 ...)``, made up transitions give the same fit."""
    z, u = played(system(20), 0.3)
    s, mean, spread = 3.0, prior(1.0).mean, prior(1.0).spread
    found = fit_local(z, u, prior(s, mean))
    for t in range(T):
        points = torch.cat((z[:, t], u[:, t]), -1)
        centre = points.mean(0)
        away = torch.diag(spread) * (n + m) ** 0.5
        made = centre + torch.cat((away, -away))  # second moment spread^2, 2 (n+m) points
        local = LocalLinearisation(mean.A[t], mean.B[t], mean.o[t])
        told = local.step(made[:, :n], made[:, n:])
        weight = torch.cat((torch.ones(R), torch.full((len(made),), s / len(made)))).double()
        X = torch.cat((torch.cat((points, made)), torch.ones(len(weight), 1).double()), -1)
        Y = torch.cat((z[:, t + 1], told))
        root = weight.sqrt()[:, None]
        M = torch.linalg.lstsq(root * X, root * Y).solution.mT
        fitted = (found.mean.A[t], found.mean.B[t], found.mean.o[t][:, None])
        torch.testing.assert_close(torch.cat(fitted, -1), M)
        error = Y - X @ M.mT
        scatter = (weight[:, None] * error).mT @ error + s * prior(s).noise
        torch.testing.assert_close(found.covariance[t], scatter / (s + R))


def test_a_linear_gaussian_system_is_recovered() -> None:
    truth = system(20)
    few, many = (fit_local(*played(truth, 0.1, count), prior(1.0)) for count in (R, 20_000))
    close(many.mean, truth, 0.02)
    noise = 0.01 * torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(many.covariance, noise.expand(T, n, n), atol=1e-3, rtol=0)
    assert (few.mean.A - truth.A).square().mean() > (many.mean.A - truth.A).square().mean()


def test_no_step_knows_of_the_others() -> None:
    z, u = played(system(20), 0.1)
    found = fit_local(z, u, prior(2.0))
    later = fit_local(z[:, 1:], u[:, 1:], prior(2.0, tail(prior(1.0).mean)))
    close(later.mean, tail(found.mean), 1e-12)


def tail(mean: LocalLinearisation) -> LocalLinearisation:
    return LocalLinearisation(mean.A[1:], mean.B[1:], mean.o[1:])


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_a_prior_without_strength_is_refused(strength: float) -> None:
    with pytest.raises(E2CError, match="above 0"):
        fit_local(*played(system(20), 0.1), prior(strength))


def test_roll_outs_of_other_lengths_than_the_prior_are_refused() -> None:
    z, u = played(system(20), 0.1)
    with pytest.raises(E2CError, match=r"\[11, 3, 2\]"):
        fit_local(z[:, 1:], u[:, 1:], prior(1.0))
