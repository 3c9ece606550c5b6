"""How well a controller does in a world: one evaluation for all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from e2c.control.agent import Agent
from e2c.control.base import STEPS, Acting, Frames, problem_spec, rollout
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.scores import Scores, score
from e2c.files.tracking import Progress
from e2c.models.base import ACTED_IN, check_task
from e2c.options import SEEDS, Range, checked
from envs.world import World, check_world, episode_steps, settle_steps


@dataclass(frozen=True)
class Evaluation:
    """What a controller did, and how well.

    Attributes:
        episodes: what was recorded.
        scores: a row for each episode.
        seconds: wall-clock of all of them [s].
    """

    episodes: Episodes
    scores: Scores
    seconds: float


@checked
def evaluate(
    world: World,
    controller: Acting,
    seed: Annotated[int, Range(*SEEDS)] = 1000,
    goals: Frames | None = None,
    steps: Annotated[int | None, STEPS] = None,
    name: str = "evaluate",
) -> Evaluation:
    """Play one episode in each environment of a world, and score them.

    Args:
        world: what is acted in.
        controller: an agent, the oracle, or any other.
        seed: of the starts and of all else that is by chance in the world.
        goals: what the episodes are to reach; the world's own goals by default.
        steps: the longest that an episode may be; as long as the world's by default.
        name: the heading of the progress line.

    Raises:
        E2CError: when the world does not say how long an episode is, or an agent learned where
            observations or the limits of controls are others; and as `rollout`.
    """
    try:
        check_world(world)
        steps, settle = steps or episode_steps(world), settle_steps(world)
    except ValueError as error:
        raise E2CError(str(error)) from None
    if isinstance(controller, Agent):
        check_task(controller.spec, problem_spec(world), ACTED_IN)
    rng, started = np.random.default_rng(seed), time.perf_counter()
    with Progress(name, world.num_envs * steps, "steps") as progress:
        episodes = rollout(
            world, controller, steps, rng, goals, lambda t: progress(world.num_envs * t)
        )
    seconds = time.perf_counter() - started
    return Evaluation(episodes, score(episodes, settle), seconds)
