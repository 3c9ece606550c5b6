"""The networks one by one: exact derivatives, blocks, lattices that tile the picture, a scale."""

import dataclasses
import math

import pytest
import torch
from tiny import MODEL, generator
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from e2c.models.decoders import MLPDecoder
from e2c.models.encoders import MLPEncoder
from e2c.models.gaussians import LOG_VARIANCE_RANGE
from e2c.models.layers import mlp, value_and_jacobian
from e2c.models.likelihoods import Bernoulli, Gaussian

SHAPE = (2, 12, 6)
RELU = dataclasses.replace(MODEL, latent_dim=3, activation="relu", pool=1)
LEADS = [(), (5,), (5, 2), (1,)]


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("sizes", [(3, 7, 5, 4), (3, 4), (1, 6, 1)])
def test_jacobian_is_that_of_autograd(activation: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = mlp(sizes, activation).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)  # biases too
    x = torch.randn(5, sizes[0], generator=generator(), dtype=torch.float64)
    value, jacobian = value_and_jacobian(net, x)
    torch.testing.assert_close(value, net(x))
    torch.testing.assert_close(jacobian.mT, torch.func.vmap(torch.func.jacrev(net))(x))


@pytest.mark.parametrize("lead", LEADS)
def test_jacobian_takes_any_leading_dimensions(lead: tuple[int, ...]) -> None:
    net = mlp((3, 7, 4), "silu")
    x = torch.randn(*lead, 3, generator=generator())
    value, jacobian = value_and_jacobian(net, x)
    assert value.shape == (*lead, 4)
    assert jacobian.shape == (*lead, 3, 4)
    flat = value_and_jacobian(net, x.reshape(-1, 3))[1]
    torch.testing.assert_close(jacobian.reshape(-1, 3, 4), flat)


def test_layers_start_orthogonal_with_no_bias() -> None:
    net = mlp((5, 9, 3), "relu")
    first, last = net.get_parameter("0.weight"), net.get_parameter("2.weight")
    torch.testing.assert_close(first.T @ first, torch.eye(5))
    torch.testing.assert_close(last @ last.T, torch.eye(3))
    assert not net.get_parameter("0.bias").any()
    assert len(net) == 3, "there is no activation after the last layer"


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_the_encoder_averages_blocks_first(lead: tuple[int, ...], pool: int) -> None:
    torch.manual_seed(0)
    encoder = MLPEncoder(SHAPE, dataclasses.replace(RELU, pool=pool))
    x = torch.rand(*lead, *SHAPE, generator=generator())
    q = encoder(x)
    assert q.mean.shape == q.log_variance.shape == (*lead, 3)
    pooled = avg_pool2d(x.reshape(-1, *SHAPE), pool).flatten(1)
    torch.testing.assert_close(
        torch.cat((q.mean, q.log_variance), -1), encoder.net(pooled).reshape(*lead, 6)
    )


def test_encoded_log_variances_are_bounded() -> None:
    encoder = MLPEncoder(SHAPE, dataclasses.replace(RELU, encoder_hidden=(16,)))
    with torch.no_grad():
        encoder.net.get_parameter("2.bias").copy_(torch.tensor([0, 0, 0, 900.0, -900.0, 0]))
    q = encoder(torch.zeros(SHAPE))
    assert q.log_variance[0] == LOG_VARIANCE_RANGE[1]
    assert q.log_variance[1] == LOG_VARIANCE_RANGE[0]


@pytest.mark.parametrize("lattices", [1, 2, 3])
@pytest.mark.parametrize("lead", LEADS)
def test_lattices_tile_the_picture(lattices: int, lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    decoder = MLPDecoder(SHAPE, dataclasses.replace(MODEL, latent_dim=3, lattices=lattices))
    z = torch.randn(*lead, 3, generator=generator())
    whole = decoder(z)
    assert whole.shape == (*lead, *SHAPE)
    seen = torch.zeros(SHAPE)
    for lattice in range(lattices**2):
        drawn, taken = decoder.draw_lattice(z, lattice), decoder.take_lattice(whole, lattice)
        assert drawn.shape == (*lead, 2 * 12 * 6 // lattices**2)
        torch.testing.assert_close(drawn, taken)
        i, j = divmod(lattice, lattices)
        seen[:, i::lattices, j::lattices] += 1
        expected = whole[..., i::lattices, j::lattices].reshape(drawn.shape)
        torch.testing.assert_close(taken, expected)
    assert (seen == 1).all()


def test_lattices_are_heads_of_their_own() -> None:
    """Else the lattice comparison above would hold of a decoder that draws one everywhere."""
    decoder = MLPDecoder(SHAPE, dataclasses.replace(MODEL, latent_dim=3))
    drawn = [decoder.draw_lattice(torch.ones(3), k) for k in range(4)]
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize("lattices", [1, 2, 3])
def test_an_untrained_decoder_draws_the_average_image(lattices: int) -> None:
    decoder = MLPDecoder(SHAPE, dataclasses.replace(RELU, lattices=lattices))
    average = 0.1 + 0.8 * torch.rand(SHAPE, generator=generator())
    decoder.start_at(average)
    torch.testing.assert_close(decoder(torch.zeros(3)).sigmoid(), average)


def test_a_pixel_that_is_always_black_starts_finite() -> None:
    decoder = MLPDecoder(SHAPE, RELU)
    decoder.start_at(torch.zeros(SHAPE))
    assert decoder(torch.zeros(3)).isfinite().all()
    assert decoder(torch.zeros(3)).sigmoid().max() < 0.002


def test_the_gaussian_is_that_of_torch_to_a_grey_level() -> None:
    likelihood = Gaussian().double()
    with torch.no_grad():
        likelihood.free_log_sigma.fill_(-1.3)
    y, x = torch.rand(2, 5, 7, generator=generator(), dtype=torch.float64)
    normal = torch.distributions.Normal(y, likelihood.log_sigma.exp())
    torch.testing.assert_close(likelihood.negative_log(y, x), -(normal.log_prob(x) - math.log(255)))


def test_the_gaussian_learns_the_spread_of_what_it_is_given() -> None:
    likelihood = Gaussian()
    error = 0.02 * torch.randn(4000, generator=generator())
    adam = torch.optim.Adam(likelihood.parameters(), 0.02)
    for _ in range(600):
        adam.zero_grad()
        likelihood.negative_log(torch.zeros(4000), error).mean().backward()
        adam.step()
    assert likelihood.log_sigma.exp().item() == pytest.approx(error.std().item(), rel=0.02)


def test_the_gaussian_is_never_narrower_than_its_bound_nor_negative() -> None:
    likelihood = Gaussian()
    with torch.no_grad():
        likelihood.free_log_sigma.fill_(-50.0)
    assert likelihood.log_sigma.item() == pytest.approx(Gaussian.least)
    assert likelihood.negative_log(torch.zeros(3), torch.zeros(3)).min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3, 5), (2, 0), (4, 3, 7)])
def test_the_compiled_cross_entropy_is_that_of_torch(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    draw = generator()
    y = (20 * torch.randn(*shape, 2, dtype=dtype, generator=draw))[..., 0].requires_grad_()
    x, share = torch.rand(2, *shape, dtype=dtype, generator=draw)
    found = Bernoulli().negative_log(y, x)
    plain = binary_cross_entropy_with_logits(y, x, reduction="none")
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-6)
    slopes = [torch.autograd.grad(entropy, y, share)[0] for entropy in (found, plain)]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-6)


def test_a_large_cross_entropy_stays_finite() -> None:
    y = torch.tensor([-200.0, -1e30, 200.0, 1e30, 0.0])
    entropy = Bernoulli().negative_log(y, torch.tensor([1.0, 1.0, 0.0, 0.0, 0.3]))
    torch.testing.assert_close(entropy, torch.tensor([200.0, 1e30, 200.0, 1e30, math.log(2)]))
