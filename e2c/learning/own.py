"""Own episodes: the agent plays them, and they decide which round's model is kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e2c.config import Config, DataConfig
from e2c.control.agent import Agent
from e2c.control.base import Controller, Frames, make_world_of, rollout
from e2c.control.simple import random_controls
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.data.looks import SEEN, unlikeness
from e2c.errors import E2CError
from e2c.evaluation.nearness import squared_distances
from e2c.evaluation.scores import score
from e2c.files import runs
from e2c.learning.collect import noisy, suited, with_source
from e2c.models import checkpoint
from e2c.models.base import LatentModel, ProblemSpec
from envs.world import settle_steps

STILL = 0.1
"""Episodes have stayed where they began if their mean squared latent distance from their start is
below this share of the summed variance of the encodings."""


@dataclass(frozen=True)
class Candidate:
    """A model that played a round.

    Attributes:
        after_round: the last round that the model was trained on; 0 for the first data alone.
        model: the model.
    """

    after_round: int
    model: LatentModel


def data_file(folder: Path, number: int) -> Path:
    """Return where a run keeps its first data (0), or the own episodes of a round."""
    return folder / "data" / (f"round_{number}.npz" if number else "first.npz")


def episodes_of(folder: Path) -> list[Episodes]:
    """Read the data that a run was trained on; none where its folder holds the model alone."""
    paths = (data_file(folder, number) for number in itertools.count())
    return [recorded.load(path) for path in itertools.takewhile(Path.exists, paths)]


def play(
    agent: Agent,
    options: DataConfig,
    seed: int,
    number: int,
    goal: Frames | None = None,
    explore: bool = False,
) -> Episodes:
    """Let the agent play the episodes of a round, as a `player`, with noise on its controls.

    Where the best model is kept, the first episode is played without noise, to judge the model:
    noise makes some swings succeed and others fail.

    Args:
        agent: as it is now.
        options: how many episodes, and how much noise.
        seed: of the run.
        number: of the round, from 1.
        goal: an observation to reach, in place of the world's own goals.
        explore: whether random controls play in the agent's place.
    """
    rng, count = np.random.default_rng([seed, number]), options.episodes_per_round
    steps = own_steps(options, agent.spec)
    playing = noisy(player(agent, options), options.exploration, rng)
    if options.keep == "best":
        playing.scale = np.tile(playing.scale, (count, 1))
        playing.scale[0] = 0
    controller: Controller = playing
    goals = None if goal is None else np.repeat(goal[None], count, 0)
    with closing(make_world_of(agent.spec, count)) as world:
        if explore:
            controller = random_controls(world, rng, steps, suited("auto", restarts=False))
        episodes = rollout(world, controller, steps, rng, goals)
    who = "noise" if explore else "agent"
    return with_source(
        episodes, {"seed": seed, "round": number, "controller": who, "restarts": False}
    )


def player(agent: Agent, options: DataConfig) -> Agent:
    """Return an agent with the same model, and with the planner's options for own episodes."""
    own = {"horizon": options.own_horizon, "iterations": options.own_iterations}
    chosen: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    return Agent(agent.model, agent.spec, replace(agent.options, catch=False, **chosen))


@torch.inference_mode()
def stayed(model: LatentModel, episodes: Episodes) -> bool:
    """Say whether episodes neither left where they began nor showed the goal.

    An agent stays there if its model knows no way to the goal: every motion then looks worse than
    none. More such episodes teach the model nothing.
    """
    z = model.encode(episodes.planes()).mean
    first = z[[episodes.moment_rows(e).start for e in range(len(episodes))]]
    lengths = torch.from_numpy(episodes.lengths + 1).to(z.device)
    away = (z - first.repeat_interleave(lengths, 0)).square().sum(-1).mean()
    still = bool(away < STILL * model.latent_variance)
    return still and unlikeness(episodes, model.goal.cpu().numpy()) > SEEN


def missed(played: Sequence[Episodes], goal: NDArray[np.uint8]) -> bool:
    """Say whether the agent showed the goal in none of its episodes; rounds of noise do not count.

    Args:
        played: own episodes, a round each.
        goal: ``[C, H, W]``, for episodes without a goal of their own.
    """
    for part in played:
        for episode in part.split() if part.provenance["controller"] == "agent" else ():
            told = episode.goal_planes()
            if unlikeness(episode, goal if told is None else told[0]) <= SEEN:
                return False
    return True


def own_steps(options: DataConfig, spec: ProblemSpec) -> int:
    """Return how many steps an own episode has, at most."""
    return min(options.own_length or spec.episode_steps, spec.episode_steps)


def round_steps(options: DataConfig, spec: ProblemSpec) -> int:
    """Return how many transitions a round of own episodes brings, at most."""
    return options.episodes_per_round * own_steps(options, spec)


def scores(episodes: Episodes, options: DataConfig, spec: ProblemSpec) -> dict[str, float]:
    """Return scores of own episodes, as far as their world tells them.

    They are shown and logged; nothing is learned or chosen from them. Success is judged at the end
    of an episode. So its rate is given only if own episodes are as long as the world's.
    """
    with closing(make_world_of(spec)) as world:
        found = score(episodes, settle_steps(world)).summary()
    whole = own_steps(options, spec) == spec.episode_steps
    told = ("success_rate", "time_in_goal") if whole else ("time_in_goal",)
    return {f"own_{key}": found[key] for key in told if key in found}


def keep_candidate(
    folder: Path, number: int, model: LatentModel, config: Config, spec: ProblemSpec
) -> None:
    """Keep the model that plays a round, in a folder like that of a run."""
    place = _candidate(folder, number)
    place.mkdir(parents=True, exist_ok=True)
    checkpoint.save(place / checkpoint.NAME, model, config, spec)


def best_candidate(folder: Path, data: Sequence[Episodes]) -> tuple[Candidate, list[float]]:
    """Return the model whose episode without noise was nearest to the goal, and all the distances.

    Models of successive rounds differ more by chance than by progress. The encoder of the last
    round's model measures all distances, whichever model the run has now.

    Args:
        folder: of the run.
        data: its first data, then the own episodes of every round.
    """
    models = [_load_candidate(folder, number) for number in range(1, len(data))]
    distances = [distance_to_goal(models[-1], next(played.split())) for played in data[1:]]
    best = int(np.argmin(distances))
    return Candidate(best, models[best]), distances


def distance_to_goal(model: LatentModel, episodes: Episodes) -> float:
    """Return how far episodes were from their goals, in the latent space of ``model``.

    This is the mean over the steps of the squared latent distance to the episode's goal, divided by
    the summed variance of the encodings. The planner's cost counts the same distance.
    """
    return float(squared_distances(model, episodes).mean() / model.latent_variance)


def _candidate(folder: Path, number: int) -> Path:
    """Return where the model that plays this round is kept."""
    return folder / runs.CANDIDATES / f"round_{number}"


def _load_candidate(folder: Path, number: int) -> LatentModel:
    """Read the model that played a round of this run."""
    path = _candidate(folder, number)
    try:
        return checkpoint.load(path)[0]
    except E2CError:
        raise E2CError(
            f"{path}, one of the models that this run was to choose from, is missing or damaged; "
            f"remove {folder} and train again."
        ) from None
