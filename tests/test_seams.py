"""What every encoder, decoder and likelihood owes; the registries are read, so new ones are met."""

import copy
import dataclasses
import itertools
import math
import pickle
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from tiny import MODEL, generator
from torch import Tensor

from e2c.errors import E2CError
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.decoders import DECODERS, Decoder, MLPDecoder
from e2c.models.draws import Generators
from e2c.models.e2c import E2C
from e2c.models.encoders import ENCODERS, Encoder, MLPEncoder, SiameseEncoder
from e2c.models.likelihoods import LIKELIHOODS, Gaussian
from e2c.models.methods import METHODS, build_model
from e2c.models.objectives import ObjectiveConfig
from e2c.models.transitions import Transition

SHAPES = [(2, 12, 6), (1, 24, 12), (3, 6, 18)]
"""``(C, H, W)``, divisible by what `MODEL` divides by, and not all by 8."""
LEADS = [(), (1,), (5,), (4, 2)]
DRAWING = list(itertools.product(DECODERS, LIKELIHOODS))


def encoder_of(name: str, shape: tuple[int, int, int]) -> Encoder:
    torch.manual_seed(0)
    return ENCODERS[name](shape, dataclasses.replace(MODEL, encoder=name))


def decoder_of(name: str, likelihood: str, shape: tuple[int, int, int] = SHAPES[0]) -> Decoder:
    torch.manual_seed(0)
    config = dataclasses.replace(MODEL, decoder=name, likelihood=likelihood)
    return DECODERS[name](shape, config)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=generator(seed))


def latents(*lead: int) -> Tensor:
    return torch.randn(*lead, MODEL.latent_dim, generator=generator(2))


def assert_trains(module: torch.nn.Module) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_take_any_leading_dimensions(
    name: str, lead: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    encoder, x = encoder_of(name, shape), images(*lead, *shape)
    q = encoder(x)
    assert q.mean.shape == q.log_variance.shape == (*lead, MODEL.latent_dim)
    alone = encoder(x.reshape(-1, *shape)[:1])
    torch.testing.assert_close(q.mean.reshape(-1, MODEL.latent_dim)[:1], alone.mean)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_of_an_encoder_is_trained(name: str) -> None:
    encoder = encoder_of(name, SHAPES[0])
    q = encoder(images(5, *SHAPES[0]))
    (q.mean.square().sum() + q.variance.sum()).backward()
    assert_trains(encoder)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_tell_images_apart_and_stay_finite(name: str) -> None:
    encoder = encoder_of(name, SHAPES[0])
    x = torch.stack([torch.zeros(SHAPES[0]), torch.ones(SHAPES[0]), images(*SHAPES[0])])
    q = encoder(x)
    assert q.mean.isfinite().all()
    assert q.log_variance.isfinite().all()
    assert torch.cdist(q.mean, q.mean)[0, 1:].min() > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(("name", "likelihood"), DRAWING)
def test_decoders_draw_observations(
    name: str, likelihood: str, lead: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    decoder, z = decoder_of(name, likelihood, shape), latents(*lead)
    assert decoder(z).shape == (*lead, *shape)
    drawn = decoder.draw(z)
    assert drawn.shape == (*lead, *shape)
    assert drawn.dtype == torch.uint8
    nll = decoder.negative_log_likelihood(z, images(*lead, *shape), Generators(0))
    assert nll.shape == lead
    assert nll.isfinite().all()
    assert (nll >= 0).all()


@pytest.mark.parametrize(("name", "likelihood"), DRAWING)
def test_the_likelihood_is_estimated_without_bias(name: str, likelihood: str) -> None:
    decoder, z, x = decoder_of(name, likelihood), latents(5, 2), images(5, 2, *SHAPES[0])
    whole = decoder.likelihood.negative_log(decoder(z), x).sum((-3, -2, -1))
    estimates = {
        tuple(decoder.negative_log_likelihood(z, x, draws).flatten().tolist())
        for draws in [Generators(0)] * 100
    }
    mean = torch.tensor(sorted(estimates)).mean(0)
    torch.testing.assert_close(mean, whole.flatten().detach(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("name", "likelihood"), DRAWING)
def test_the_generator_decides_the_estimate(name: str, likelihood: str) -> None:
    decoder, z, x = decoder_of(name, likelihood), latents(5), images(5, *SHAPES[0])
    one, again = (decoder.negative_log_likelihood(z, x, Generators(3)) for _ in range(2))
    assert torch.equal(one, again)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "likelihood"), DRAWING)
def test_an_untrained_decoder_draws_the_mean_image(
    name: str, likelihood: str, shape: tuple[int, int, int]
) -> None:
    decoder, mean = decoder_of(name, likelihood, shape), 0.1 + 0.8 * images(*shape)
    decoder.start_at(mean)
    drawn = decoder.draw(torch.zeros(MODEL.latent_dim))
    assert (drawn.float() - 255 * mean).abs().max() <= 0.501
    decoder.start_at(torch.zeros(shape))
    assert decoder.draw(torch.zeros(MODEL.latent_dim)).max() <= 1


@pytest.mark.parametrize(("name", "likelihood"), DRAWING)
def test_every_weight_of_a_decoder_is_trained(name: str, likelihood: str) -> None:
    decoder, z, x = decoder_of(name, likelihood), latents(5), images(5, *SHAPES[0])
    draws = Generators(0)
    for _ in range(30):
        decoder.negative_log_likelihood(z, x, draws).sum().backward()
    assert_trains(decoder)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_are_finite_for_any_finite_y(likelihood: str) -> None:
    p, x = LIKELIHOODS[likelihood](), torch.tensor([0.0, 0.3, 1.0])[:, None]
    y = torch.tensor([-1e4, 0.0, 1e4])
    assert p.negative_log(*torch.broadcast_tensors(y, x)).isfinite().all()
    assert p.mean(y).min() >= 0
    assert p.mean(y).max() <= 1


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_are_least_where_the_mean_is_right(likelihood: str) -> None:
    p, x = LIKELIHOODS[likelihood](), 0.05 + 0.9 * images(5)
    y = p.inverse(x)
    torch.testing.assert_close(p.mean(y), x)
    for step in (-0.1, 0.1):
        assert (p.negative_log(y + step, x) > p.negative_log(y, x)).all()


SPEC = ProblemSpec("Test/Seams-v0", SHAPES[0], (-2.0, -0.5), (2.0, 0.25), 0.1, 7)
NETWORKS = list(itertools.product(ENCODERS, DECODERS, LIKELIHOODS))


def model_of(encoder: str, decoder: str, likelihood: str, seed: int = 0) -> LatentModel[Any]:
    named = {"encoder": encoder, "decoder": decoder, "likelihood": likelihood}
    goal = torch.zeros(SHAPES[0], dtype=torch.uint8).numpy()
    return build_model(dataclasses.replace(MODEL, **named), SPEC, goal, seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
def test_a_seed_decides_the_weights(names: tuple[str, str, str]) -> None:
    before = torch.get_rng_state()
    one, again, other = (model_of(*names, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
def test_models_can_be_copied_and_pickled(names: tuple[str, str, str]) -> None:
    model = model_of(*names)
    z = latents(3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (other.decode(z) == model.decode(z)).all()
        with torch.no_grad():
            next(other.parameters()).add_(1)
        assert not torch.equal(next(other.parameters()), next(model.parameters()))


@pytest.mark.parametrize("part", ["encoder", "decoder", "likelihood"])
def test_an_unknown_network_is_told_with_the_nearest(part: str) -> None:
    wrong = {"encoder": "con", "decoder": "mpl", "likelihood": "gausian"}[part]
    named = {"encoder": "mlp", "decoder": "mlp", "likelihood": "bernoulli", part: wrong}
    told = rf"There is no {part} '{wrong}' \(model\.{part}\); (did you mean|known:) "
    with pytest.raises(E2CError, match=told):
        model_of(named["encoder"], named["decoder"], named["likelihood"])


class OwnEncoder(Encoder):
    """An encoder as it should be, whose ``change`` a test makes."""

    change: Any = staticmethod(lambda y: y)

    def features(self, images: Tensor) -> Tensor:
        y: Tensor = self.change(images.flatten(1)[:, : self.outputs])
        return y


class OwnDecoder(MLPDecoder):
    """A decoder as it should be, but for ``change``."""

    change: Any = staticmethod(lambda y: y)

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.change(super().forward(z))
        return y


class OwnLikelihood(Gaussian):
    """A likelihood that tells one number for all pixels."""

    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        return super().negative_log(y, x).mean()


class Below(Gaussian):
    """A density, not the probability of a grey level."""

    def negative_log(self, y: Tensor, x: Tensor) -> Tensor:
        return super().negative_log(y, x) - math.log(255)


class LayeredEncoder(MLPEncoder):
    """An encoder with weights, as it should be, but for ``change``."""

    change: Any = staticmethod(lambda y: y)

    def features(self, images: Tensor) -> Tensor:
        y: Tensor = self.change(super().features(images))
        return y


class NoFeatures(Encoder):
    """An encoder that lacks what it should do."""


class NoArguments(OwnEncoder):
    """An encoder that is built otherwise."""

    def __init__(self) -> None:
        super().__init__(SHAPES[0], MODEL)


class NoBase(OwnEncoder):
    """An encoder that forgets its base."""

    def __init__(self, *_: Any) -> None:
        """Do nothing."""


class LateBase(OwnEncoder):
    """An encoder that has a layer before its base is built."""

    def __init__(self, *arguments: Any) -> None:
        self.layer = torch.nn.Linear(2, 2)
        super().__init__(*arguments)


class NoSteps(Transition):
    """A transition that lacks what it should do."""


class OwnMethod(E2C):
    """A method whose transition lacks what it should do."""

    dynamics: ClassVar[type[Transition]] = NoSteps  # type: ignore[type-abstract]


class Undeclared(ObjectiveConfig):
    """Options without a decorator of their own."""

    shared: ClassVar[int] = 3
    knob: float = 0.1


def knobs(options: type) -> type:
    return type("Knobbed", (E2C,), {"objective": options})


def broken(kind: type, change: Any) -> type:
    return type(kind.__name__, (kind,), {"change": staticmethod(change)})


TWICE = 2 * MODEL.latent_dim


@pytest.mark.parametrize(
    ("registry", "part", "told"),
    [
        (ENCODERS, broken(OwnEncoder, lambda y: y[:, :3]), rf"shape \[2, 3\]; .* \[2, {TWICE}\]"),
        (ENCODERS, broken(OwnEncoder, lambda y: y[:1]), rf"features\(\) .* \[1, {TWICE}\]; let it"),
        (ENCODERS, broken(OwnEncoder, lambda y: (y, y)), r"OwnEncoder.features\(\) returned tuple"),
        (ENCODERS, broken(OwnEncoder, lambda y: y.numpy()), "returned ndarray; let it return a"),
        (ENCODERS, broken(OwnEncoder, lambda y: y / 0), "returned numbers that are not finite"),
        (
            ENCODERS,
            broken(LayeredEncoder, lambda y: y.squeeze(0)),
            rf"shape \[{TWICE}\]; .* \[1, {TWICE}\]",
        ),
        (ENCODERS, broken(LayeredEncoder, Tensor.double), "returned a float64 tensor of shape"),
        (ENCODERS, broken(LayeredEncoder, Tensor.detach), r"features\(\) .* without a gradient"),
        (ENCODERS, NoBase, "NoBase is not built whole; call super"),
        (ENCODERS, LateBase, r"LateBase is not built whole; call super\(\).__init__ first in its"),
        (ENCODERS, NoFeatures, "NoFeatures lacks features; write what .*encoders.Encoder asks"),
        (ENCODERS, NoArguments, r"NoArguments cannot be built \(too many positional arguments\)"),
        (ENCODERS, torch.nn.Identity, "Identity'> is no part of a model; register a subclass of"),
        (ENCODERS, "mine", "'mine' is no part of a model"),
        (DECODERS, broken(OwnDecoder, lambda y: y.mean(-1)), r"OwnDecoder.forward\(\) returned"),
        (DECODERS, broken(OwnDecoder, Tensor.detach), r"Decoder.forward\(\) .* without a gradient"),
        (
            DECODERS,
            broken(OwnDecoder, lambda y: y.reshape(-1, *SHAPES[0])),
            r"forward\(\) returned a float32 tensor of shape \[1, 2, 12, 6\]",
        ),
        (LIKELIHOODS, Below, r"Below.negative_log\(\) returned -1.3. where the drawing is right"),
        (
            LIKELIHOODS,
            OwnLikelihood,
            r"OwnLikelihood.negative_log\(\) .* shape \[\]; let it return",
        ),
        (
            METHODS,
            OwnMethod,
            "NoSteps lacks .*, step; write what .*transitions.Transition asks",
        ),
        (METHODS, lambda *_: None, r"<function .* is no part of a model; .*base.LatentModel\.$"),
        (METHODS, knobs(dict), r"options of the method 'mine' are <class 'dict'>; let them be a"),
        (METHODS, knobs(Undeclared), r"Undeclared, the options .*, would ignore knob; write @data"),
    ],
)
def test_an_own_part_that_does_not_fit_is_told_when_the_model_is_built(
    registry: dict[str, Any], part: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {id(ENCODERS): "encoder", id(DECODERS): "decoder", id(LIKELIHOODS): "likelihood"}
    asked: dict[str, Any] = {names.get(id(registry), "method"): "mine"}
    config = replace(MODEL, **asked)
    goal = torch.zeros(SHAPES[0], dtype=torch.uint8).numpy()
    monkeypatch.setitem(registry, "mine", part)
    with pytest.raises(E2CError, match=told):
        build_model(config, SPEC, goal, 0)


def test_own_parts_that_fit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "mine", OwnEncoder)
    monkeypatch.setitem(DECODERS, "mine", OwnDecoder)
    model = model_of("mine", "mine", "gaussian")
    assert (type(model.encoder), type(model.decoder)) == (OwnEncoder, OwnDecoder)


def test_no_layer_learns_from_being_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Normed(OwnEncoder):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.norm = torch.nn.BatchNorm2d(self.image_shape[0])

        def features(self, images: Tensor) -> Tensor:
            return super().features(self.norm(images))

    monkeypatch.setitem(ENCODERS, "mine", Normed)
    model: Any = model_of("mine", "mlp", "bernoulli")
    assert model.training
    assert model.encoder.norm.num_batches_tracked == 0


def test_a_decoder_without_hidden_layers_is_refused_where_it_needs_one() -> None:
    config = dataclasses.replace(MODEL, decoder_hidden=(), encoder_hidden=())
    with pytest.raises(E2CError, match=r"^model\.decoder_hidden is empty; it must hold at least o"):
        DECODERS["mlp"](SHAPES[0], config)
    assert DECODERS["conv"](SHAPES[0], config).draw(latents()).shape == SHAPES[0]
    assert ENCODERS["mlp"](SHAPES[0], config)(images(*SHAPES[0])).mean.shape == (4,)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_siamese_encoder_sees_all_planes_with_the_same_weights(
    shape: tuple[int, int, int],
) -> None:
    config = dataclasses.replace(MODEL, encoder_hidden=(9, 5, 7))
    encoder = SiameseEncoder(shape, config)
    seen = images(3, *encoder.image_shape)
    told = [encoder.plane(plane.flatten(1)) for plane in seen.unbind(1)]
    assert all(part.shape == (3, 5) for part in told)
    torch.testing.assert_close(encoder.features(seen), encoder.planes(torch.cat(told, -1)))


def test_a_single_width_is_that_of_both_networks_of_a_siamese_encoder() -> None:
    one, two = (dataclasses.replace(MODEL, encoder_hidden=widths) for widths in [(9,), (9, 9)])
    shapes = [
        [value.shape for value in SiameseEncoder(SHAPES[0], config).state_dict().values()]
        for config in (one, two)
    ]
    assert shapes[0] == shapes[1]
    with pytest.raises(E2CError, match=r"^model\.encoder_hidden is empty; it must hold at least"):
        SiameseEncoder(SHAPES[0], dataclasses.replace(MODEL, encoder_hidden=()))
