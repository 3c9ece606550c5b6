"""The first data: recorded in a world, or read from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from e2c.config import Config, DataConfig, Recipe
from e2c.control.agent import Agent
from e2c.control.base import Controller, Frames, make_world, problem_spec, rollout
from e2c.control.simple import Noise, Noisy, random_controls
from e2c.data import episodes as recorded
from e2c.data.episodes import RECORDING, Episodes, read_provenance
from e2c.data.looks import SEEN, unlikeness
from e2c.errors import E2CError
from e2c.files.tracking import Progress
from e2c.files.untrusted import shown
from e2c.models.base import ProblemSpec, check_task
from e2c.models.checkpoint import MAX_STEPS
from e2c.options import leaves, to_dict
from envs import Camera, most_side_by_side
from envs.images import PICTURE_SIZE, is_size
from envs.world import Simulated, World, episode_steps

RESTART_STEPS = 25
"""Steps of an episode that begins at a random restart."""


def collect(
    world: World,
    length: int,
    rng: np.random.Generator,
    agent: Agent | None = None,
    exploration: float = 0.0,
    noise: Noise = "auto",
    restarts: bool = True,
    source: Mapping[str, Any] | None = None,
) -> Episodes:
    """Record one episode in each environment of a world.

    Args:
        world: what is acted in.
        length: steps of an episode.
        rng: draws the starts and the controls.
        agent: acts, with noise; None for random controls.
        exploration: standard deviation of the noise on the agent's controls, as a share of the
            limits.
        noise: the kind of random controls.
        restarts: whether episodes of a simulated world begin at random states, which cover its
            state space. Episodes of other worlds begin where the world resets to.
        source: further entries of the episodes' provenance.
    """
    restarts = has_restarts(world, restarts)
    noise = suited(noise, restarts)
    controller: Controller = random_controls(world, rng, length, noise)
    made = {"controller": "random" if noise == "uniform" else f"{noise} noise"}
    if agent is not None:
        controller, made = noisy(agent, exploration, rng), {"controller": "agent"}
    options: dict[str, Any] = {"restart": True} if restarts else {}
    frames = (length + 1) / length
    with Progress("collect", int(world.num_envs * length * frames), "frames") as progress:
        episodes = rollout(
            world,
            controller,
            length,
            rng,
            watch=lambda t: progress(int(world.num_envs * t * frames)),
            **options,
        )
    return with_source(episodes, {**made, "restarts": restarts, "length": length, **(source or {})})


def chosen(options: DataConfig, world: World) -> DataConfig:
    """Return options with noise and episode length chosen for a world, where they were open."""
    restarts = has_restarts(world, options.restarts)
    length = options.episode_length or (RESTART_STEPS if restarts else episode_steps(world))
    return replace(options, noise=suited(options.noise, restarts), episode_length=length)


def suited(noise: Noise, restarts: bool) -> Noise:
    """Choose random controls for ``auto``: without restarts the telegraph, which moves most."""
    return noise if noise != "auto" else "uniform" if restarts else "telegraph"


def has_restarts(world: World, wanted: bool = True) -> bool:
    """Say whether episodes begin at random states: where ``wanted``, in a simulated world."""
    return wanted and isinstance(world.unwrapped, Simulated)


def noisy(agent: Agent, exploration: float, rng: np.random.Generator) -> Noisy:
    """Add noise to an agent's controls; ``exploration`` is its share of each control's limit."""
    return Noisy(agent, exploration * agent.spec.control_scale.numpy(), rng)


def with_source(episodes: Episodes, source: Mapping[str, Any]) -> Episodes:
    """Return episodes with ``source`` added to their provenance."""
    return replace(episodes, provenance={**episodes.provenance, **source})


def collect_transitions(
    env_id: str,
    transitions: int,
    length: int | None,
    seed: int,
    agent: Agent | None = None,
    exploration: float = 0.0,
    noise: Noise = "auto",
    restarts: bool = True,
    goal: Frames | None = None,
    most: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Episodes:
    """Record episodes of at most ``length`` steps until there are enough transitions.

    Args:
        env_id: id of the world.
        transitions: how many to record, rounded up to whole episodes.
        length: steps of an episode, which the world may end earlier; None for what `chosen` says.
        seed: of starts and controls.
        agent: acts, with noise; None for random controls.
        exploration: the noise on the agent's controls, as a share of the limits.
        noise: see `collect`.
        restarts: see `collect`.
        goal: an observation; recording goes on until an episode shows it, see
            `e2c.data.looks.unlikeness`. It is ignored where the world tells different goals.
        most: this many transitions end recording, even if no episode shows the goal.
        options: of the world, see `make_world`; they may have the names of arguments here.
    """
    rng, parts, asked = np.random.default_rng(seed), list[Episodes](), dict(options or {})
    with closing(make_world(env_id, 1, **asked)) as alone:
        spec = problem_spec(alone, asked)
        if agent is not None:
            check_task(agent.spec, spec)
        wanted = chosen(DataConfig(episode_length=length, noise=noise, restarts=restarts), alone)
    assert wanted.episode_length is not None
    steps, side_by_side = min(wanted.episode_length, spec.episode_steps), most_side_by_side(env_id)
    while _wanting(parts, transitions, goal, most):
        missing = max(1, transitions - sum(part.transitions for part in parts))
        count, source = min(-(-missing // steps), side_by_side), {"seed": seed}
        with closing(make_world(env_id, count, **asked)) as world:
            parts.append(collect(world, steps, rng, agent, exploration, noise, restarts, source))
    return recorded.join(parts)


def _wanting(parts: Sequence[Episodes], transitions: int, goal: Frames | None, most: int) -> bool:
    """Say whether more episodes must be recorded; see `collect_transitions`."""
    count = sum(part.transitions for part in parts)
    if goal is None or not transitions <= count < most or _differ(parts):
        return count < transitions
    planes = parts[0].layout.to_planes(goal)
    return min(unlikeness(part, planes) for part in parts) > SEEN


def _differ(parts: Sequence[Episodes]) -> bool:
    """Say whether a world told the episodes different goals."""
    goals = [goal for part in parts if part.goals is not None for goal in part.goals]
    return any((goal != goals[0]).any() for goal in goals)


def without_environment(recipe: Recipe) -> Recipe:
    """Return a recipe without own rounds and evaluation, if its data are a recording.

    A recording has no environment to act in.

    Raises:
        E2CError: when the data cannot be read, or an environment or a camera is asked for beside a
            recording.
    """
    config = recipe.config
    if not recipe.data or read_provenance(Path(recipe.data[0]))["env"] != RECORDING:
        return recipe
    usual = dict(leaves(Config()))
    for name, value in leaves(config):
        if name.startswith(("env", "camera.")) and value not in (usual[name], RECORDING):
            raise E2CError(
                f"{recipe.data[0]} is a recording: it has no environment and its pictures are "
                f"made, and {name} is {shown(value)}; leave that out, or make the recording again "
                "with e2c-import, which takes --env and --camera.size."
            )
    data, evaluation = replace(config.data, rounds=0), replace(config.evaluation, episodes=0)
    config = replace(config, env=RECORDING, data=data, evaluation=evaluation)
    return replace(recipe, config=config)


@contextmanager
def opened_task(recipe: Recipe) -> Iterator[tuple[World | None, ProblemSpec]]:
    """Yield the world to act in, None where the data are a recording; and its description.

    Raises:
        E2CError: as `make_world` and `problem_spec`; for a recording without such a description.
    """
    if recipe.config.env == RECORDING and recipe.data:
        yield None, _recorded_spec(Path(recipe.data[0]))
        return
    options = recipe.config.world_options()
    with closing(make_world(recipe.config.env, **options)) as world:
        yield world, problem_spec(world, options)


def spec_of(recipe: Recipe) -> ProblemSpec:
    """Return the description of the world to act in, or of the recording.

    Raises:
        E2CError: as `opened_task`.
    """
    with opened_task(recipe) as (_, spec):
        return spec


def _recorded_spec(path: Path) -> ProblemSpec:
    """Read the description of a task from the provenance of a recording."""
    told = read_provenance(path)
    try:
        made, camera = told["parameters"], Camera(**told["camera"])
        camera.check()
        low, high = (tuple(map(float, made[f"control_{end}"])) for end in ("low", "high"))
        dt, steps = float(made["dt"]), int(told["episode_steps"])
        size = tuple(told[PICTURE_SIZE]) if PICTURE_SIZE in told else None
        possible = size is None or is_size(size)
        if len(low) != len(high) or not (dt > 0 and steps > 0 and possible):
            raise ValueError("they do not fit together")
    except (LookupError, TypeError, ValueError) as error:
        raise E2CError(
            f"{path} does not tell the limits of its controls, its control step and its camera "
            f"({shown(error)}); import it again with e2c-import."
        ) from None
    return ProblemSpec(
        env=RECORDING,
        observation_shape=camera.shape,
        control_low=low,
        control_high=high,
        dt=dt,
        episode_steps=min(steps, MAX_STEPS),
        options={"camera": to_dict(camera)},
        picture_size=size,
    )


def load_data(paths: Sequence[Path], spec: ProblemSpec) -> list[Episodes]:
    """Read files of episodes in one world.

    Raises:
        E2CError: when a file is damaged, or of another world than ``spec``: another environment,
            other observations, another control step or other limits of the controls; when two
            files hold the same episodes.
    """
    loaded, before = [recorded.load(path) for path in paths], dict[str, Path]()
    for path, found in zip(paths, loaded, strict=True):
        if found.content_hash in before:
            raise E2CError(
                f"{path} holds the same episodes as {before[found.content_hash]}, which would "
                "count twice: give each recording once."
            )
        before[found.content_hash] = path
        for what, there, here in _facts(found, spec):
            if there != here:
                raise E2CError(
                    f"{path} was recorded where {what} was {shown(there)}, and this run is on "
                    f"{spec.env} where it is {here}: choose data of this task, or make them anew "
                    "with e2c-collect or e2c-import."
                )
    return loaded


def _facts(episodes: Episodes, spec: ProblemSpec) -> Iterator[tuple[str, Any, Any]]:
    """Yield each fact that must agree: its name, its value in a recording and in the task."""
    yield "the environment", episodes.provenance.get("env"), spec.env
    found, wanted = ([seen.frames, *seen.frame_shape] for seen in (episodes.layout, spec.layout))
    yield "the shape of an observation", found, wanted
    yield "the number of controls", episodes.actions.shape[1], len(spec.control_low)
    for parameters in _parameters(episodes.provenance):
        for key, (what, here) in {
            "dt": ("the control step", spec.dt),
            "control_low": ("the lowest control", list(spec.control_low)),
            "control_high": ("the highest control", list(spec.control_high)),
        }.items():
            if key in parameters:
                yield what, parameters[key], here


def _parameters(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of a recording's world, or those of each recording joined in it."""
    waiting: list[Any] = [provenance]
    while waiting:
        made = waiting.pop()
        if isinstance(made, Mapping):
            parameters, sources = made.get("parameters"), made.get("from")
            if isinstance(parameters, Mapping):
                yield parameters
            waiting += sources if isinstance(sources, list) else []
