"""Assess an agent: the closed loop, the oracle beside it, a film, and the files of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.control.agent import Agent, check_task
from e2c.control.base import Frames, make_world_of, problem_spec
from e2c.control.oracle import Oracle
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import Evaluation, evaluate
from e2c.evaluation.watch import watch
from e2c.files import arrays
from e2c.files.provenance import provenance
from e2c.files.whole import write_json
from e2c.models.base import ProblemSpec
from e2c.report.film import film_frames
from e2c.report.video import write_video
from envs.world import Simulated, World, name_of

EPISODES_SCHEMA = "e2c-evaluation-1"
"""Of the file that keeps the states and controls of an evaluation."""


@dataclass(frozen=True)
class Outputs:
    """Files that an evaluation writes, each only where asked for."""

    json: Path | None = None
    """File to write the results to."""
    video: Path | None = None
    """File to film the first episode to (.mp4)."""
    picture: Path | None = None
    """File to draw all episodes to, by their distance from the goal (.png)."""
    trajectories: Path | None = None
    """File to keep the states and controls of all episodes in, and the oracle's (.npz)."""


@dataclass(frozen=True)
class Assessment:
    """What an agent does, and what the oracle does from the same starts.

    Attributes:
        world: in which they acted, as it was disturbed.
        agent: of the agent.
        oracle: of the oracle; None where it was not asked for, or the world is not simulated.
        results: all figures, ready for JSON.
    """

    world: World
    agent: Evaluation
    oracle: Evaluation | None
    results: dict[str, Any]


def assess(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance | None = None,
    oracle: bool = True,
    goal: Frames | None = None,
) -> Assessment:
    """Run the closed loop, and the oracle on the same starts, all episodes in one batch.

    Args:
        agent: acts on frames alone.
        episodes: E.
        seed: of the starts.
        disturbance: what the world does besides; nothing by default.
        oracle: whether to run the oracle, where the world is simulated.
        goal: an observation to reach, in place of the world's own goals.

    Raises:
        E2CError: when there is no such disturbance of the agent's task.
    """
    disturbance = disturbance or Disturbance()
    check_task(agent, problem_spec(make_world_of(agent.spec), agent.spec.options))
    world = disturbance.world(agent.spec, episodes, seed)
    goals = None if goal is None else np.repeat(goal[None], episodes, 0)
    steps = agent.spec.episode_steps
    played = evaluate(world, agent, seed, goals, steps)
    results = {
        **played.scores.summary(),
        "faults": {kind: int(counts.sum()) for kind, counts in agent.faults.items()},
        "episodes": played.scores.rows(**agent.faults),
        "seconds": played.seconds,
    }
    ideal = None
    if isinstance(world.unwrapped, Simulated):
        expert = Oracle(world, agent.options)
        results["cost_mean"] = float(expert.price(played.episodes).mean())
        if oracle:
            ideal = evaluate(world, expert, seed, steps=steps, name="oracle")
            best = ideal.scores.summary()
            results |= {f"oracle_{key}": best[key] for key in ("success_rate", "time_in_goal")}
            results["oracle_cost_mean"] = float(expert.price(ideal.episodes).mean())
    return Assessment(world, played, ideal, results)


def assess_and_film(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance,
    oracle: bool,
    outputs: Outputs,
    goal: Frames | None = None,
) -> dict[str, Any]:
    """Assess an agent; time and film the first start alone; write what is asked for.

    Returns:
        The results, as they are written to JSON.

    Raises:
        E2CError: when there is no such disturbance of the agent's task.
    """
    found = assess(agent, episodes, seed, disturbance, oracle, goal)
    alone = make_world_of(agent.spec, 1, render_mode=_render_mode(found.world))
    goals = None if goal is None else goal[None]
    sighting = watch(agent, alone, seed, _title(found), goals)
    results = found.results | {
        "plan_ms_median": float(np.median(sighting.milliseconds)),
        "plan_ms_p99": float(np.percentile(sighting.milliseconds, 99)),
        "env": agent.spec.env,
        "start_seed": seed,
        "disturbance": vars(disturbance),
        **provenance(),
    }
    if outputs.json is not None:
        write_json(outputs.json, results)
    if outputs.picture is not None:
        outputs.picture.parent.mkdir(parents=True, exist_ok=True)
        _draw_episodes(found, outputs.picture)
    if outputs.video is not None:
        outputs.video.parent.mkdir(parents=True, exist_ok=True)
        write_video(outputs.video, film_frames(sighting.film), fps=1 / agent.spec.dt)
    if outputs.trajectories is not None and isinstance(found.world.unwrapped, Simulated):
        outputs.trajectories.parent.mkdir(parents=True, exist_ok=True)
        _write_trajectories(outputs.trajectories, agent.spec, found)
    return results


def _render_mode(world: World) -> str | None:
    """Return how a world is made that can be filmed; a foreign one renders anyway."""
    return "rgb_array" if isinstance(world.unwrapped, Simulated) else None


def _title(found: Assessment) -> str:
    """Return the heading of the film."""
    system: Any = found.world.unwrapped
    told = system.task.goal_sentence if isinstance(system, Simulated) else name_of(found.world)
    rate = found.results.get("success_rate")
    return told if rate is None else f"{told}: {rate:.0%} succeed"


def _draw_episodes(found: Assessment, path: Path) -> None:
    """Draw how far from their goals the episodes were.

    Raises:
        E2CError: when the world does not tell states.
    """
    from e2c.report import plots  # see `e2c.report.style`

    system: Any = found.world.unwrapped
    played = found.agent.episodes
    if not isinstance(system, Simulated) or played.in_goal is None:
        raise E2CError("--picture draws true states, which this world does not tell; leave it out.")
    task, states = system.task, _by_episode(played.states, played)
    away = (states - task.goal_states(states[:, 0])[:, None])[..., task.plotted]
    success = found.agent.scores.success
    assert success is not None
    figure = plots.episodes(task.components[task.plotted], away, success, task.dt)
    plots.save_figure(figure, path)


def _write_trajectories(path: Path, spec: ProblemSpec, found: Assessment) -> None:
    """Keep what the agent and the oracle did from the same starts."""
    system: Any = found.world.unwrapped
    task, played = system.task, found.agent.episodes
    states = _by_episode(played.states, played)
    ideal = states[:0]
    if found.oracle is not None:
        ideal = _by_episode(found.oracle.episodes.states, found.oracle.episodes)
    kept: dict[str, NDArray[Any]] = {
        "states": states,
        "actions": played.actions.reshape(len(played), -1, played.actions.shape[1]),
        "oracle_states": ideal,
    }
    header = {
        "schema": EPISODES_SCHEMA,
        "env": spec.env,
        "dt": spec.dt,
        "task": task.goal_sentence,
        "components": [vars(component) for component in task.components],
        "plotted": task.plotted,
        "goals": np.unique(task.goal_states(states[:, 0]), axis=0).tolist(),
    }
    arrays.write(path, kept, header)


def _by_episode(moments: NDArray[Any] | None, episodes: Episodes) -> NDArray[Any]:
    """Return what belongs to the moments of E equally long episodes as ``[E, T + 1, ...]``."""
    assert moments is not None
    return moments.reshape(len(episodes), -1, *moments.shape[1:])
