"""What can be chosen, as frozen dataclasses.

A sentence stands under every field, and the command line's help shows it. What can be derived from
the environment (observation shape, control limits, control step) is never configured.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown


@dataclass(frozen=True)
class ModelConfig:
    """The method and its networks."""

    method: str = "e2c"
    """What is learned and by which objective; the names are in e2c/models/methods.py."""
    latent_dim: int = 5
    """n, the dimension of the latent state."""
    encoder_hidden: tuple[int, ...] = (256, 256)
    """Widths of the encoder's hidden layers."""
    decoder_hidden: tuple[int, ...] = (256, 256)
    """Widths of the decoder's hidden layers."""
    transition_hidden: tuple[int, ...] = (100, 100)
    """Widths of the transition's hidden layers."""
    activation: Literal["relu", "silu"] = "silu"
    """Between layers; a smooth one gives the planner smooth Jacobians."""
    pool: int = 2
    """The encoder first averages blocks of pool x pool pixels; 1 leaves the image as it is."""
    lattices: int = 2
    """The decoder draws lattices x lattices interleaved lattices of pixels, and one training step
    draws one of them: an unbiased, cheaper estimate of the likelihood. 1 draws all pixels."""
    transition_bound: float = 0.95
    """|v^T r| of A = I + v r^T stays below it, so that A is invertible; 0 for free v and r."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss: reconstruction + prediction + prior KL + lambda * latent KL, over roll-outs."""

    horizon: int = 8
    """Steps of the open-loop roll-outs trained on; 1 is the published loss."""
    targets: int = 3
    """Times of each roll-out at which the prediction is compared, one drawn in each equal part."""
    latent_weight: float = 50.0
    """lambda, the weight of the latent KL, at the end of its ramp."""
    latent_weight_start: float = 1.0
    """lambda at the start: small while the latent space unfolds."""
    ramp: float = 0.5
    """Share of the first phase over which lambda grows, geometrically."""
    prior_weight: float = 0.1
    """Weight of the KL from a standard normal, for the method whose bound has none (RCE)."""
    curvature_weight: float = 8.0
    """Weight of the curvature of the dynamics, for the methods that have it (PCC, PC3)."""
    curvature_noise: float = 0.1
    """Standard deviation of the step away from a state over which curvature is measured."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, over two kinds of phase: one on the first data, then one after each own round."""

    steps: int = 4000
    """Optimiser steps on the data given or drawn at random."""
    steps_per_round: int = 500
    """Optimiser steps after each round of the agent's own episodes."""
    batch_size: int = 32
    """Roll-outs in a batch."""
    learning_rate: float = 1e-3
    """Adam's step size in the first phase."""
    learning_rate_own: float = 5e-4
    """Adam's step size at the start of each later phase."""
    beta2: float = 0.999
    """Adam's decay of squared gradients."""
    decay: float = 0.1
    """Factor by which the step size has fallen at the end of each phase; 1 keeps it."""
    blur: float = 0.0
    """Blur of the images that training starts from, a standard deviation [px]; 0 for none."""
    blur_until: float = 0.4
    """Share of the first phase over which the blur falls to none, linearly."""
    clip: float = 100.0
    """The norm of the gradient is cut to this; 0 leaves it."""


@dataclass(frozen=True)
class DataConfig:
    """The transitions a model is learned from; ``--data FILE`` replaces the random ones."""

    transitions: int = 5000
    """Random transitions, from random restarts under random controls."""
    episode_length: int = 25
    """Steps of each random episode."""
    rounds: int = 5
    """Rounds of own episodes: act, add what was seen, train on."""
    episodes_per_round: int = 5
    """Own episodes in a round, each as long as the task's."""
    exploration: float = 0.15
    """Standard deviation of the noise on the agent's own controls, as a share of the limits."""
    fresh: float = 0.5
    """Share of each batch that comes from own episodes, once there are any."""
    keep: Literal["last", "best"] = "last"
    """Which model a run ends with: the last, or the best of all rounds, whose own episodes were
    nearest to the goal as the last one encodes them. To judge the last too takes one more round."""


@dataclass(frozen=True)
class PlannerConfig:
    """iLQG over the latent dynamics, in a receding horizon."""

    horizon: int = 50
    """Steps planned ahead."""
    iterations: int = 1
    """iLQG iterations at each control step; the plan before is the start."""
    first_iterations: int = 50
    """iLQG iterations at the first step of an episode."""
    restarts: int = 8
    """Starting points optimised at the first step of an episode; the best is kept."""
    control_weight: float = 0.5
    """Cost of full control, per step, in units of the state cost of one standard deviation."""
    terminal_weight: float = 1.0
    """Weight of the last state's distance from the goal, against 1 for the others."""
    jacobian: Literal["true", "A"] = "true"
    """Derivative of the dynamics by the state: that of A(z)z + B(z)u + o(z), or A(z) alone."""


@dataclass(frozen=True)
class EvaluationConfig:
    """The closed loop at the end of a run; nothing is learned or chosen from it."""

    episodes: int = 20
    """Episodes, side by side, and the oracle's from the same starts; 0 for no evaluation."""
    seed: int = 1000
    """Of the starts."""


@dataclass(frozen=True)
class Config:
    """What is learned, from how much, and how it is used."""

    env: str = "E2C/PendulumSwingUp-v0"
    """Gymnasium id of the task."""
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run: the same recipe gives the same weights on one machine."""

    config: Config = field(default_factory=Config)
    """What is learned."""
    seed: int = 0
    """Of data, weights, batches and exploration."""
    data: tuple[str, ...] = ()
    """Dataset files to start from, in place of random transitions."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Threads that torch uses; small networks gain nothing from more."""


def check(config: Config) -> Config:
    """Return ``config`` if every value is in its range.

    Raises:
        E2CError: naming the first field that is not, its value and its range.
    """
    for name, value in leaves(config):
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > MAX_LAYERS:
            raise E2CError(f"{name} has {len(numbers)} layers; it may have at most {MAX_LAYERS}.")
        for number in numbers:
            if isinstance(number, int | float):
                _check_range(name, number)
    if not config.model.decoder_hidden:
        raise E2CError("model.decoder_hidden is empty; it must hold at least one width.")
    if config.objective.targets > config.objective.horizon:
        raise E2CError(
            f"objective.targets is {config.objective.targets}; a roll-out of objective.horizon = "
            f"{config.objective.horizon} steps has at most as many."
        )
    if config.data.episode_length < config.objective.horizon:
        raise E2CError(
            f"data.episode_length is {config.data.episode_length}; training on roll-outs of "
            f"objective.horizon = {config.objective.horizon} steps needs at least as many."
        )
    return config


def check_recipe(recipe: Recipe) -> Recipe:
    """Return ``recipe`` if every value is in its range; see `check`."""
    check(recipe.config)
    _check_range("seed", recipe.seed)
    _check_range("threads", recipe.threads)
    return recipe


def _check_range(name: str, number: float) -> None:
    """Raise an E2CError unless a number is finite and in the range of its field."""
    low, high = _RANGES.get(name, (0, 1e9))
    if isinstance(number, float) and not math.isfinite(number):
        raise E2CError(f"{name} is {number}; it must be a finite number.")
    if number < low:
        raise E2CError(f"{name} is {number}; it must be at least {low:g}.")
    if number > high:
        raise E2CError(f"{name} is {number}; it must be at most {high:g}.")


MAX_LAYERS = 16
"""Hidden layers of a network."""
_WIDTHS = (1, 4096)
_SEEDS = (0, 2**63 - 1)
_RANGES: dict[str, tuple[float, float]] = {
    "seed": _SEEDS,
    "threads": (1, 256),
    "model.latent_dim": (1, 256),
    "model.encoder_hidden": _WIDTHS,
    "model.decoder_hidden": _WIDTHS,
    "model.transition_hidden": _WIDTHS,
    "model.pool": (1, 64),
    "model.lattices": (1, 64),
    "model.transition_bound": (0, 0.999),
    "objective.horizon": (1, 1000),
    "objective.targets": (1, 1000),
    "objective.latent_weight": (1e-6, 1e9),
    "objective.latent_weight_start": (1e-6, 1e9),
    "objective.ramp": (0, 1),
    "optimiser.steps": (1, 1e9),
    "optimiser.batch_size": (1, 65_536),
    "optimiser.learning_rate": (1e-8, 1e3),
    "optimiser.learning_rate_own": (1e-8, 1e3),
    "optimiser.beta2": (0, 0.99999),
    "optimiser.decay": (1e-6, 1e3),
    "optimiser.blur_until": (0, 1),
    "data.transitions": (1, 1e7),
    "data.episode_length": (1, 1e5),
    "data.rounds": (0, 1000),
    "data.episodes_per_round": (1, 1000),
    "data.exploration": (0, 1000),
    "data.fresh": (0, 1),
    "planner.horizon": (1, 1000),
    "planner.iterations": (1, 1000),
    "planner.first_iterations": (1, 10_000),
    "planner.restarts": (1, 1000),
    "planner.control_weight": (1e-6, 1e9),
    "evaluation.episodes": (0, 10_000),
    "evaluation.seed": _SEEDS,
}
"""Least and greatest value of each number; of the others, 0 and 1e9. The upper ends keep mistakes
from taking all memory and time."""


def leaves(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """List ``(dotted name, value)`` of every field that is not itself a configuration."""
    found: list[tuple[str, Any]] = []
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name
        nested = dataclasses.is_dataclass(value)
        found += leaves(value, name + ".") if nested else [(name, value)]
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return ``config`` as nested plain dictionaries, lists, numbers and strings."""
    return {
        item.name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for item in dataclasses.fields(config)
        for value in [getattr(config, item.name)]
    }


def from_dict(values: Any, kind: type = Config, prefix: str = "") -> Any:
    """Build a configuration from nested dictionaries, as `to_dict` returns them.

    Args:
        values: any parsed YAML or JSON; fields left out keep their defaults.
        kind: the dataclass to build.
        prefix: dotted name of where ``values`` stands, for messages.

    Raises:
        E2CError: for a key that does not exist, naming the nearest that does, or a wrong type.
    """
    if not isinstance(values, dict):
        raise E2CError(f"{prefix or 'The configuration'} must be a mapping; got {brief(values)}.")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(shown(key), hints, 1)
            known = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}."
            raise E2CError(f"Unknown configuration key {prefix}{shown(key)}; {known}")
    return kind(**{key: _typed(value, hints[key], prefix + key) for key, value in values.items()})


def _typed(value: Any, hint: Any, name: str) -> Any:
    """Return ``value`` as the type ``hint``, or say what was expected."""
    if dataclasses.is_dataclass(hint):
        return from_dict(value, typing.cast(type, hint), name + ".")
    origin, allowed = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and value in allowed:
        return value
    listed = origin is tuple and isinstance(value, list | tuple)
    if listed and all(type(item) is allowed[0] for item in value):
        return tuple(value)
    if hint is float and type(value) in (int, float) and not abs(value) > sys.float_info.max:
        return float(value)
    if hint in (int, str) and type(value) is hint:
        return value
    wanted = " or ".join(map(repr, allowed)) if origin is Literal else _type_name(hint)
    raise E2CError(f"{name} is {brief(value)}; it must be {wanted}.")


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.GenericAlias):
        return "a list of " + {int: "whole numbers", str: "texts"}[typing.get_args(hint)[0]]
    return {int: "a whole number", float: "a number", str: "a text"}[hint]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
