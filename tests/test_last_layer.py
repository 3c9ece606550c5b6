"""The Bayesian last layer: its posterior and its gain by brute force, and on every transition."""

import math

import pytest
import torch
from test_transitions import KINDS, another, draw
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from e2c.lecture.last_layer import LastLayer, last_layer_of

N, D = 7, 4
NOISE = torch.tensor([0.25, 2.0, 0.5]).double()
PRIOR = 3.0


def layer_after(phi: Tensor, y: Tensor) -> LastLayer:
    layer = LastLayer(PRIOR, NOISE, phi.shape[-1])
    layer.observe(phi, y)
    return layer


def posterior(layer: LastLayer, j: int) -> MultivariateNormal:
    return MultivariateNormal(layer.mean[j], precision_matrix=layer.precision[j])


def by_joint(phi: Tensor, y: Tensor, j: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of w given y, by conditioning their joint normal distribution."""
    prior = torch.eye(phi.shape[-1]).double() / PRIOR
    gain = prior @ phi.mT @ (phi @ prior @ phi.mT + NOISE[j] * torch.eye(len(phi))).inverse()
    return gain @ y[:, j], prior - gain @ phi @ prior


@pytest.mark.parametrize("count", [N, 1])
def test_the_posterior_is_that_of_the_joint_distribution(count: int) -> None:
    phi, y = draw(count, D), draw(count, 3, seed=1)
    layer = layer_after(phi, y)
    for j in range(3):
        mean, covariance = by_joint(phi, y, j)
        torch.testing.assert_close(layer.mean[j], mean)
        torch.testing.assert_close(layer.precision[j].inverse(), covariance)


def test_transitions_may_be_observed_one_by_one() -> None:
    phi, y = draw(N, D), draw(N, 3, seed=1)
    at_once, layer = layer_after(phi, y), LastLayer(PRIOR, NOISE, D)
    for row in range(N):
        layer.gain(phi)  # what it keeps is of the transitions so far
        layer.observe(phi[row : row + 1], y[row : row + 1])
    torch.testing.assert_close(layer.gain(phi), at_once.gain(phi))
    torch.testing.assert_close(layer.mean, at_once.mean)


def test_the_gain_is_the_fall_of_the_entropy() -> None:
    phi, y, new = draw(N, D), draw(N, 3, seed=1), draw(1, D, seed=2)
    before = layer_after(phi, y)
    after = layer_after(torch.cat((phi, new)), torch.cat((y, draw(1, 3, seed=3))))
    for j in range(3):
        fall = posterior(before, j).entropy() - posterior(after, j).entropy()
        torch.testing.assert_close(before.gain(new)[0, j], fall)


def test_the_gain_is_the_divergence_that_is_expected() -> None:
    """The divergence is quadratic in y, so three Gauss-Hermite nodes give its mean exactly."""
    phi, y, new = draw(N, D), draw(N, 3, seed=1), draw(1, D, seed=2)
    before = layer_after(phi, y)
    nodes, weights = (-math.sqrt(3), 0.0, math.sqrt(3)), (1 / 6, 2 / 3, 1 / 6)
    for j in range(3):
        variance = NOISE[j] + new[0] @ before.precision[j].inverse() @ new[0]
        expected = torch.zeros(()).double()
        for node, weight in zip(nodes, weights, strict=True):
            seen = torch.zeros(1, 3).double()
            seen[0, j] = new[0] @ before.mean[j] + node * variance.sqrt()
            after = layer_after(torch.cat((phi, new)), torch.cat((y, seen)))
            expected += weight * kl_divergence(posterior(after, j), posterior(before, j))
        torch.testing.assert_close(before.gain(new)[0, j], expected)


def test_the_same_transition_tells_less_each_time() -> None:
    layer, phi, y = LastLayer(PRIOR, NOISE, D), draw(1, D), draw(1, 3, seed=1)
    told = []
    for _ in range(5):
        told.append(layer.gain(phi)[0])
        layer.observe(phi, y)
    assert (torch.stack(told).diff(dim=0) < 0).all()
    assert (torch.stack(told) > 0).all()
    first = 0.5 * (1 + phi.square().sum() / PRIOR / NOISE).log()
    torch.testing.assert_close(told[0], first)


@pytest.mark.parametrize("lead", [(), (5,), (5, 2), (1,)])
def test_the_gain_takes_any_leading_dimensions_and_their_dtype(lead: tuple[int, ...]) -> None:
    layer, phi = layer_after(draw(N, D), draw(N, 3, seed=1)), draw(*lead, D, seed=2).float()
    gain = layer.gain(phi)
    assert gain.dtype == torch.float32
    assert gain.shape == (*lead, 3)
    flat = layer.gain(phi.reshape(-1, D).double())
    torch.testing.assert_close(gain.reshape(-1, 3).double(), flat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_of_a_transition_learns_what_its_weights_lack(kind: str) -> None:
    """The truth is the transition with other last weights: the posterior's mean finds them."""
    f, z, u = another(kind, 3, 2), draw(400, 3), draw(400, 2, seed=1)
    d = f.features(z, u).shape[-1]
    dW = 1e-3 * draw(3, d, seed=2)
    after = f.moved(dW).step(z, u)
    layer = last_layer_of(f, z, u, after)
    before = (after - f.step(z, u)).square().mean(0)
    learned = (after - f.moved(layer.mean).step(z, u)).square().mean(0)
    assert (learned < 0.2 * before).all()
    torch.testing.assert_close(layer.noise, before)
    exact = last_layer_of(f, z, u, f.step(z, u))
    assert exact.mean.abs().max() < 1e-6
    assert exact.gain(f.features(z, u)).isfinite().all()
    W = torch.cat(f.last_weights(), -1).detach()
    assert layer.prior == pytest.approx(1 / float(W.square().mean()))
