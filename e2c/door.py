"""The Python door: the functions that a program calls. The command lines call them too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from e2c.config import Config, DataConfig, Recipe, check_recipe, with_method, world_options
from e2c.control.agent import Agent
from e2c.control.goals import content_hash, from_array
from e2c.control.simple import Noise
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.files import runs
from e2c.files.tracking import WandbMode
from e2c.files.untrusted import brief
from e2c.files.whole import write_whole
from e2c.learning import run
from e2c.learning.collect import collect_transitions, spec_of, without_environment
from e2c.models import checkpoint
from e2c.options import checked, from_dict, range_of, to_dict
from e2c.presets import HEADLINE, PRESETS
from e2c.presets import preset as of_preset

Recordings = Annotated[
    Sequence[Annotated[str | Path, "the path of a file, as Episodes.save writes one"]],
    "a list of files, as Episodes.save writes them",
]


@checked
def load_agent(folder: str | Path, device: str = "cpu") -> Agent:
    """Load the agent of a run folder.

    Args:
        folder: the folder that training wrote.
        device: where the networks and the planner run.

    Raises:
        E2CError: when the folder or its checkpoint is missing, damaged or of another version, or
            there is no such device.
    """
    model, config, spec = checkpoint.load(Path(folder), device)
    return Agent(model, spec, config.planner)


@checked
def collect(
    env: str | None = None,
    transitions: Annotated[int, range_of(DataConfig, "transitions")] = 5000,
    length: Annotated[int | None, range_of(DataConfig, "episode_length")] = None,
    seed: Annotated[int, range_of(Recipe, "seed")] = 0,
    agent: Annotated[Agent | None, "an agent, as e2c.load_agent(FOLDER) returns it"] = None,
    exploration: Annotated[float, range_of(DataConfig, "exploration")] = 0.15,
    noise: Noise = "auto",
    restarts: bool = True,
    **options: Any,
) -> Episodes:
    """Record episodes under random controls, or under an agent that explores.

    Args:
        env: id of the world; by default the agent's, or that of the headline task.
        transitions: how many to record, rounded up to whole episodes.
        length: steps of an episode, at most those of the world; by default 25 from random restarts,
            else those of the world.
        seed: of starts and controls.
        agent: acts, with noise, towards the world's own goals; without one, controls are random.
        exploration: standard deviation of the noise on the agent's controls, as a share of the
            limits.
        noise: random controls: uniform, white, pink, red or telegraph. auto: uniform from random
            restarts, else telegraph.
        restarts: whether episodes begin at random states, where a world's states can be set.
        options: of the world, see `make_world`; those of the agent's world by default.

    Returns:
        The episodes; their `save` writes a file that training takes.

    Raises:
        E2CError: for an argument that is not allowed, or an agent of another task; and as
            `make_world`.
    """
    if others := sorted(options.keys() & {"env_id", "num_envs", "goal", "most"}):
        raise E2CError(
            f"e2c.collect has no argument {others[0]}; it takes options of the world, beside its "
            "own arguments (e2c.rollout lets an agent go for other goals than the world's)."
        )
    home = HEADLINE if agent is None else agent.spec.env
    if agent is not None and env in (None, home):
        options = {**agent.spec.options, **options}
    return collect_transitions(
        env or home, transitions, length, seed, agent, exploration, noise, restarts, options=options
    )


@checked
def train(
    out: str | Path,
    env: str = HEADLINE,
    preset: str = "default",
    seed: int = 0,
    goal: str | Path | NDArray[np.uint8] | Tensor = "",
    recordings: Recordings = (),
    device: str = "cpu",
    threads: int = 1,
    wandb: WandbMode = "off",
    **changes: Any,
) -> Agent:
    """Train an agent from pixels, or go on with a run that was interrupted.

    Args:
        out: run folder to make, or to go on with.
        env: id of the world.
        preset: named configuration to start from, for the task.
        seed: of data, weights, batches and exploration.
        goal: what to reach, in place of the world's own goals: a file, as `e2c.control.goals` reads
            them, or an array or a tensor: a picture, or an observation.
        recordings: files of episodes to start from, in place of random transitions.
        device: cpu or cuda.
        threads: threads that torch uses.
        wandb: whether to report to wandb too.
        changes: changes of the configuration by section, such as ``optimiser={"steps": 1000}``, and
            ``env_args``; see `e2c.config`.

    Raises:
        E2CError: for anything that the user can put right.
    """
    recipe = Recipe(
        changed(named(preset, env), changes),
        seed=seed,
        data=tuple(map(str, recordings)),
        device=device,
        threads=threads,
    )
    goal = _goal_file(Path(out), goal, check_recipe(recipe))
    return run.train(dataclasses.replace(recipe, goal=goal), Path(out), wandb).agent


def _goal_file(folder: Path, goal: str | Path | NDArray[np.uint8] | Tensor, recipe: Recipe) -> str:
    """Return the file of a goal; an array is written to the run's folder, named by its hash.

    Raises:
        E2CError: for an array that does not fit the world's observations, or for any other type.
    """
    if isinstance(goal, str | Path):
        return str(goal)
    if isinstance(goal, Tensor):
        goal = goal.numpy(force=True)
    if not isinstance(goal, np.ndarray):
        raise E2CError(f"goal is {brief(goal)}; give the path of a file, or an array.")
    from_array(goal, spec_of(without_environment(recipe)))
    runs.make_folder(folder)
    path = folder / f"goal_{content_hash(goal)[:16]}.npy"
    write_whole(path, lambda aside: np.save(aside, goal, allow_pickle=False))
    return str(path)


def named(name: str, env: str) -> Config:
    """Return the preset called ``name`` for a task.

    Raises:
        E2CError: when there is none.
    """
    if name not in PRESETS:
        raise E2CError(f"There is no preset {name!r}; choose one of: {', '.join(PRESETS)}.")
    return of_preset(name, env)


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a configuration with some of its values changed.

    Args:
        config: the configuration to start from.
        changes: section -> field -> value, or, for ``env_args``, the value itself.

    Raises:
        E2CError: for a section or a field that does not exist, or a value that is not allowed.
    """
    model = changes.get("model")
    if isinstance(model, Mapping) and "method" in model:
        config = with_method(config, model["method"])
    if "env_args" in changes:
        world_options(changes["env_args"], config.camera)
    values = to_dict(config)
    for name, change in changes.items():
        whole = isinstance(change, Mapping) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **change} if whole else change
    return from_dict(values, Config)
