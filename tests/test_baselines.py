"""The objectives that E2C is compared with, against their equations, written a second time."""

import dataclasses

import pytest
import torch
from tiny import MODEL, SPEC, batch_of, generator, images, tiny_model
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from e2c.models.base import LatentModel
from e2c.models.draws import Generators
from e2c.models.objectives import ObjectiveConfig

B = 5
FULL = dataclasses.replace(MODEL, lattices=1)
OBJECTIVE = ObjectiveConfig()
TIMES = [0, 2, 3]


def lively(method: str) -> LatentModel:
    """A model in which no term is small."""
    model = tiny_model(dataclasses.replace(FULL, method=method)).double()
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(3)))
        for parameter in model.encoder.parameters():
            parameter.mul_(1.3)
    return model


def windows() -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(images(B * len(TIMES), SPEC)).double() / 255
    u = torch.rand(B, TIMES[-1], len(SPEC.control_low), generator=generator(1)).double()
    return x.unflatten(0, (B, len(TIMES))), u


def log_p(model: LatentModel, x: Tensor, z: Tensor) -> Tensor:
    return Independent(Bernoulli(logits=model.decoder(z), validate_args=False), 3).log_prob(x)


def gradients(model: LatentModel, term: Tensor, part: str) -> list[Tensor | None]:
    parameters = list(getattr(model, part).parameters())
    return list(torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True))


def test_the_autoencoder_draws_its_means_and_fits_the_rest() -> None:
    model, (x, u) = lively("ae"), windows()
    terms = model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    mu = model.encoder(x).mean
    torch.testing.assert_close(terms["reconstruction"], -log_p(model, x, mu).mean())
    z, errors = mu[:, 0], []
    for t in range(TIMES[-1]):
        local = model.transition(z, u[:, t])
        z = torch.einsum("bij,bj->bi", local.A, z) + torch.einsum("bij,bj->bi", local.B, u[:, t])
        z = z + local.o
        if t + 1 in TIMES:
            errors.append((z - mu[:, TIMES.index(t + 1)]).pow(2).sum(-1))
    spread = mu.reshape(-1, mu.shape[-1]).var(0).sum()
    torch.testing.assert_close(terms["fit"], torch.stack(errors).mean() / spread)


@pytest.mark.parametrize("method", ["vae", "slow_vae"])
def test_the_vae_is_the_elbo_of_every_observation(method: str) -> None:
    model, (x, u) = lively(method), windows()
    terms = model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    q = model.encoder(x)
    z = q.sample(Generators(4))
    kl = kl_divergence(Normal(q.mean, q.std), Normal(torch.zeros_like(z), torch.ones_like(z)))
    torch.testing.assert_close(terms["reconstruction"], -log_p(model, x, z).mean())
    torch.testing.assert_close(terms["prior_kl"], kl.sum(-1).mean())


def test_slowness_is_the_kl_of_the_next_encoding_to_this_one() -> None:
    model, (x, u) = lively("slow_vae"), windows()
    terms = model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    q = model.encoder(x)
    now, following = Normal(q.mean[:, :-1], q.std[:, :-1]), Normal(q.mean[:, 1:], q.std[:, 1:])
    expected = kl_divergence(following, now).sum(-1).mean()
    torch.testing.assert_close(terms["slowness"], expected)
    assert expected > 0.02
    assert model.weights(OBJECTIVE, 0.25)["slowness"] == 0.25
    assert "slowness" not in lively("vae").weights(OBJECTIVE, 0.25)


@pytest.mark.parametrize("method", ["ae", "vae", "slow_vae"])
def test_the_fit_trains_the_transition_alone(method: str) -> None:
    model, (x, u) = lively(method), windows()
    terms = model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    assert all(
        g is not None and g.abs().max() > 0 for g in gradients(model, terms["fit"], "transition")
    )
    assert all(g is None for g in gradients(model, terms["fit"], "encoder"))
    for name in set(terms) - {"fit"}:
        assert all(g is None for g in gradients(model, terms[name], "transition")), name


def test_without_the_latent_kl_it_is_looked_at_but_not_weighed() -> None:
    model, (x, u) = lively("no_latent_kl"), windows()
    assert model.weights(OBJECTIVE, 50.0).keys() == {"reconstruction", "prediction", "prior_kl"}
    whole = lively("e2c").terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    torch.testing.assert_close(model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE), whole)


@pytest.mark.parametrize("method", ["nonlinear", "global"])
def test_another_transition_carries_the_belief_by_its_own_jacobian(method: str) -> None:
    model, (x, u) = lively(method), windows()
    terms = model.terms(batch_of(x, u, TIMES), Generators(4), OBJECTIVE)
    q = model.encoder(x)
    z, mean = q[:, 0].sample(Generators(4)), q.mean[:, 0]
    covariance, kl, nll = torch.diag_embed(q.variance[:, 0]), [], [-log_p(model, x[:, 0], z)]
    jacobian = torch.func.vmap(torch.func.jacrev(model.transition.step))
    for t in range(TIMES[-1]):
        A, following = jacobian(z, u[:, t]), model.transition.step(z, u[:, t])
        mean = following + torch.einsum("bij,bj->bi", A, mean - z)
        z, covariance = following, A @ covariance @ A.mT
        if t + 1 in TIMES:
            s = TIMES.index(t + 1)
            target = MultivariateNormal(q.mean[:, s], torch.diag_embed(q.variance[:, s]))
            kl.append(kl_divergence(MultivariateNormal(mean, covariance), target))
            nll.append(-log_p(model, x[:, s], z))
    torch.testing.assert_close(terms["latent_kl"], torch.stack(kl).mean())
    torch.testing.assert_close(terms["prediction"], torch.stack(nll[1:]).mean())
