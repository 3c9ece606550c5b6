"""The configuration: the options of all parts, composed into a recipe.

The options of an algorithm stand beside it: the networks' in ``models/options.py``, the objectives'
beside the methods, the optimiser's beside the trainer. Values that follow from the environment
(observation shape, control limits, control step) are never configured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from e2c.control.agent import PlannerConfig, find_planner
from e2c.control.simple import Noise
from e2c.errors import E2CError
from e2c.files.untrusted import parse_json, shown
from e2c.learning.schedule import OptimiserConfig
from e2c.models.methods import find_method
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig
from e2c.options import KIND, SEEDS, check_ranges, option, to_dict
from envs import Camera


@dataclass(frozen=True)
class DataConfig:
    """The transitions a model is learned from; ``--data FILE`` replaces the random ones."""

    transitions: int = option(600, 1, 1e7)
    """Transitions under random controls. While none of them shows the goal, random episodes from
    ordinary resets are added, in place of own episodes."""
    restarts: bool = False
    """Whether random episodes begin at random states, where a world's states can be set. Otherwise
    they begin as the world resets them."""
    noise: Noise = "auto"
    """Random controls: uniform and independent; white, pink or red noise, mostly beyond the limits
    and cut off there; or telegraph, full force that changes its sign now and then. auto: uniform
    from random restarts, else telegraph, which moves most."""
    episode_length: int | None = option(None, 1, 1e5)
    """Steps of each random episode; left out, 25 from random restarts, else as long as the
    world's."""
    rounds: int = option(14, 0, 1000)
    """Rounds of own episodes: act, add what was seen, train on."""
    episodes_per_round: int = option(1, 1, 1000)
    """Own episodes in a round."""
    own_length: int | None = option(100, 1, 1e5)
    """Steps of each own episode, at most; None for as long as the task's."""
    own_horizon: int | None = option(50, 1, 1000)
    """Steps that the agent plans ahead in own episodes; None for planner.horizon. With shorter
    plans it takes more ways to the goal and sees more; so planner.catch is off too."""
    own_iterations: int | None = option(1, 1, 1000)
    """iLQG iterations at each step of own episodes; None for planner.iterations."""
    exploration: float = option(0.15, 0, 1000)
    """Standard deviation of the noise on the agent's own controls, as a share of the limits."""
    own_share: float = option(0.5, 0, 1)
    """Share of each batch that comes from own episodes, once there are any."""
    keep: Literal["last", "best"] = "last"
    """Which model a run ends with: the last, or the best of all rounds. For best, the first own
    episode of each round has no noise, and the model that came nearest to the goal is kept; the
    last model's encodings say how near. One more round judges the last model too."""


@dataclass(frozen=True)
class EvaluationConfig:
    """The closed loop at the end of a run; nothing is learned or chosen from it."""

    episodes: int = option(20, 0, 10_000)
    """Episodes, side by side, and the oracle's from the same starts; 0 for no evaluation."""
    seed: int = option(1000, *SEEDS)
    """Seed of the starts."""


def _objective_of(before: Mapping[str, Any]) -> type[ObjectiveConfig]:
    """Return the class of the objective's options for the method that ``before`` names."""
    model: ModelConfig = before.get("model", ModelConfig())
    return find_method(model.method).objective


@dataclass(frozen=True)
class Config:
    """The configuration of a run: world, model, training, data, planner and evaluation."""

    env: str = "E2C/PendulumSwingUp-v0"
    """Gymnasium id of the world: a task of ours, or any environment that renders."""
    env_args: str = "{}"
    """Options of the environment, as JSON: '{"mass": 2}'."""
    camera: Camera = field(default_factory=Camera)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(
        default_factory=ObjectiveConfig, metadata={KIND: _objective_of}
    )
    """Options of the class that the method names; see `with_method`."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def world_options(self) -> dict[str, Any]:
        """Return the options that the world is made with; see `world_options`."""
        return world_options(self.env_args, self.camera)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run: the same recipe gives the same weights on one machine."""

    config: Config = field(default_factory=Config)
    """The configuration."""
    seed: int = option(0, *SEEDS)
    """Seed of data, weights, batches and exploration."""
    goal: str = ""
    """The observation to reach, in place of the world's own goals: a picture (.png, .jpg), an array
    (.npy) or a moment of a recording (FILE.npz:EPISODE:STEP)."""
    goal_state: tuple[float, ...] = ()
    """The goal in a simulated world: a state, at rest."""
    goal_sha256: str = ""
    """Hash of the goal that was given, computed by the run; another goal is refused."""
    data: tuple[str, ...] = ()
    """Files of episodes to start from, in place of random transitions."""
    data_sha256: tuple[str, ...] = ()
    """Hashes of these files, computed by the run; a file that has changed since is refused."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = option(1, 1, 256)
    """Threads that torch uses; small networks gain nothing from more."""


def world_options(env_args: str, camera: Camera) -> dict[str, Any]:
    """Return the options that a world is made with besides its id, in a form that JSON can hold.

    Args:
        env_args: options of the environment, as JSON.
        camera: how the environment's pictures become observations.

    Raises:
        E2CError: when ``env_args`` is not a text that holds a JSON mapping.
    """
    try:
        if not isinstance(env_args, str):
            raise ValueError(f"json.dumps makes one of a {type(env_args).__name__}")
        found = parse_json(env_args)
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
    except ValueError as error:
        raise E2CError(
            f"env_args is {shown(env_args)}; it must be a text, a JSON mapping such as "
            f"'{{\"mass\": 2}}' ({shown(error)})."
        ) from None
    return found if camera == Camera() else {**found, "camera": to_dict(camera)}


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
        E2CError: naming the first wrong field, its value and what is allowed.
    """
    check_ranges(config)
    config.world_options()
    find_planner(config.planner.name)
    _check_objective(config)
    length = config.data.episode_length
    if length is not None and length < config.objective.horizon:
        raise E2CError(
            f"data.episode_length is {length}; training on roll-outs of "
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
