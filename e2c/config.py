"""What can be chosen: the options of all parts, composed into a recipe.

The options of an algorithm stand beside it: the networks' in ``models/options.py``, the objectives'
beside the methods, the optimiser's beside the trainer. What can be derived from the environment
(observation shape, control limits, control step) is never configured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from e2c.errors import E2CError
from e2c.learning.trainer import OptimiserConfig
from e2c.models.methods import find_method
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.options import KIND, SEEDS, check_ranges, option


@dataclass(frozen=True)
class DataConfig:
    """The transitions a model is learned from; ``--data FILE`` replaces the random ones."""

    transitions: int = option(5000, 1, 1e7)
    """Random transitions, from random restarts under random controls."""
    episode_length: int = option(25, 1, 1e5)
    """Steps of each random episode."""
    rounds: int = option(5, 0, 1000)
    """Rounds of own episodes: act, add what was seen, train on."""
    episodes_per_round: int = option(5, 1, 1000)
    """Own episodes in a round, each as long as the task's."""
    exploration: float = option(0.15, 0, 1000)
    """Standard deviation of the noise on the agent's own controls, as a share of the limits."""
    own_share: float = option(0.5, 0, 1)
    """Share of each batch that comes from own episodes, once there are any."""
    keep: Literal["last", "best"] = "last"
    """Which model a run ends with: the last, or the best of all rounds, whose own episodes were
    nearest to the goal as the last one encodes them. To judge the last too takes one more round."""


@dataclass(frozen=True)
class PlannerConfig:
    """iLQG over the latent dynamics, in a receding horizon."""

    horizon: int = option(50, 1, 1000)
    """Steps planned ahead."""
    iterations: int = option(1, 1, 1000)
    """iLQG iterations at each control step; the plan before is the start."""
    first_iterations: int = option(50, 1, 10_000)
    """iLQG iterations at the first step of an episode."""
    restarts: int = option(8, 1, 1000)
    """Starting points optimised at the first step of an episode; the best is kept."""
    control_weight: float = option(0.5, 1e-6)
    """Cost of full control, per step, in units of the state cost of one standard deviation."""
    terminal_weight: float = option(1.0)
    """Weight of the last state's distance from the goal, against 1 for the others."""
    jacobian: Literal["true", "A"] = "true"
    """Derivative of the dynamics by the state: that of A(z)z + B(z)u + o(z), or A(z) alone."""


@dataclass(frozen=True)
class EvaluationConfig:
    """The closed loop at the end of a run; nothing is learned or chosen from it."""

    episodes: int = option(20, 0, 10_000)
    """Episodes, side by side, and the oracle's from the same starts; 0 for no evaluation."""
    seed: int = option(1000, *SEEDS)
    """Of the starts."""


def _objective_of(before: Mapping[str, Any]) -> type[ObjectiveConfig]:
    """Return the class of the objective's options for the method that ``before`` names."""
    model: ModelConfig = before.get("model", ModelConfig())
    return find_method(model.method).objective


@dataclass(frozen=True)
class Config:
    """What is learned, from how much, and how it is used."""

    env: str = "E2C/PendulumSwingUp-v0"
    """Gymnasium id of the task."""
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(
        default_factory=ObjectiveConfig, metadata={KIND: _objective_of}
    )
    """Of the class that the method names; see `with_method`."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run: the same recipe gives the same weights on one machine."""

    config: Config = field(default_factory=Config)
    """What is learned."""
    seed: int = option(0, *SEEDS)
    """Of data, weights, batches and exploration."""
    data: tuple[str, ...] = ()
    """Dataset files to start from, in place of random transitions."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = option(1, 1, 256)
    """Threads that torch uses; small networks gain nothing from more."""


def with_method(config: Config, name: str) -> Config:
    """Return ``config`` with another method, and with the options of that method's objective.

    Options that both objectives have keep their values; the others get their defaults.

    Raises:
        E2CError: when there is no such method.
    """
    kind, old = find_method(name).objective, config.objective
    objective = old
    if type(old) is not kind:
        shared = {item.name for item in dataclasses.fields(kind)} & vars(old).keys()
        objective = kind(**{key: getattr(old, key) for key in shared})
    model = dataclasses.replace(config.model, method=name)
    return dataclasses.replace(config, model=model, objective=objective)


def check(config: Config) -> Config:
    """Return ``config`` if every value is in its range and none contradicts another.

    Raises:
        E2CError: naming the first field that is not, its value and its range.
    """
    check_ranges(config)
    _check_objective(config)
    if config.data.episode_length < config.objective.horizon:
        raise E2CError(
            f"data.episode_length is {config.data.episode_length}; training on roll-outs of "
            f"objective.horizon = {config.objective.horizon} steps needs at least as many."
        )
    return config


def check_recipe(recipe: Recipe) -> Recipe:
    """Return ``recipe`` if every value is in its range; see `check`."""
    check(recipe.config)
    return check_ranges(recipe)


def _check_objective(config: Config) -> None:
    method, objective = config.model.method, config.objective
    kind = find_method(method).objective
    if type(objective) is not kind:
        raise E2CError(
            f"objective holds {type(objective).__name__}, and the method {method!r} takes "
            f"{kind.__name__}; make the configuration with preset(...) or with_method(...)."
        )
    if objective.targets > objective.horizon:
        raise E2CError(
            f"objective.targets is {objective.targets}; a roll-out of objective.horizon = "
            f"{objective.horizon} steps has at most as many."
        )
