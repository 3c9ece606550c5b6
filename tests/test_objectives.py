"""The objective against the published formula, written here a second time and otherwise."""

import dataclasses
from collections.abc import Mapping
from unittest import mock

import pytest
import torch
from tiny import MODEL, ONE_CONTROL, SPEC, batch_of, generator, images, noise_data, tiny_model
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, kl_divergence

from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.draws import Generators
from e2c.models.objectives import Batch, ObjectiveConfig, draw_times
from e2c.models.options import ModelConfig

B = 5
FULL = dataclasses.replace(MODEL, lattices=1)


def windows(
    times: int, horizon: int, batch: int = B, spec: ProblemSpec = SPEC
) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(images(batch * times, spec)).double() / 255
    low, high = torch.tensor(spec.control_low), torch.tensor(spec.control_high)
    u = low + (high - low) * torch.rand(batch, horizon, len(low), generator=generator(1))
    return x.unflatten(0, (batch, times)), u.double()


def lively(config: ModelConfig = FULL, spec: ProblemSpec = SPEC) -> LatentModel:
    """A model in which no term is small: v and r free, beliefs of different spread."""
    model = tiny_model(config, spec).double()
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(3)))
        for parameter in model.encoder.parameters():
            parameter.mul_(1.3)
    return model


def terms_of(model: LatentModel, x: Batch, seed: int) -> dict[str, Tensor]:
    return model.terms(x, Generators(seed), ObjectiveConfig())


def total(model: LatentModel, terms: Mapping[str, Tensor], latent_weight: float) -> Tensor:
    weights = model.weights(ObjectiveConfig(), latent_weight)
    return torch.stack([share * terms[name] for name, share in weights.items()]).sum()


def published(model: LatentModel, x: Tensor, u: Tensor, latent_weight: float, seed: int) -> Tensor:
    """Watter et al. 2015, eqs. 9-12, for windows of one step; full covariances, full pictures."""
    now, following = model.encoder(x[:, 0]), model.encoder(x[:, 1])
    eps = torch.randn(now.mean.shape, generator=generator(seed), dtype=x.dtype)
    z = now.mean + torch.exp(now.log_variance / 2) * eps
    local = model.transition(z, u[:, 0])
    A, B_, o = local.A, local.B, local.o
    Sigma = torch.diag_embed(now.log_variance.exp())
    predicted = MultivariateNormal(
        torch.einsum("bij,bj->bi", A, now.mean) + torch.einsum("bij,bj->bi", B_, u[:, 0]) + o,
        A @ Sigma @ A.mT,
    )
    q = MultivariateNormal(now.mean, Sigma)
    q_next = MultivariateNormal(following.mean, torch.diag_embed(following.log_variance.exp()))
    unit = MultivariateNormal(torch.zeros_like(now.mean), torch.eye(z.shape[-1]).to(z))
    z_next = torch.einsum("bij,bj->bi", A, z) + torch.einsum("bij,bj->bi", B_, u[:, 0]) + o
    log_p = [
        Bernoulli(logits=model.decoder(zs), validate_args=False).log_prob(xs).sum((1, 2, 3))
        for zs, xs in ((z, x[:, 0]), (z_next, x[:, 1]))
    ]
    kl = kl_divergence(q, unit) + latent_weight * kl_divergence(predicted, q_next)
    return (-log_p[0] - log_p[1] + kl).mean()


@pytest.mark.parametrize("batch", [1, B])
@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
def test_one_step_is_the_published_loss(batch: int, spec: ProblemSpec) -> None:
    model, (x, u) = lively(spec=spec), windows(2, 1, batch, spec)
    terms = terms_of(model, batch_of(x, u, [0, 1]), 4)
    for latent_weight in (0.25, 50.0):
        expected = published(model, x, u, latent_weight, seed=4)
        torch.testing.assert_close(total(model, terms, latent_weight), expected)


def test_no_term_of_that_comparison_was_small() -> None:
    terms = terms_of(lively(), batch_of(*windows(2, 1), [0, 1]), 4)
    assert min(value.item() for value in terms.values()) > 0.3


def test_only_the_latent_kl_is_weighed() -> None:
    weights = dict(lively().weights(ObjectiveConfig(), 0.25))
    assert weights.pop("latent_kl") == 0.25
    assert weights == dict.fromkeys(("reconstruction", "prediction", "prior_kl"), 1)


def test_a_longer_roll_out_carries_sample_and_belief_along() -> None:
    times, model = [0, 2, 3, 6], lively()
    x, u = windows(len(times), 7)
    q = model.encoder(x)
    z, mean = q[:, 0].sample(Generators(4)), q.mean[:, 0]
    covariance = torch.diag_embed(q.variance[:, 0])
    nll = [-Bernoulli(logits=model.decoder(z), validate_args=False).log_prob(x[:, 0])]
    kl = []
    for t in range(6):
        local = model.transition(z, u[:, t])
        push = (local.B @ u[:, t, :, None])[..., 0] + local.o
        z = (local.A @ z[..., None])[..., 0] + push
        mean = (local.A @ mean[..., None])[..., 0] + push
        covariance = local.A @ covariance @ local.A.mT
        if t + 1 in times:
            s = times.index(t + 1)
            drawn = Bernoulli(logits=model.decoder(z), validate_args=False)
            nll.append(-drawn.log_prob(x[:, s]))
            target = MultivariateNormal(q.mean[:, s], torch.diag_embed(q.variance[:, s]))
            kl.append(kl_divergence(MultivariateNormal(mean, covariance), target))
    terms = terms_of(model, batch_of(x, u, times), 4)
    per_observation = torch.stack(nll).sum((2, 3, 4)).mean(1)
    torch.testing.assert_close(terms["reconstruction"], per_observation[0])
    torch.testing.assert_close(terms["prediction"], per_observation[1:].mean())
    torch.testing.assert_close(terms["latent_kl"], torch.stack(kl).mean())


@pytest.mark.parametrize("lattices", [2, 3])
def test_one_lattice_estimates_the_likelihood_without_bias(lattices: int) -> None:
    model = lively(dataclasses.replace(MODEL, lattices=lattices))
    x, u = windows(2, 1)
    drawn = _quiet(model)
    found = []
    for lattice in range(lattices**2):
        with mock.patch.object(Generators, "choice", lambda *_, chosen=lattice: chosen):
            found.append(terms_of(drawn, batch_of(x, u, [0, 1]), 0))
    q = _quiet(model).encoder(x[:, 0])
    whole = Bernoulli(logits=model.decoder(q.mean), validate_args=False).log_prob(x[:, 0])
    estimates = torch.stack([terms["reconstruction"] for terms in found])
    assert estimates.std() > 1e-3, "every lattice is another estimate"
    torch.testing.assert_close(estimates.mean(), -whole.sum((1, 2, 3)).mean(), rtol=0.01, atol=0)


def _quiet(model: LatentModel) -> LatentModel:
    """Let the encoder's samples be its means, nearly, so that only the lattice is drawn."""
    with torch.no_grad():
        last = model.encoder.get_submodule("net")[-1]  # type: ignore[index]
        last.weight.chunk(2)[1].zero_()
        last.bias.chunk(2)[1].fill_(-99.0)
    return model


@pytest.mark.parametrize(("horizon", "targets"), [(1, 1), (8, 3), (8, 8), (7, 2), (5, 1), (10, 4)])
def test_times_are_one_in_each_part(horizon: int, targets: int) -> None:
    draws = Generators(0)
    drawn = [draw_times(horizon, targets, draws) for _ in range(300)]
    assert all(times[0] == 0 and len(times) == targets + 1 for times in drawn)
    assert all(sorted(set(times)) == times for times in drawn), "ascending, each once"
    assert {t for times in drawn for t in times} == set(range(horizon + 1)), "all are drawn"
    assert draw_times(horizon, targets, Generators(1)) == drawn[0], "the same for every seed"


def test_the_gradient_reaches_every_weight() -> None:
    model = tiny_model(FULL)
    data = noise_data((9,))
    x = torch.from_numpy(data.planes()[:3]).float()[None] / 255
    u = torch.from_numpy(data.actions[:4])[None]
    terms = terms_of(model, batch_of(x, u, [0, 2, 4]), 0)
    for name in ("prediction", "latent_kl"):
        model.zero_grad()
        terms[name].backward(retain_graph=True)
        parts = {"encoder", "transition"} | ({"decoder"} if name == "prediction" else set())
        for part in parts:
            for label, parameter in model.get_submodule(part).named_parameters():
                gradient = parameter.grad
                assert gradient is not None, f"{name} by {part}.{label}"
                assert gradient.abs().max() > 0, f"{name} by {part}.{label}"


def test_the_generator_decides_the_loss() -> None:
    model, (x, u) = lively(), windows(2, 1)
    one, again, other = (terms_of(model, batch_of(x, u, [0, 1]), s) for s in (1, 1, 2))
    assert torch.equal(total(model, one, 1.0), total(model, again, 1.0))
    assert not torch.equal(total(model, one, 1.0), total(model, other, 1.0))


def test_extreme_logits_leave_the_loss_finite() -> None:
    model, (x, u) = lively(), windows(2, 1)
    with torch.no_grad():
        model.get_parameter("decoder.heads.0.0.bias").fill_(1e4)
    terms = terms_of(model, batch_of(x.round(), u, [0, 1]), 0)
    assert total(model, terms, 1.0).isfinite()
