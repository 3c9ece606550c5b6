"""Gaussian mathematics against torch.distributions, which knows nothing of factors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import generator
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from e2c.models.draws import Generators
from e2c.models.gaussians import (
    DiagonalGaussian,
    FactoredGaussian,
    kl_to_diagonal,
    kl_to_standard_normal,
)

B, N = 5, 3
Step = tuple[Tensor, Tensor, Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def diagonal(*shape: int, seed: int = 0) -> DiagonalGaussian:
    return DiagonalGaussian(draw(*shape, seed=seed), 1.5 * draw(*shape, seed=seed + 100))


def normal(q: DiagonalGaussian) -> MultivariateNormal:
    return MultivariateNormal(q.mean, torch.diag_embed(q.log_variance.exp()))


def rank_one_step(*shape: int, seed: int) -> Step:
    """``A = I + v r^T``, an offset, and ``log |det A|``."""
    v, r, offset = (draw(*shape, seed=seed + i) for i in range(3))
    A = torch.eye(shape[-1], dtype=torch.float64) + v[..., :, None] * r[..., None, :]
    return A, offset, (1 + (v * r).sum(-1)).abs().log()


def push(p: FactoredGaussian, A: Tensor, offset: Tensor, log_det: Tensor) -> FactoredGaussian:
    """What p becomes in ``z' = A z + offset``."""
    mean = (A @ p.mean[..., None])[..., 0] + offset
    return FactoredGaussian(mean, A @ p.factor, p.log_det + log_det)


@pytest.mark.parametrize("shape", [(N,), (B, N), (2, B, N), (1, 1)])
def test_kl_to_standard_normal(shape: tuple[int, ...]) -> None:
    q = diagonal(*shape)
    unit = MultivariateNormal(torch.zeros(shape[-1:]).double(), torch.eye(shape[-1]).double())
    torch.testing.assert_close(kl_to_standard_normal(q), kl_divergence(normal(q), unit))


def test_variance_and_std_are_those_of_the_log_variance() -> None:
    q = DiagonalGaussian(torch.zeros(2), torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(q.variance, torch.tensor([1.0, 7.3890561]))
    torch.testing.assert_close(q.std, torch.tensor([1.0, 2.7182818]))


@pytest.mark.parametrize("shape", [(N,), (B, N), (2, B, N), (1, 1)])
def test_log_density_and_entropy(shape: tuple[int, ...]) -> None:
    q, z = diagonal(*shape), draw(*shape, seed=5)
    torch.testing.assert_close(q.log_density(z), normal(q).log_prob(z))
    torch.testing.assert_close(q.entropy(), normal(q).entropy())


def test_every_point_has_a_log_density_under_every_gaussian() -> None:
    q, z = diagonal(B, N), draw(2, N, seed=5)
    every = q[None].log_density(z[:, None])
    assert every.shape == (2, B)
    torch.testing.assert_close(every[1, 3], q[3].log_density(z[1]))


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("shape", [(N,), (B, N), (2, B, N), (1, 1)])
def test_latent_kl_of_a_propagated_belief(shape: tuple[int, ...], steps: int) -> None:
    p, q = FactoredGaussian.from_diagonal(diagonal(*shape, seed=1)), diagonal(*shape, seed=2)
    for step in range(steps):
        p = push(p, *rank_one_step(*shape, seed=11 * step))
    expected = kl_divergence(MultivariateNormal(p.mean, p.covariance), normal(q))
    torch.testing.assert_close(kl_to_diagonal(p, q), expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), spread=st.floats(0.01, 30))
def test_latent_kl_is_never_negative(seed: int, n: int, spread: float) -> None:
    p = FactoredGaussian.from_diagonal(diagonal(n, seed=seed))
    A, offset, log_det = rank_one_step(n, seed=seed + 1)
    p = push(p, A, spread * offset, log_det)
    assert kl_to_diagonal(p, diagonal(n, seed=seed + 2)) >= -1e-9


def test_latent_kl_is_zero_between_equals() -> None:
    q = diagonal(B, N)
    zero = torch.zeros(B, dtype=torch.float64)
    torch.testing.assert_close(kl_to_diagonal(FactoredGaussian.from_diagonal(q), q), zero)


def test_the_log_determinant_counts_twice_inside_the_half() -> None:
    """Carried onto the encoding itself, a belief has no KL; with the determinant once, log 0.1 / 2.

    The closed form printed in the supplement of Watter et al. 2015 is wrong in this term.
    """
    one = torch.ones(1, dtype=torch.float64)
    q = DiagonalGaussian(0 * one, 2 * torch.log(0.1 * one))
    unit = FactoredGaussian.from_diagonal(DiagonalGaussian(0 * one, 0 * one))
    p = push(unit, 0.1 * one[None], 0 * one, torch.log(0.1 * one[0]))
    torch.testing.assert_close(kl_to_diagonal(p, q), 0 * one[0])


def test_samples_have_the_moments_asked_for() -> None:
    q = DiagonalGaussian(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 2.0, -3.0]))
    many = DiagonalGaussian(q.mean.expand(40_000, 3), q.log_variance.expand(40_000, 3))
    z = many.sample(Generators(0))
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.04, atol=0)
    off_diagonal = torch.corrcoef(z.T) - torch.eye(3)
    assert off_diagonal.abs().max() < 0.03


def test_the_generator_decides_the_sample_and_the_global_one_is_untouched() -> None:
    q = diagonal(B, N)
    before = torch.get_rng_state()
    one, again, other = (q.sample(Generators(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_sampling_is_reparameterised() -> None:
    mean = torch.zeros(B, N, requires_grad=True)
    log_variance = torch.zeros(B, N, requires_grad=True)
    z = DiagonalGaussian(mean, log_variance).sample(Generators(0))
    by_mean, by_log_variance = torch.autograd.grad(z.sum(), (mean, log_variance))
    torch.testing.assert_close(by_mean, torch.ones(B, N))
    torch.testing.assert_close(by_log_variance, z.detach() / 2)


def test_indexing_takes_leading_dimensions_of_both() -> None:
    q = diagonal(2, B, N)
    torch.testing.assert_close(q[:, 1].mean, q.mean[:, 1])
    torch.testing.assert_close(q[:, 1].log_variance, q.log_variance[:, 1])
