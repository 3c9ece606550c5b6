"""The Python door: what a program calls. The command lines call it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.config import Config, Recipe, with_method
from e2c.control.agent import Agent
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.files.tracking import WandbMode
from e2c.files.whole import write_whole
from e2c.learning import run
from e2c.learning.collect import collect_transitions
from e2c.models import checkpoint
from e2c.options import from_dict, to_dict
from e2c.presets import HEADLINE, PRESETS
from e2c.presets import preset as of_preset


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


def collect(
    env: str = HEADLINE,
    transitions: int = 5000,
    length: int = 25,
    seed: int = 0,
    agent: Agent | None = None,
    exploration: float = 0.15,
) -> Episodes:
    """Record episodes under random controls, or under an agent that explores.

    Args:
        env: id of the world.
        transitions: how many to record, rounded up to whole episodes.
        length: steps of an episode.
        seed: of starts and controls.
        agent: acts, with noise; without one, controls are random.
        exploration: standard deviation of the noise on the agent's controls, as a share of the
            limits.

    Returns:
        The episodes; their `save` writes a file that training takes.
    """
    return collect_transitions(env, transitions, length, seed, agent, exploration)


def train(
    out: str | Path,
    env: str = HEADLINE,
    preset: str = "default",
    seed: int = 0,
    goal: str | Path | NDArray[np.uint8] = "",
    recordings: Sequence[str | Path] = (),
    device: str = "cpu",
    threads: int = 1,
    wandb: WandbMode = "off",
    **changes: Mapping[str, Any],
) -> Agent:
    """Train an agent from pixels, or go on with a run that was interrupted.

    Args:
        out: run folder to make, or to go on with.
        env: id of the world.
        preset: named configuration to start from, as it is for the task.
        seed: of data, weights, batches and exploration.
        goal: what to reach, in place of the world's own goals: a file, as `e2c.control.goals` reads
            them, or an array: a picture, or an observation.
        recordings: files of episodes to start from, in place of random transitions.
        device: cpu or cuda.
        threads: threads that torch uses.
        wandb: whether to report to wandb too.
        changes: sections of the configuration and what is changed in them, such as
            ``optimiser={"steps": 1000}``; see `e2c.config`.

    Raises:
        E2CError: for anything that the user can put right.
    """
    config = changed(named(preset, env), changes)
    recipe = Recipe(
        config,
        seed=seed,
        goal=_goal_file(Path(out), goal) if isinstance(goal, np.ndarray) else str(goal),
        data=tuple(map(str, recordings)),
        device=device,
        threads=threads,
    )
    return run.train(recipe, Path(out), wandb).agent


def _goal_file(folder: Path, goal: NDArray[np.uint8]) -> str:
    """Keep a goal in the run's folder, so that the run can go on without whoever gave it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "goal.npy"
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


def changed(config: Config, changes: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return a configuration with some of its values changed.

    Args:
        config: to start from.
        changes: section -> field -> value.

    Raises:
        E2CError: for a section or a field that does not exist, or a value that is not allowed.
    """
    method = changes.get("model", {}).get("method")
    values = to_dict(config if method is None else with_method(config, method))
    for section, fields in changes.items():
        if not isinstance(fields, Mapping):
            raise E2CError(
                f"{section} is {fields!r}; give a mapping of what changes, such as "
                'optimiser={"steps": 1000}.'
            )
        values[section] = {**values.get(section, {}), **fields}
    found: Config = from_dict(values, Config)
    return found
