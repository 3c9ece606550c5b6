"""Encoders and decoders: exact derivatives, lattices that tile the picture, shapes."""

import pytest
import torch
from tiny import generator
from torch.nn.functional import avg_pool2d

from e2c.models.networks import LOG_VARIANCE_RANGE, Decoder, Encoder, mlp, value_and_jacobian

SHAPE = (2, 12, 6)
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
    encoder = Encoder(SHAPE, 3, (16, 15), "relu", pool)
    x = torch.rand(*lead, *SHAPE, generator=generator())
    q = encoder(x)
    assert q.mean.shape == q.log_variance.shape == (*lead, 3)
    pooled = avg_pool2d(x.reshape(-1, *SHAPE), pool).flatten(1)
    torch.testing.assert_close(
        torch.cat((q.mean, q.log_variance), -1), encoder.net(pooled).reshape(*lead, 6)
    )


def test_encoded_log_variances_are_bounded() -> None:
    encoder = Encoder(SHAPE, 3, (16,), "relu")
    with torch.no_grad():
        encoder.net.get_parameter("2.bias").copy_(torch.tensor([0, 0, 0, 900.0, -900.0, 0]))
    q = encoder(torch.zeros(SHAPE))
    assert q.log_variance[0] == LOG_VARIANCE_RANGE[1]
    assert q.log_variance[1] == LOG_VARIANCE_RANGE[0]


@pytest.mark.parametrize("lattices", [1, 2, 3])
@pytest.mark.parametrize("lead", LEADS)
def test_lattices_tile_the_picture(lattices: int, lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    decoder = Decoder(SHAPE, 3, (14, 16), "silu", lattices)
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
    decoder = Decoder(SHAPE, 3, (16,), "silu", 2)
    drawn = [decoder.draw_lattice(torch.ones(3), k) for k in range(4)]
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize("lattices", [1, 2, 3])
def test_an_untrained_decoder_draws_the_average_image(lattices: int) -> None:
    decoder = Decoder(SHAPE, 3, (14, 16), "relu", lattices)
    average = 0.1 + 0.8 * torch.rand(SHAPE, generator=generator())
    decoder.start_at(average)
    torch.testing.assert_close(decoder(torch.zeros(3)).sigmoid(), average)


def test_a_pixel_that_is_always_black_starts_finite() -> None:
    decoder = Decoder(SHAPE, 3, (16,), "relu", 2)
    decoder.start_at(torch.zeros(SHAPE))
    assert decoder(torch.zeros(3)).isfinite().all()
    assert decoder(torch.zeros(3)).sigmoid().max() < 0.002
