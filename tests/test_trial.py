"""A model on trial: what would fail in training, in the agent or in loading is told before."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tiny import CONFIG, SPEC, images
from torch import Tensor, nn

from e2c.config import Config, Recipe, with_method
from e2c.errors import E2CError
from e2c.learning import begin
from e2c.learning.run import train
from e2c.models.base import LatentModel
from e2c.models.decoders import DECODERS, MLPDecoder
from e2c.models.e2c import E2C
from e2c.models.encoders import ENCODERS, MLPEncoder
from e2c.models.methods import METHODS, build_model
from e2c.models.transitions import LocallyLinear
from e2c.models.trial import try_out


def config_of(method: str, **parts: Any) -> Config:
    config = with_method(CONFIG, method)
    if METHODS[method].one_step:
        one = dataclasses.replace(config.objective, horizon=1, targets=1)
        config = dataclasses.replace(config, objective=one)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **parts))


def tried(config: Config) -> LatentModel[Any]:
    model = build_model(config.model, SPEC, images(1)[0], 0)
    try_out(model, config, SPEC)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_changes_nothing(method: str) -> None:
    config, state = config_of(method), torch.get_rng_state()
    model, fresh = tried(config), build_model(config.model, SPEC, images(1)[0], 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


class Encoder(MLPEncoder):
    """An encoder whose features a test changes by a constant."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.constant = self.make()

    def make(self) -> Any:
        return 1.0

    def features(self, images: Tensor) -> Tensor:
        return super().features(images * self.constant)


class Kept(Encoder):
    """One that keeps its constant, drops features and has statistics."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        del self.constant
        self.register_buffer("constant", torch.tensor(0.5))
        self.norm = nn.BatchNorm1d(self.outputs)

    def features(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(self.norm(super().features(images)), 0.5, self.training)


class Scaled(Encoder):
    """One that is scaled by what nothing keeps."""

    def make(self) -> Any:
        return torch.full(self.image_shape, 0.5)


class Unkept(Encoder):
    """One whose buffer is left out of files."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("scale", torch.full((), 0.5), persistent=False)


class Drawn(Encoder):
    """One that draws its scale anew wherever it is built."""

    def make(self) -> Any:
        return torch.rand((), device="cpu")


class Item(Encoder):
    """One that needs a number where there are none."""

    def make(self) -> Any:
        return torch.ones(()).item()


class Computed(Encoder):
    """One that computes with weights as it is built."""

    def make(self) -> Any:
        return next(self.parameters()).square().mean()


class Lazy(Encoder):
    """One whose layer learns its size from its first image."""

    def make(self) -> Any:
        self.net = nn.Sequential(nn.LazyLinear(self.outputs))
        return 1.0


class Replacing(MLPDecoder):
    """A decoder that puts another weight in place of its own."""

    def start_at(self, mean_observation: Tensor) -> None:
        first = self.trunk.get_submodule("0.0")
        first.bias = nn.Parameter(torch.zeros_like(first.bias))  # type: ignore[arg-type]


class Remembering(MLPDecoder):
    """A decoder that keeps its start where no file does."""

    mean: Any = 0.0

    def start_at(self, mean_observation: Tensor) -> None:
        self.mean = mean_observation

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + self.mean


NOT_LOADED = r"^This model could not be loaded .*{}.*compute constants in forward, or keep them"


@pytest.mark.parametrize(
    ("registry", "part", "told"),
    [
        (ENCODERS, Scaled, NOT_LOADED.format("Scaled.constant then has no numbers")),
        (ENCODERS, Unkept, NOT_LOADED.format("Unkept.scale then has no numbers")),
        (ENCODERS, Drawn, NOT_LOADED.format("Drawn then returned other numbers")),
        (ENCODERS, Item, NOT_LOADED.format("item")),
        (ENCODERS, Computed, NOT_LOADED.format("deepcopy")),
        (ENCODERS, Lazy, NOT_LOADED.format("")),
        (DECODERS, Remembering, NOT_LOADED.format("Remembering then returned other")),
        (DECODERS, Replacing, r"^Replacing.start_at\(\) put other weights in place of its own"),
    ],
)
def test_a_part_that_could_not_be_loaded_is_told(
    registry: dict[str, Any], part: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry, "mine", part)
    with pytest.raises(E2CError, match=told):
        tried(config_of("e2c", **{"encoder" if registry is ENCODERS else "decoder": "mine"}))


def test_what_is_kept_in_buffers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "mine", Kept)
    state = torch.get_rng_state()
    model: Any = tried(config_of("e2c", encoder="mine"))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.encoder.norm.num_batches_tracked == 0


def method(**changed: Any) -> type[E2C]:
    """E2C with other attributes."""
    return type("Mine", (E2C,), changed)


def terms(change: Any) -> type[E2C]:
    """E2C whose terms are changed."""
    return method(terms=lambda self, *asked: change(E2C.terms(self, *asked)))


def dynamics(**changed: Any) -> type[E2C]:
    """E2C whose transition has other methods."""
    return method(dynamics=type("Moving", (LocallyLinear,), changed))


slopes = LocallyLinear.jacobian
ONE = {"reconstruction": "R"}


class Untitled(LatentModel[Any]):
    """A method that says no more than it must."""

    tracked: ClassVar[tuple[str, ...]] = ("reconstruction",)
    terms = E2C.terms
    weights = E2C.weights


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (method(weights=lambda *_: {"predicton": 1}), r"Mine.weights\(\) names 'predicton'; let"),
        (method(weights=lambda *_: {}), r"Mine.weights\(\) names no term; let it name some of"),
        (method(weights=lambda *_: 1), r"Mine.weights\(\) returned 1; let it return a dictionary"),
        (method(tracked=("elbo",)), r"Mine.tracked names 'elbo'; .*: reconstruction, prediction,"),
        (method(term_titles=ONE), "Mine.term_titles lacks prediction, prior_kl, latent_kl; say"),
        (method(term_titles={"elbo": "E"}), "Mine.term_titles names 'elbo'; let it name some"),
        (Untitled, "Untitled.term_titles names no term"),
        (terms(list), r"Mine.terms\(\) returned \['reconstruction', .* let it return a dictionary"),
        (terms(lambda found: {**found, "norm": 0.1}), r"returned 0.1 as 'norm'; let every term be"),
        (
            terms(lambda found: {"norm": torch.zeros(3)}),
            r"returned shape \[3\] as 'norm'; let every",
        ),
        (
            terms(lambda found: {name: value.detach() for name, value in found.items()}),
            r"Mine.terms\(\) returned a tensor without a gradient",
        ),
        (
            dynamics(step=lambda self, z, u: z[..., :-1]),
            r"Moving.step\(\) returned a float32 tensor of shape \[2\]; .* shape \[3\] here",
        ),
        (dynamics(forward=lambda self, z, u: z), r"Moving.forward\(\) returned .* LocalLinearis"),
        (
            dynamics(jacobian=lambda self, z, u: LocallyLinear.jacobian(self, z, u)[::-1]),
            r"Moving.jacobian\(\)\[0\] returned a float32 tensor of shape \[3, 2\]",
        ),
        (dynamics(jacobian=lambda self, z, u: z), r"Moving.jacobian\(\) returned .* two tensors"),
        (
            dynamics(last_weights=lambda self: [self.net[0].bias]),
            r"Moving.last_weights\(\) returned \[\[\d+\]\]; let it return tensors of shape \[3, ",
        ),
        (
            dynamics(features=lambda self, z, u: z),
            r"Moving.features\(\) returned a float32 tensor of shape \[3\]",
        ),
        (
            dynamics(features=lambda self, z, u: LocallyLinear.features(self, z, u).flip(-1)),
            r"Moving.features\(\) gives .*, where what step\(\) gains with last_weights\(\) \+ dW",
        ),
        (
            dynamics(jacobian=lambda self, z, u: (slopes(self, z, u)[0].mT, slopes(self, z, u)[1])),
            r"Moving.jacobian\(\)\[0\] gives .* at \[\d, \d\], where the derivative of step",
        ),
        (
            dynamics(jacobian=lambda self, z, u: (slopes(self, z, u)[0], -slopes(self, z, u)[1])),
            r"Moving.jacobian\(\)\[1\] gives .*, where the derivative of step\(\) by u is",
        ),
        (
            dynamics(step=lambda self, z, u: LocallyLinear.step(self, z, u) + 0.1),
            r"Moving.forward\(\) gives .* at \[\d\], where step\(\) is .*; let all methods be",
        ),
    ],
)
def test_a_method_that_does_not_fit_is_told(
    kind: type[E2C], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "mine", kind)
    with pytest.raises(E2CError, match=told):
        tried(config_of("mine"))


def test_a_run_tries_its_model_out_before_it_records_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "mine", Scaled)
    monkeypatch.setattr(begin, "collect_transitions", None)
    with pytest.raises(E2CError, match=NOT_LOADED.format("Scaled.constant then has no numbers")):
        train(Recipe(config_of("e2c", encoder="mine")), tmp_path / "run")
