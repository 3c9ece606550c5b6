"""Assess an agent: the closed loop, the oracle beside it, a film, and the files of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.control.agent import Agent, PlannerConfig
from e2c.control.base import Frames, make_world_of, problem_spec
from e2c.control.oracle import Oracle
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import Evaluation, evaluate
from e2c.evaluation.nearness import nearness
from e2c.evaluation.scores import Scores
from e2c.evaluation.watch import watch
from e2c.files import arrays
from e2c.files.meanwhile import Answer, Meanwhile
from e2c.files.provenance import provenance
from e2c.files.untrusted import shown
from e2c.files.whole import write_json
from e2c.models.base import ProblemSpec, check_task
from e2c.report.film import film_frames
from e2c.report.video import write_video
from envs.world import Simulated, World, name_of, settle_steps, simulated

EPISODES_SCHEMA = "e2c-evaluation-1"
"""Of the file that keeps the states and controls of an evaluation."""

MANY = 20
"""Episodes from which on it is worth starting a process for the oracle."""


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

    def check(self, spec: ProblemSpec, goal: Frames | None) -> None:
        """See that all of them can be written, before any episode is played.

        Args:
            spec: of the world.
            goal: given in place of the world's own goals, or None.

        Raises:
            E2CError: where states are asked for that the world does not tell, or distances from
                its own goals where others are given.
        """
        for flag, path in (("--picture", self.picture), ("--trajectories", self.trajectories)):
            if path is not None:
                _check_states(spec, flag)
        if self.picture is not None and goal is not None:
            raise E2CError(
                "--picture draws how far episodes are from the world's own goals, and another goal "
                "was given; give --video in its place."
            )


def _check_states(spec: ProblemSpec, flag: str) -> None:
    """Raise an E2CError where ``flag`` asks for states, and the world does not tell them."""
    try:
        with closing(make_world_of(spec)) as world:
            simulated(world, flag)
    except ValueError as error:
        raise E2CError(shown(error) + ".") from None


@dataclass(frozen=True, eq=False)
class Ideal:
    """What the oracle does from the starts of an evaluation; no agent is needed to know it.

    Attributes:
        scores: a row for each episode.
        states: ``[E, T + 1, n]``.
        cost: mean of what it minimises.
        seconds: wall-clock of all episodes [s].
    """

    scores: Scores
    states: NDArray[np.float64]
    cost: float
    seconds: float


@dataclass(frozen=True)
class Assessment:
    """What an agent does, and what the oracle does from the same starts.

    Attributes:
        world: in which they acted, as it was disturbed; it is closed, and still tells its task.
        agent: of the agent.
        oracle: of the oracle; None where it was not asked for, or the world is not simulated.
        results: all figures, ready for JSON.
    """

    world: World
    agent: Evaluation
    oracle: Ideal | None
    results: dict[str, Any]


def play_oracle(
    spec: ProblemSpec, options: PlannerConfig, episodes: int, seed: int, disturbance: Disturbance
) -> Ideal:
    """Let the oracle act in a simulated world, all episodes in one batch.

    Args:
        spec: the task.
        options: the agent's planner.
        episodes: E.
        seed: of the starts.
        disturbance: what the world does besides.
    """
    with closing(disturbance.world(spec, episodes, seed)) as world:
        oracle = Oracle(world, options)
        played = evaluate(world, oracle, seed, steps=spec.episode_steps, name="oracle")
        cost = float(oracle.price(played.episodes).mean())
    states = _by_episode(played.episodes.states, played.episodes)
    return Ideal(played.scores, states, cost, played.seconds)


OracleMeanwhile = Answer[Ideal] | None
"""What the oracle does, found out in a second process; None where that was not asked."""


def oracle_meanwhile(
    second: Meanwhile,
    world: World | None,
    spec: ProblemSpec,
    options: PlannerConfig,
    episodes: int,
    seed: int,
) -> OracleMeanwhile:
    """Let the oracle act in an undisturbed world while this process does other things.

    Args:
        second: makes the call.
        world: of the task, if there is one; nothing is begun where it is not simulated.
        spec: the task.
        options: the agent's planner.
        episodes: E; if there are not `MANY`, a second process would only take longer to start.
        seed: of the starts.
    """
    if world is None or episodes < MANY or not isinstance(world.unwrapped, Simulated):
        return None
    return second.ask(play_oracle, spec, options, episodes, seed, Disturbance())


def assess(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance | None = None,
    oracle: bool = True,
    goal: Frames | None = None,
    ideal: OracleMeanwhile = None,
) -> Assessment:
    """Run the closed loop, and the oracle on the same starts, all episodes in one batch.

    Args:
        agent: acts on frames alone.
        episodes: E.
        seed: of the starts.
        disturbance: what the world does besides; nothing by default.
        oracle: whether to run the oracle, where the world is simulated.
        goal: an observation to reach, in place of the world's own goals. A simulated world scores
            by its own, so it then tells no success, and the oracle, which knows no other, rests.
        ideal: from `oracle_meanwhile`; the oracle acts here by default.

    Raises:
        E2CError: when there is no such disturbance of the agent's task.
    """
    disturbance = disturbance or Disturbance()
    _check_task(agent.spec)
    best = None
    with closing(disturbance.world(agent.spec, episodes, seed)) as world:
        played = _play(agent, world, seed, goal)
        results = _agent_results(agent, played)
        if played.scores.success is None:
            results |= _nearness_results(agent, played, settle_steps(world), results["episodes"])
        if goal is None and isinstance(world.unwrapped, Simulated):
            results["cost_mean"] = float(Oracle(world, agent.options).price(played.episodes).mean())
            if oracle:
                asked = (agent.spec, agent.options, episodes, seed, disturbance)
                best = play_oracle(*asked) if ideal is None else ideal()
                results |= _oracle_results(best)
    return Assessment(world, played, best, results)


def _check_task(spec: ProblemSpec) -> None:
    """Raise an E2CError where the world, undisturbed, is no longer the one of ``spec``."""
    with closing(make_world_of(spec)) as undisturbed:
        check_task(spec, problem_spec(undisturbed, spec.options))


def _play(agent: Agent, world: World, seed: int, goal: Frames | None) -> Evaluation:
    """Let the agent act; a simulated world's scores are left out where it has another goal."""
    goals = None if goal is None else np.repeat(goal[None], world.num_envs, 0)
    played = evaluate(world, agent, seed, goals, agent.spec.episode_steps)
    if goal is None or not isinstance(world.unwrapped, Simulated):
        return played
    unscored = replace(played.scores, success=None, time_in_goal=None, steps_to_goal=None)
    return replace(played, scores=unscored)


def _agent_results(agent: Agent, played: Evaluation) -> dict[str, Any]:
    """Return the figures of what the agent just played."""
    return {
        **played.scores.summary(),
        **({} if agent.belief is None else agent.belief.summary()),
        "faults": {kind: int(counts.sum()) for kind, counts in agent.faults.items()},
        "episodes": played.scores.rows(**agent.faults),
        "seconds": played.seconds,
    }


def _nearness_results(
    agent: Agent, played: Evaluation, last: int, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return how near unscored episodes came, also beside what the ``rows`` tell of each."""
    near = nearness(agent, played.episodes, last)
    told = [{**mine, **row} for mine, row in zip(near.rows(), rows, strict=True)]
    return {**near.summary(), "episodes": told}


def _oracle_results(best: Ideal) -> dict[str, float | None]:
    """Return the figures of the oracle that stand beside the agent's."""
    summary = best.scores.summary()
    shown = {key: summary[key] for key in ("success_rate", "time_in_goal")}
    told = {f"oracle_{key}": value for key, value in shown.items()}
    return {**told, "oracle_cost_mean": best.cost, "oracle_seconds": best.seconds}


def assess_and_film(
    agent: Agent,
    episodes: int,
    seed: int,
    disturbance: Disturbance,
    oracle: bool,
    outputs: Outputs,
    goal: Frames | None = None,
    ideal: OracleMeanwhile = None,
    goal_state: Sequence[float] = (),
) -> dict[str, Any]:
    """Assess an agent; film and time it from the first start, disturbed alike; write what is asked.

    All but ``outputs`` is as in `assess`; ``goal_state`` is the state that ``goal`` shows, where it
    is known, and the film shows its region.

    Returns:
        The results, as they are written to JSON.

    Raises:
        E2CError: when there is no such disturbance of the agent's task.
    """
    found = assess(agent, episodes, seed, disturbance, oracle, goal, ideal)
    goals = None if goal is None else goal[None]
    title, mode = _title(found, goal, goal_state), _render_mode(found.world)
    with closing(disturbance.world(agent.spec, 1, seed, render_mode=mode)) as alone:
        sighting = watch(agent, alone, seed, title, goals, goal_state)
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


def _title(found: Assessment, goal: Frames | None, goal_state: Sequence[float]) -> str:
    """Return the heading of the film."""
    system: Any = found.world.unwrapped
    if goal_state:
        return f"Reach the state ({', '.join(f'{value:g}' for value in goal_state)})"
    if goal is not None:
        return f"{name_of(found.world)}: reach the goal that was given"
    own = isinstance(system, Simulated)
    told = system.task.goal_sentence if own else name_of(found.world)
    rate = found.results.get("success_rate")
    return told if rate is None else f"{told}: {rate:.0%} succeed"


def _draw_episodes(found: Assessment, path: Path) -> None:
    """Draw how far from their goals the episodes of a simulated world were."""
    from e2c.report import plots  # see `e2c.report.style`

    system: Any = found.world.unwrapped
    played = found.agent.episodes
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
    states, scored = _by_episode(played.states, played), found.agent.scores.success is not None
    kept: dict[str, NDArray[Any]] = {
        "states": states,
        "actions": played.actions.reshape(len(played), -1, played.actions.shape[1]),
        "oracle_states": states[:0] if found.oracle is None else found.oracle.states,
    }
    header = {
        "schema": EPISODES_SCHEMA,
        "env": spec.env,
        "dt": spec.dt,
        "task": task.goal_sentence if scored else "",
        "components": [vars(component) for component in task.components],
        "plotted": task.plotted,
        "goals": np.unique(task.goal_states(states[:, 0]), axis=0).tolist() if scored else [],
    }
    arrays.write(path, kept, header)


def _by_episode(moments: NDArray[Any] | None, episodes: Episodes) -> NDArray[Any]:
    """Return what belongs to the moments of E equally long episodes as ``[E, T + 1, ...]``."""
    assert moments is not None
    return moments.reshape(len(episodes), -1, *moments.shape[1:])
