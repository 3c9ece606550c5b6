"""Transitions: one function in three forms, exact derivatives; the bound of the locally linear."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import generator
from torch import Tensor

from e2c.models.gaussians import DiagonalGaussian, FactoredGaussian, kl_to_diagonal
from e2c.models.options import ModelConfig
from e2c.models.transitions import (
    GlobalLinear,
    LocalLinearisation,
    LocallyLinear,
    NonLinear,
    Transition,
)

B = 5
SCALE = {1: [2.0], 2: [2.0, 0.25]}
NO_CONTROL = torch.zeros(2)
TO = {torch.float32: 1e-4, torch.float64: 1e-9}


def config(n: int, **changes: Any) -> ModelConfig:
    return ModelConfig(**{"latent_dim": n, "transition_hidden": (11, 7), **changes})


def transition(n: int = 3, m: int = 2, bound: float = 0.95, seed: int = 0) -> LocallyLinear:
    """A transition whose weights are large, so that nothing in it is nearly linear."""
    torch.manual_seed(seed)
    model = LocallyLinear(config(n, transition_bound=bound), torch.tensor(SCALE[m])).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


class Damped(LocallyLinear):
    """An own transition, by inheritance: it goes nine tenths as far."""

    def forward(self, z: Tensor, u: Tensor) -> LocalLinearisation:
        local = super().forward(z, u)
        return LocalLinearisation(0.9 * local.A, 0.9 * local.B, 0.9 * local.o)

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        return 0.9 * super().step(z, u)

    def jacobian(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        by_z, by_u = super().jacobian(z, u)
        return 0.9 * by_z, 0.9 * by_u

    def features(self, z: Tensor, u: Tensor) -> Tensor:
        return 0.9 * super().features(z, u)


OTHERS: dict[str, Callable[[ModelConfig, Tensor], Transition]]
OTHERS = {"NonLinear": NonLinear, "GlobalLinear": GlobalLinear, "Damped": Damped}


def another(kind: str, n: int, m: int) -> Transition:
    """A transition of any kind: the name of its class, and the bound of the locally linear."""
    name, _, bound = kind.partition(" ")
    if name == "LocallyLinear":
        return transition(n, m, float(bound))
    torch.manual_seed(1)
    model: Transition = OTHERS[name](config(n), torch.tensor(SCALE[m]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.double()


KINDS = ("LocallyLinear 0", "LocallyLinear 0.5", "LocallyLinear 0.95", *OTHERS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("lead", [(), (B,), (B, 2), (1,)])
@pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 1), (4, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_step_is_that_of_the_linearisation(
    lead: tuple[int, ...], n: int, m: int, kind: str
) -> None:
    model, z, u = another(kind, n, m), draw(*lead, n), draw(*lead, m, seed=1)
    local = model(z, u)
    assert local.A.shape == (*lead, n, n)
    assert local.B.shape == (*lead, n, m)
    assert local.o.shape == (*lead, n)
    by_hand = torch.einsum("...ij,...j->...i", local.A, z) + local.o
    by_hand = by_hand + torch.einsum("...ij,...j->...i", local.B, u)
    torch.testing.assert_close(local.step(z, u), by_hand)
    torch.testing.assert_close(model.step(z, u), by_hand)
    torch.testing.assert_close(model.log_det(local.A), local.A.slogdet().logabsdet)


@pytest.mark.parametrize("lead", [(), (B,), (B, 2), (1,)])
@pytest.mark.parametrize(("n", "m", "T"), [(3, 2, 7), (1, 1, 1), (4, 1, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_belief_that_is_carried_is_the_dense_one(
    lead: tuple[int, ...], n: int, m: int, T: int, kind: str
) -> None:
    model, z, u = another(kind, n, m), draw(*lead, n), draw(*lead, T, m, seed=1)
    for parameter in model.parameters():
        parameter.data *= 0.2
    q = DiagonalGaussian(draw(*lead, n, seed=2), draw(*lead, n, seed=3))
    path, beliefs = model.carry(z, FactoredGaussian.from_diagonal(q), u)
    mean, covariance = q.mean, torch.diag_embed(q.variance)
    for t in range(T + 1):
        torch.testing.assert_close(path[..., t, :], z)
        torch.testing.assert_close(beliefs.mean[..., t, :], mean)
        torch.testing.assert_close(beliefs.covariance[..., t, :, :], covariance)
        log_det = 0.5 * covariance.slogdet().logabsdet
        torch.testing.assert_close(beliefs.log_det[..., t], log_det)
        if t < T:
            local = model(z, u[..., t, :])
            offset = local.offset(u[..., t, :])
            z = local.step(z, u[..., t, :])
            mean = (local.A @ mean[..., None])[..., 0] + offset
            covariance = local.A @ covariance @ local.A.mT


@pytest.mark.parametrize("name", ["carry", "follow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("bound", [0.0, 0.95])
@pytest.mark.parametrize(("n", "m", "T", "count"), [(3, 2, 7, 5), (1, 1, 1, 1), (4, 1, 2, 11)])
def test_the_derivative_by_hand_is_that_of_autograd(
    name: str,
    dtype: torch.dtype,
    activation: str,
    bound: float,
    n: int,
    m: int,
    T: int,
    count: int,
) -> None:
    """On a CPU `follow` is compiled; `carry` is not."""
    torch.manual_seed(0)
    options = config(n, activation=activation, transition_bound=bound)
    model = LocallyLinear(options, torch.tensor(SCALE[m])).to(dtype)
    times = torch.tensor(sorted({0, (T + 2) // 3, (T + 1) // 2}))
    eps, u = draw(count, n).to(dtype), draw(count, T, m, seed=1).to(dtype)
    shape = (count, len(times), n)
    mean, log_variance = (draw(*shape, seed=s).to(dtype).requires_grad_() for s in (2, 3))
    q = DiagonalGaussian(mean, log_variance)

    first = q[:, 0]
    begun = (first.mean + first.std * eps, FactoredGaussian.from_diagonal(first), u)
    (path, beliefs), by_hand = Transition.carry(model, *begun), model.carry(*begun)
    plain: tuple[Tensor, ...] = (path, beliefs.mean, beliefs.factor, beliefs.log_det)
    fast: tuple[Tensor, ...] = (by_hand[0], by_hand[1].mean, by_hand[1].factor, by_hand[1].log_det)
    if name == "follow":
        compared = beliefs.index_select(1, times[1:])
        plain = (path.index_select(1, times), kl_to_diagonal(compared, q[:, 1:]))
        fast = model.follow(q, eps, u, times)
    found, by = [], [mean, log_variance, *model.parameters()]
    for parts in (fast, plain):
        total = sum((part * draw(*part.shape, seed=9)).sum() for part in parts)
        assert isinstance(total, Tensor)
        found.append((*parts, *torch.autograd.grad(total, by, retain_graph=True)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=TO[dtype], atol=TO[dtype])


@pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 1), (4, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_is_that_of_autograd(n: int, m: int, kind: str) -> None:
    model, z, u = another(kind, n, m), draw(B, n), draw(B, m, seed=1)
    by_z, by_u = torch.func.vmap(torch.func.jacrev(model.step, argnums=(0, 1)))(z, u)
    fx, fu = model.jacobian(z, u)
    torch.testing.assert_close(fx, by_z)
    torch.testing.assert_close(fu, by_u)


@pytest.mark.parametrize("lead", [(), (B, 2), (1,)])
@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_takes_any_leading_dimensions(lead: tuple[int, ...], kind: str) -> None:
    model, z, u = another(kind, 3, 2), draw(*lead, 3), draw(*lead, 2, seed=1)
    fx, fu = model.jacobian(z, u)
    flat = model.jacobian(z.reshape(-1, 3), u.reshape(-1, 2))
    torch.testing.assert_close(fx, flat[0].reshape(*lead, 3, 3))
    torch.testing.assert_close(fu, flat[1].reshape(*lead, 3, 2))


@pytest.mark.parametrize("lead", [(), (B,), (B, 2), (1,)])
@pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 1), (4, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_transition_is_linear_in_its_last_weights(
    lead: tuple[int, ...], n: int, m: int, kind: str
) -> None:
    model, z, u = another(kind, n, m), draw(*lead, n), draw(*lead, m, seed=1)
    before, phi = model.step(z, u), model.features(z, u)
    W = torch.cat(model.last_weights(), -1)
    assert W.shape == (n, phi.shape[-1])
    dW = draw(*W.shape, seed=2)
    moved = model.moved(dW)
    torch.testing.assert_close(moved.step(z, u), before + phi @ dW.mT)
    torch.testing.assert_close(torch.cat(moved.last_weights(), -1), W + dW)
    torch.testing.assert_close(model.step(z, u), before)


def test_the_true_jacobian_is_not_A() -> None:
    model, z, u = transition(), draw(B, 3), draw(B, 2)
    assert (model.jacobian(z, u)[0] - model(z, u).A).abs().max() > 0.1


@pytest.mark.parametrize("bound", [0.3, 0.95])
def test_the_bound_keeps_A_invertible(bound: float) -> None:
    model = transition(bound=bound)
    local = model(30 * draw(1000, 3), NO_CONTROL)
    vr = torch.linalg.det(local.A) - 1
    assert vr.abs().max() <= bound + 1e-12
    assert vr.abs().max() > 0.8 * bound, "large weights should come near the bound"
    assert vr.min() < -0.2 < 0.2 < vr.max()


def test_without_a_bound_v_and_r_are_free() -> None:
    vr = torch.linalg.det(transition(bound=0.0)(draw(100, 3), NO_CONTROL).A) - 1
    assert vr.abs().max() > 2


def test_A_is_the_identity_plus_rank_one() -> None:
    change = transition()(draw(B, 3), NO_CONTROL).A - torch.eye(3)
    singular = torch.linalg.svdvals(change)
    assert (singular[:, 0] > 1e-3).all()
    assert singular[:, 1:].max() < 1e-12


def test_controls_enter_in_units_of_their_limits() -> None:
    model, z = transition(), draw(B, 3)
    unscaled = transition()
    unscaled.control_scale.fill_(1.0)
    u, limits = draw(B, 2), torch.tensor([2.0, 0.25]).double()
    torch.testing.assert_close(model(z, u).B * limits, unscaled(z, u).B)
    torch.testing.assert_close(model.step(z, u * limits), unscaled.step(z, u))


def test_the_scale_of_controls_travels_with_the_weights() -> None:
    assert "control_scale" in transition().state_dict()


def test_a_subclass_is_followed_as_it_steps() -> None:
    model, q = another("Damped", 3, 2), DiagonalGaussian(draw(B, 2, 3), draw(B, 2, 3, seed=1))
    u, times = draw(B, 4, 2, seed=2), torch.tensor([0, 4])
    z, eps = q.mean[:, 0], torch.zeros(B, 3).double()
    for control in u.unbind(1):
        z = model.step(z, control)
    torch.testing.assert_close(model.follow(q, eps, u, times)[0][:, 1], z)
