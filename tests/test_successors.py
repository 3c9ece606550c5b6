"""RCE, PCC and PC3 term by term against the published formulas, written here a second time.

The oracles draw the same noise in the same order, and take densities from torch.distributions and
derivatives from finite differences or autograd.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import pytest
import torch
from tiny import MODEL, ONE_CONTROL, SPEC, batch_of, generator, images, tiny_model
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, MultivariateNormal, kl_divergence

from e2c.errors import E2CError
from e2c.learning.schedule import OptimiserConfig
from e2c.learning.trainer import Trainer
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.decoders import Decoder, Gallery
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.methods import METHODS
from e2c.models.successors import (
    PC3,
    PCC,
    RCE,
    AmortisedJacobian,
    AmortisedPCC,
    CurvatureObjective,
    RCEObjective,
    info_nce,
    taylor_remainder,
)
from e2c.models.transitions import GlobalLinear

B, N = 5, MODEL.latent_dim
OBJECTIVES = {
    RCEObjective: RCEObjective(horizon=1, targets=1, prior_weight=0.2),
    CurvatureObjective: CurvatureObjective(
        horizon=1, targets=1, curvature_weight=3.0, curvature_noise=0.3
    ),
}
SUCCESSORS = {"rce": RCE, "pcc": PCC, "pcc_amortised": AmortisedPCC, "pc3": PC3}
Terms = dict[str, Tensor]


@functools.cache
def standard() -> MultivariateNormal:
    """N(0, I); not made while tests are collected, since that imports torch's compiler."""
    return MultivariateNormal(torch.zeros(N).double(), torch.eye(N).double())


def window(batch: int = B, spec: ProblemSpec = SPEC) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(images(2 * batch, spec)).double() / 255
    low, high = torch.tensor(spec.control_low), torch.tensor(spec.control_high)
    u = low + (high - low) * torch.rand(batch, 1, len(low), generator=generator(1))
    return x.unflatten(0, (batch, 2)), u.double()


def lively(method: str, spec: ProblemSpec = SPEC) -> LatentModel:
    """A model in which no term is small, the curvature least of all."""
    model = tiny_model(dataclasses.replace(MODEL, method=method, lattices=1), spec).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator(3)))
        for parameter in model.transition.parameters():
            parameter.mul_(2)
    return model


def evaluate(model: LatentModel, x: Tensor, u: Tensor, seed: int = 4) -> Terms:
    return model.terms(batch_of(x, u, [0, 1]), Generators(seed), OBJECTIVES[model.objective])


def normal(q: DiagonalGaussian) -> MultivariateNormal:
    return MultivariateNormal(q.mean, torch.diag_embed(q.log_variance.exp()))


def draw(q: Distribution, noise: Generators) -> Tensor:
    return q.mean + q.variance.sqrt() * noise.normal(q.mean)


def cost(model: LatentModel, z: Tensor, x: Tensor) -> Tensor:
    """``-log p(x|z)``, a batch mean."""
    assert isinstance(model.decoder, Decoder)
    p = Bernoulli(logits=model.decoder(z), validate_args=False)
    return -p.log_prob(x).sum((-3, -2, -1)).mean()


def scaled(u: Tensor) -> Tensor:
    return u / torch.tensor([2.0, 0.5], dtype=u.dtype)[: u.shape[-1]]


def states_and_controls(seed: int, batch: int = B) -> list[Tensor]:
    """``z, dz [batch, n]`` and ``u, du [batch, m]``."""
    noise = generator(seed)
    return [torch.randn(batch, k, generator=noise, dtype=torch.float64) for k in (N, N, 2, 2)]


def slopes(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Derivatives of ``f(at)``, ``[B, n, k]``, by central differences."""
    steps = 1e-5 * torch.eye(at.shape[-1], dtype=at.dtype)
    return torch.stack([(f(at + e) - f(at - e)) / 2e-5 for e in steps], -1)


def expected_curvature(model: LatentModel, z: Tensor, u: Tensor, noise: Generators) -> Tensor:
    f, scale = model.transition.step, u / scaled(u)
    dz, du = (0.3 * noise.normal(v) for v in (z, u))
    A, B_ = slopes(lambda v: f(v, u), z), slopes(lambda v: f(z, v), u)
    linear = torch.einsum("bij,bj->bi", A, dz) + torch.einsum("bij,bj->bi", B_, scale * du)
    return (f(z + dz, u + scale * du) - f(z, u) - linear).pow(2).sum(1).mean()


def expected_pcc(model: PCC, x: Tensor, u: Tensor, noise: Generators) -> Terms:
    """Levine et al. 2020, in the order in which the model draws."""
    q, v = model.encoder(x), u[:, 0]
    now, after = normal(q[:, 0]), normal(q[:, 1])
    z, successor = draw(now, noise), draw(after, noise)
    posterior = normal(model.backward_encoder(q[:, 0], scaled(v), successor))
    predicted = normal(model.predict(draw(posterior, noise), v))
    consistency = (
        kl_divergence(posterior, now) - after.entropy() - predicted.log_prob(successor)
    ).mean()
    curvature = expected_curvature(model, z, v, noise)
    return {
        "prediction": cost(model, successor, x[:, 1]),
        "consistency": consistency,
        "curvature": curvature,
        "deterministic": cost(model, model.transition.step(now.mean, v), x[:, 1]),
        "vae": cost(model, z, x[:, 0]) + kl_divergence(now, standard()).mean(),
    }


@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
def test_pcc_is_the_published_loss(spec: ProblemSpec) -> None:
    model, (x, u) = lively("pcc", spec), window(spec=spec)
    assert isinstance(model, PCC)
    found, expected = evaluate(model, x, u), expected_pcc(model, x, u, Generators(4))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs() > 0.02, f"{name} must not be small to be compared"
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8, msg=name)


def expected_rce(model: RCE, x: Tensor, u: Tensor, noise: Generators) -> Terms:
    """Banijamali et al. 2018: the density of the successor is a Gaussian's, pushed through A."""
    q, v = model.encoder(x), u[:, 0]
    now, after = normal(q[:, 0]), normal(q[:, 1])
    successor = draw(after, noise)
    posterior = normal(model.backward_encoder(q[:, 0], scaled(v), successor))
    local = model.transition(draw(posterior, noise), v)
    predicted = MultivariateNormal(
        local.step(now.mean, v), local.A @ now.covariance_matrix @ local.A.mT
    )
    consistency = kl_divergence(posterior, now) - after.entropy() - predicted.log_prob(successor)
    return {
        "prediction": cost(model, successor, x[:, 1]),
        "consistency": consistency.mean(),
        "prior_kl": kl_divergence(now, standard()).mean(),
    }


@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
def test_rce_is_the_published_bound(spec: ProblemSpec) -> None:
    model, (x, u) = lively("rce", spec), window(spec=spec)
    assert isinstance(model, RCE)
    found, expected = evaluate(model, x, u), expected_rce(model, x, u, Generators(4))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs() > 0.02, f"{name} must not be small to be compared"
        torch.testing.assert_close(found[name], value, msg=name)


def expected_pc3(model: PC3, x: Tensor, u: Tensor, noise: Generators) -> Terms:
    """Shu et al. 2020: every pair of a batch against every other, one at a time."""
    z, after = model.encoder(x).mean.unbind(1)
    v = u[:, 0]
    successor = after + 0.1 * noise.normal(after)
    p = normal(model.predict(z, v))
    scores = [
        [MultivariateNormal(p.mean[j], p.covariance_matrix[j]).log_prob(s) for j in range(B)]
        for s in successor
    ]
    information = [
        torch.log(s[i].exp() / (sum(s[j].exp() for j in range(B)) / B))
        for i, s in enumerate(scores)
    ]
    return {
        "prediction": math.log(B) - torch.stack(information).mean(),
        "consistency": -torch.stack([s[i] for i, s in enumerate(scores)]).mean(),
        "curvature": expected_curvature(model, z, v, noise),
        "centre": sum(z[:, i].mean() ** 2 for i in range(N)),
    }


@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
def test_pc3_is_the_published_loss(spec: ProblemSpec) -> None:
    model, (x, u) = lively("pc3", spec), window(spec=spec)
    assert isinstance(model, PC3)
    found, expected = evaluate(model, x, u), expected_pc3(model, x, u, Generators(4))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs() > 0.02, f"{name} must not be small to be compared"
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8, msg=name)


def test_a_transposed_jacobian_would_leave_a_first_order_error() -> None:
    """What public code computes, ``A^T dz``, is no Taylor expansion: its error is no smaller."""
    model = lively("pcc")
    z, dz, u, _ = states_and_controls(1)
    still = torch.zeros_like(u)
    A, _ = model.transition.jacobian(z, u)
    wrong, right = [], []
    for h in (1e-2, 1e-3):
        right.append(taylor_remainder(model.transition, z, u, h * dz, still).norm() / h)
        change = model.transition.step(z + h * dz, u) - model.transition.step(z, u)
        wrong.append((change - torch.einsum("bji,bj->bi", A, h * dz)).norm() / h)
    torch.testing.assert_close(right[1] / right[0], torch.tensor(0.1).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(wrong[1] / wrong[0], torch.tensor(1.0).double(), rtol=0.05, atol=0)


def test_a_linear_transition_has_no_remainder() -> None:
    transition = GlobalLinear(MODEL, torch.tensor([2.0, 0.5])).double()
    with torch.no_grad():
        for parameter in transition.parameters():
            parameter.normal_(generator=generator())
    z, dz, u, du = states_and_controls(4)
    assert taylor_remainder(transition, z, u, dz, du).abs().max() < 1e-12
    curved = taylor_remainder(lively("pcc").transition, z, u, dz, du)
    assert curved.abs().min() > 1e-4


def test_the_amortised_jacobian_is_learned_from_the_curvature() -> None:
    model = lively("pcc_amortised")
    assert isinstance(model, AmortisedPCC)
    transition = model.transition
    assert isinstance(transition, AmortisedJacobian)
    z, _, u, _ = states_and_controls(4, batch=40)
    exact = slopes(lambda v: transition.step(v, u), z), slopes(lambda v: transition.step(z, v), u)

    def error() -> float:
        pairs = zip(transition.jacobian(z, u), exact, strict=True)
        return sum((found - wanted).square().mean().item() for found, wanted in pairs)

    before, noise = error(), Generators(2)
    adam = torch.optim.Adam(transition.slopes.parameters(), 0.01)
    for _ in range(400):
        adam.zero_grad()
        model.curvature(z, u, 0.1, noise).mean().backward()
        adam.step()
    assert error() < 0.05 * before


def test_the_amortised_expansion_is_exact_where_it_is_made() -> None:
    transition = lively("pcc_amortised").transition
    z, _, u, _ = states_and_controls(1)
    local = transition(z, u)
    torch.testing.assert_close(local.step(z, u), transition.step(z, u))
    torch.testing.assert_close((local.A, local.B), transition.jacobian(z, u))
    torch.testing.assert_close(transition.log_det(local.A), torch.det(local.A).abs().log())


def test_the_unit_of_the_controls_changes_the_amortised_slopes_by_them_alone() -> None:
    transition = lively("pcc_amortised").transition
    z, _, u, _ = states_and_controls(1)
    A, B_ = transition.jacobian(z, u)
    transition.control_scale.mul_(2)
    torch.testing.assert_close(transition.jacobian(z, 2 * u), (A, B_ / 2))


def test_information_is_log_k_for_certain_pairs_and_none_at_chance() -> None:
    torch.testing.assert_close(info_nce(torch.zeros(7, 7)), torch.tensor(7.0).log())
    assert info_nce(1e4 * torch.eye(7)) == 0
    assert info_nce(-1e4 * torch.eye(7)) > 9e3
    rows = torch.randn(7, 7, generator=generator())
    torch.testing.assert_close(info_nce(rows + torch.arange(7.0)[:, None]), info_nce(rows))


@pytest.mark.parametrize("method", ["rce", "pcc"])
def test_what_is_lost_between_two_observations_is_never_negative(method: str) -> None:
    """The consistency is a KL of joint distributions, estimated: its mean over noise is not < 0."""
    model, (x, u) = lively(method), window()
    mean = torch.stack([evaluate(model, x, u, seed)["consistency"] for seed in range(60)]).mean()
    assert mean > 0


def test_pcc_does_not_tell_more_than_the_evidence() -> None:
    """The bound stays below an importance-sampled ``log p(x'|x, u)``; a wrong sign would not."""
    model, (x, u) = lively("pcc"), window()
    assert isinstance(model, PCC)
    bound = torch.stack(
        [
            -(t["prediction"] + t["consistency"])
            for t in (evaluate(model, x, u, s) for s in range(60))
        ]
    ).mean()
    q, count, noise = model.encoder(x), 3000, Generators(1)
    many = DiagonalGaussian(
        q.mean[:, 0].expand(count, B, N), q.log_variance[:, 0].expand(count, B, N)
    )
    successor = model.predict(many.sample(noise), u[:, 0].expand(count, B, 2)).sample(noise)
    assert isinstance(model.decoder, Decoder)
    p = Bernoulli(logits=model.decoder(successor), validate_args=False)
    log_p = p.log_prob(x[:, 1]).sum((-3, -2, -1))
    evidence = (log_p.logsumexp(0) - math.log(count)).mean()
    assert bound < evidence


@pytest.mark.parametrize("method", SUCCESSORS)
def test_every_weight_is_of_a_term(method: str) -> None:
    model = lively(method)
    weights = model.weights(OBJECTIVES[model.objective], 8.0)
    assert weights.keys() == evaluate(model, *window()).keys()
    assert all(weight > 0 for weight in weights.values()), "every term is to be made small"
    assert set(model.tracked) <= weights.keys()


def test_the_weights_are_those_documented() -> None:
    documented = {
        "rce": {"prediction": 1, "consistency": 8, "prior_kl": 0.2},
        "pcc": {
            **{"prediction": 1, "consistency": 8, "curvature": 3},
            **{"deterministic": 0.3, "vae": 0.01},
        },
        "pc3": {"prediction": 1, "consistency": 8, "curvature": 3, "centre": 0.1},
    }
    for method, weights in documented.items():
        model = lively(method)
        assert model.weights(OBJECTIVES[model.objective], 8.0) == weights


ENCODER, DECODER, NET, NOISE = "encoder", "decoder", "transition.net", "noise"
BACKWARD, SLOPES = "backward_encoder", "transition.slopes"
REACHED = {
    ("rce", "prediction"): {ENCODER, DECODER},
    ("rce", "consistency"): {ENCODER, NET, BACKWARD},
    ("rce", "prior_kl"): {ENCODER},
    ("pcc", "prediction"): {ENCODER, DECODER},
    ("pcc", "consistency"): {ENCODER, NET, NOISE, BACKWARD},
    ("pcc", "curvature"): {NET},
    ("pcc", "deterministic"): {ENCODER, NET, DECODER},
    ("pcc", "vae"): {ENCODER, DECODER},
    ("pcc_amortised", "consistency"): {ENCODER, NET, NOISE, BACKWARD},
    ("pcc_amortised", "curvature"): {NET, SLOPES},
    ("pc3", "prediction"): {ENCODER, NET, NOISE},
    ("pc3", "consistency"): {ENCODER, NET, NOISE},
    ("pc3", "curvature"): {NET},
    ("pc3", "centre"): {ENCODER},
}


@pytest.mark.parametrize(("method", "term"), REACHED)
def test_a_term_reaches_the_parts_that_it_is_about_and_no_other(method: str, term: str) -> None:
    model = lively(method)
    evaluate(model, *window())[term].backward()
    reached = {
        part
        for part in (ENCODER, DECODER, NET, NOISE, BACKWARD, SLOPES)
        for name, parameter in model.named_parameters()
        if name.startswith(part + ".") and parameter.grad is not None and parameter.grad.any()
    }
    assert reached == REACHED[method, term]


@pytest.mark.parametrize("method", SUCCESSORS)
def test_training_on_a_method_lowers_its_loss(method: str) -> None:
    model, (x, u) = lively(method), window()
    weights = model.weights(OBJECTIVES[model.objective], 1.0)
    adam = torch.optim.Adam(model.parameters(), 3e-3)

    def loss(seed: int) -> Tensor:
        terms = evaluate(model, x, u, seed)
        return torch.stack([weights[name] * terms[name] for name in weights]).sum()

    before = loss(0).item()
    for step in range(100):
        adam.zero_grad()
        loss(step).backward()
        adam.step()
    assert loss(0).item() < before - 0.1 * abs(before)


@pytest.mark.parametrize("method", SUCCESSORS)
def test_extreme_encodings_leave_every_term_finite(method: str) -> None:
    model, (x, u) = lively(method), window()
    for factor in (0.0, 1e3):
        with torch.no_grad():
            model.encoder.get_parameter("net.4.weight").fill_(factor)
        assert all(value.isfinite() for value in evaluate(model, x, u).values()), factor


def test_a_singular_step_is_a_loss_that_is_not_finite_and_no_exception() -> None:
    model = lively("rce")
    net, first = model.transition.get_submodule("net"), torch.eye(N).double()[0]
    with torch.no_grad():
        model.transition.scale = 0.0  # type: ignore[assignment]
        net[-1].weight.zero_()  # type: ignore[index]
        net[-1].bias[: 2 * N].copy_(torch.cat((first, -first)))  # type: ignore[index]
    assert not evaluate(model, *window())["consistency"].isfinite()


@pytest.mark.parametrize("method", SUCCESSORS)
def test_longer_roll_outs_are_refused(method: str) -> None:
    longer = dataclasses.replace(OBJECTIVES[METHODS[method].objective], horizon=3)
    with pytest.raises(E2CError, match=r"one step; got 3; set objective\.horizon"):
        Trainer(lively(method), longer, OptimiserConfig(), seed=0)


@pytest.mark.parametrize("method", SUCCESSORS)
def test_the_noise_comes_from_the_generator_alone(method: str) -> None:
    model, (x, u) = lively(method), window()
    before = torch.get_rng_state()
    one, again, other = (torch.stack([*evaluate(model, x, u, s).values()]) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("name", "kind"), SUCCESSORS.items())
def test_the_registry_has_the_method(name: str, kind: type[LatentModel]) -> None:
    assert METHODS[name] is kind
    assert type(tiny_model(dataclasses.replace(MODEL, method=name))) is kind


def test_only_the_predictive_coding_draws_no_image() -> None:
    assert {m for m in SUCCESSORS if isinstance(lively(m).decoder, Gallery)} == {"pc3"}
