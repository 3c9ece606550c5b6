"""Bounds, fits and gradient estimators against models whose marginal and posterior are known."""

import dataclasses
import math

import pytest
import torch
from tiny import MODEL, SPEC, generator, images, tiny_model
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from e2c.lecture.closed_form import LinearGaussian, Mixture
from e2c.lecture.inference import (
    PerDatapoint,
    fit_posteriors,
    importance_weighted_bound,
    log_joint_of,
    log_weights,
    score_function_elbo,
)
from e2c.models.decoders import Decoder
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian

B, D, K = 5, 7, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def linear(n: int = 3) -> LinearGaussian:
    return LinearGaussian(draw(D, n, seed=1), draw(D, seed=2), torch.tensor(-0.7).double())


def diagonal(*shape: int, seed: int = 5) -> DiagonalGaussian:
    return DiagonalGaussian(draw(*shape, seed=seed), draw(*shape, seed=seed + 1))


def mixture() -> Mixture:
    return Mixture(draw(K, seed=3).log_softmax(0), diagonal(K, 2))


def test_the_density_of_a_mixture_is_that_of_torch() -> None:
    model, x = mixture(), draw(B, 2)
    parts = torch.distributions.Independent(
        torch.distributions.Normal(model.components.mean, model.components.std), 1
    )
    shares = torch.distributions.Categorical(logits=model.log_shares)
    p = torch.distributions.MixtureSameFamily(shares, parts)
    torch.testing.assert_close(model.log_density(x), p.log_prob(x))


@pytest.mark.parametrize("size", [B, 1])
def test_the_elbo_of_a_mixture_misses_the_kl_to_its_posterior(size: int) -> None:
    model, x = mixture(), draw(size, 2)
    log_q = draw(size, K, seed=9).log_softmax(-1)
    kl = (log_q.exp() * (log_q - model.log_posterior(x))).sum(-1)
    torch.testing.assert_close(model.elbo(x, log_q) + kl, model.log_density(x))


def test_a_step_of_expectation_maximisation_never_lowers_the_likelihood() -> None:
    model, x = mixture(), draw(40, 2, seed=11)
    for _ in range(10):
        before, model = model.log_density(x).mean(), model.improved(x)
        assert model.log_density(x).mean() >= before - 1e-12


@pytest.mark.parametrize("n", [3, 1])
def test_the_elbo_of_a_linear_model_misses_the_kl_to_its_posterior(n: int) -> None:
    model, x, q = linear(n), draw(B, D), diagonal(B, n)
    kl = kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), model.posterior(x))
    torch.testing.assert_close(model.elbo(x, q) + kl, model.log_density(x))


def test_the_joint_of_a_linear_model_is_marginal_times_posterior() -> None:
    model, x, z = linear(), draw(B, D), draw(B, 3, seed=8)
    found = model.log_density(x) + model.posterior(x).log_prob(z)
    torch.testing.assert_close(model.log_joint(x, z), found)
    torch.testing.assert_close(model.posterior(x[0]).mean, model.posterior(x).mean[0])


def test_no_other_linear_model_is_more_likely_than_the_fit() -> None:
    x = draw(60, 3, seed=4) @ draw(3, D, seed=1) + 0.3 * draw(60, D, seed=2)
    best = LinearGaussian.fit(x, 2)
    parameters = [p.clone().requires_grad_() for p in (best.W, best.b, best.log_variance)]
    LinearGaussian(*parameters).log_density(x).mean().backward()
    for parameter in parameters:
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-8


def test_the_weights_of_the_exact_posterior_are_all_the_marginal() -> None:
    model, x = LinearGaussian(draw(D, 1), draw(D), torch.tensor(0.2).double()), draw(B, D, seed=6)
    p = model.posterior(x)
    q = DiagonalGaussian(p.mean, p.variance.log())
    weights = log_weights(q, lambda z: model.log_joint(x, z), Generators(0), 3)
    torch.testing.assert_close(weights, model.log_density(x).expand(3, B))


def test_more_weights_bound_more_tightly() -> None:
    model, x, q = linear(), draw(1, D), DiagonalGaussian(draw(1, 3), torch.zeros(1, 3).double())
    weights = log_weights(q, lambda z: model.log_joint(x, z), Generators(1), 2**16)
    bounds = [importance_weighted_bound(weights.unflatten(0, (S, -1))).mean() for S in (1, 8, 64)]
    exact = model.log_density(x)[0]
    assert abs(bounds[0] - model.elbo(x, q)[0]) < 0.05 * (exact - bounds[0])
    assert bounds[0] < bounds[1] < bounds[2] < exact
    assert importance_weighted_bound(torch.zeros(6)) == pytest.approx(0)
    torch.testing.assert_close(
        importance_weighted_bound(torch.tensor([math.log(2), math.log(4)])),
        torch.tensor(math.log(3)),
    )


def test_a_fit_finds_the_best_diagonal_posterior() -> None:
    model, x = linear(2), draw(B, D)
    start = DiagonalGaussian(torch.zeros(B, 2).double(), torch.zeros(B, 2).double())
    fit = fit_posteriors(start, lambda z: model.log_joint(x, z), Generators(0), 300, samples=8)
    posterior = model.posterior(x)
    best = -posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).log()
    torch.testing.assert_close(fit.q.mean, posterior.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(fit.q.log_variance, best.expand(B, -1), atol=0.15, rtol=0)
    assert fit.bounds.shape == (300, B)
    assert (model.elbo(x, fit.q) > fit.bounds[0]).all()
    assert (start.mean == 0).all(), "the start is left as it was"


@pytest.mark.parametrize("estimator", ["pathwise", "score", "score with baseline"])
def test_an_estimated_gradient_has_the_mean_of_the_exact_one(estimator: str) -> None:
    model, x, samples, repeats = linear(), draw(1, D), 3, 4000
    q = diagonal(1, 3)
    leaves = [q.mean.requires_grad_(), q.log_variance.requires_grad_()]
    exact = torch.cat(torch.autograd.grad(model.elbo(x, q).sum(), leaves), -1)
    many = [leaf.detach().expand(repeats, -1).clone().requires_grad_() for leaf in leaves]

    def log_joint(z: Tensor) -> Tensor:
        return model.log_joint(x, z)

    q, draws = DiagonalGaussian(*many), Generators(2)
    if estimator == "pathwise":
        elbo = log_weights(q, log_joint, draws, samples).mean(0)
    else:
        elbo = score_function_elbo(q, log_joint, draws, samples, "baseline" in estimator)
    found = torch.cat(torch.autograd.grad(elbo.sum(), many), -1)
    error = found.std(0) / math.sqrt(repeats)
    assert ((found.mean(0) - exact[0]).abs() < 4 * error).all()


def test_a_baseline_takes_out_what_all_samples_have_in_common() -> None:
    """A constant added to ``log p(x, z)`` leaves the gradient as it is, sample by sample."""
    gradients = []
    for constant in (0.0, 50.0):

        def log_joint(z: Tensor, constant: float = constant) -> Tensor:
            return constant - z.square().sum(-1)

        mean = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
        q = DiagonalGaussian(mean, torch.zeros_like(mean))
        elbo = score_function_elbo(q, log_joint, Generators(1), 3, baseline=True)
        gradients.append(torch.autograd.grad(elbo, mean)[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_score_function_leaves_the_models_own_gradient_and_the_value_as_they_are() -> None:
    x, q, b = draw(B, D), diagonal(B, 3), draw(D, seed=2).requires_grad_()
    model = LinearGaussian(draw(D, 3, seed=1), b, torch.tensor(-0.7).double())
    estimates = [
        score_function_elbo(q, lambda z: model.log_joint(x, z), Generators(4), 2, baseline)
        for baseline in (False, True)
    ]
    estimates.append(log_weights(q, lambda z: model.log_joint(x, z), Generators(4), 2).mean(0))
    gradients = [torch.autograd.grad(estimate.sum(), b)[0] for estimate in estimates]
    for estimate, gradient in zip(estimates, gradients, strict=True):
        torch.testing.assert_close(estimate, estimates[0])
        torch.testing.assert_close(gradient, gradients[0])


@pytest.mark.parametrize("lattices", [1, 2])
def test_the_joint_of_a_decoder_counts_all_pixels(lattices: int) -> None:
    model = tiny_model(dataclasses.replace(MODEL, lattices=lattices))
    assert isinstance(model.decoder, Decoder)
    x, z = torch.rand(B, *SPEC.planes), torch.randn(2, B, 4)
    expected = -Decoder.negative_log_likelihood(
        model.decoder, z, x.expand(2, *x.shape), Generators(0)
    )
    prior = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(log_joint_of(model.decoder, x)(z), expected + prior)


def test_per_datapoint_inference_stands_in_for_an_encoder() -> None:
    model = tiny_model()
    assert isinstance(model.decoder, Decoder)
    frames = images(B)
    model.encoder = PerDatapoint(model.decoder, 4, 30)  # type: ignore[assignment]
    with torch.inference_mode():
        q = model.encode(frames)
    prior = DiagonalGaussian(torch.zeros(B, 4), torch.zeros(B, 4))
    log_joint = log_joint_of(model.decoder, torch.from_numpy(frames).float() / 255)
    expected = fit_posteriors(prior, log_joint, Generators(0), 30, 1, 0.2).q
    torch.testing.assert_close(q.mean, expected.mean)
    torch.testing.assert_close(q.log_variance, expected.log_variance)
    assert model.encode(frames[0]).mean.shape == (4,)
