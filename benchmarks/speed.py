"""How fast it is: control step, evaluation, collection, training. Figures are medians.

python -m benchmarks.speed --run runs/demo

On one thread; the evaluation also on all cores. Leave the machine idle meanwhile: threads that have
to wait for one another on a busy machine are many times slower than a single one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import torch
import tyro
from numpy.typing import ArrayLike, NDArray

from benchmarks.store import Benchmark, Result
from e2c.config import Config
from e2c.control.agent import Agent
from e2c.control.base import Controller, Frames, make_world, make_world_of, problem_spec, rollout
from e2c.control.belief import Belief
from e2c.data.windows import Windows
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import assess
from e2c.evaluation.scores import score
from e2c.learning.collect import collect, collect_transitions
from e2c.learning.schedule import Phase
from e2c.learning.trainer import Trainer
from e2c.models import checkpoint
from e2c.models.methods import build_model
from envs.world import settle_steps, simulated
from planners import ILQGOptions

T = TypeVar("T")

AHEAD = 50
"""Horizon of the step that is timed with one iteration."""
WARM_UP = 20
"""Control steps and training steps that are left out of the figures."""


@dataclass(frozen=True)
class Speed(Benchmark):
    """Measure a trained agent and what made it."""

    run: Path | None = None
    """Run folder that training wrote; left out, the newest under runs."""
    episodes: int = 3
    """Episodes of the agent alone."""
    batch: int = 100
    """Episodes side by side."""
    training_steps: int = 100
    """Training steps timed."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        with threads(1):
            found = self.result("speed", self.measured)
        print(json.dumps(found, indent=1))

    def measured(self) -> Result:
        """Take the times."""
        run = self.run or newest_run()
        agent = load_agent(run)
        return {
            "control_step": control_step(agent, self.episodes),
            "control_step_once": control_step(once(agent), self.episodes),
            "belief_share": belief_share(agent, self.episodes),
            f"control_step_batch_{self.batch}": control_step_of_batch(agent, self.batch),
            "collect": collection(agent.spec.env),
            "train": training(self.training_steps),
            "evaluate": evaluation(agent, self.batch),
            "run": str(run),
        }


def newest_run() -> Path:
    """Return the run folder under ``runs`` that was finished last.

    Raises:
        E2CError: when there is none.
    """
    found = sorted(Path("runs").glob(f"*/{checkpoint.NAME}"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise E2CError("There is no run under runs/; train one first, or name one with --run.")
    return found[-1].parent


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch and the planner use ``count`` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(count)):
            yield
    finally:
        torch.set_num_threads(before)


def once(agent: Agent) -> Agent:
    """Return the agent with one iteration a step, `AHEAD` steps ahead, from the last plan alone."""
    options = replace(agent.options, horizon=AHEAD, iterations=1, catch=False)
    return Agent(agent.model, agent.spec, options)


def control_step(agent: Agent, episodes: int) -> dict[str, Any]:
    """Time an agent alone, episode by episode; then its parts, in an episode of their own."""
    starts = starts_of(agent, episodes)
    timed = [closed_loop(agent, start[None]) for start in starts]
    steps = np.concatenate([milliseconds[WARM_UP:] for milliseconds in timed])
    with parts_timed(agent) as parts:
        closed_loop(agent, starts[:1])
    count = agent.spec.episode_steps - WARM_UP  # the calls after those of the first plan
    return {
        **statistics(steps),
        "first_ms": float(np.median([milliseconds[0] for milliseconds in timed])),
        "parts_ms": {name: float(np.median(taken[-count:])) for name, taken in parts.items()},
        **floor(agent),
    }


def belief_share(agent: Agent, episodes: int) -> float | None:
    """Tell what share of a control step goes into the belief; None without a sight."""
    if agent.model.sight is None:
        return None
    options = replace(agent.options, belief=True)
    step = control_step(Agent(agent.model, agent.spec, options), episodes)
    parts: dict[str, float] = step["parts_ms"]
    return (parts["predict"] + parts["observe"]) / float(step["median_ms"])


def floor(agent: Agent) -> dict[str, float]:
    """Tell how long a step's arithmetic takes at the rate of a product of matrices.

    Counted are the encoder and, for one iteration, a roll-out of every step size and a
    linearisation along the plan, each of whose states has a tangent for each latent dimension. Most
    steps need no more.
    """
    side, model, options = 256, agent.model, agent.options
    matrix = torch.randn(side, side)
    seconds = min(time_of(lambda: matrix @ matrix)[0] for _ in range(200))
    rate = 2 * side**3 / seconds
    networks = model.encoder, model.transition
    encoder, transition = (sum(p.numel() for p in net.parameters()) for net in networks)
    passes = 1 + ILQGOptions().step_sizes + 1 + agent.dynamics.state_dim
    work = 2 * (encoder + options.horizon * passes * transition)
    return {"matmul_gflops": rate / 1e9, "floor_ms": 1e3 * work / rate}


def control_step_of_batch(agent: Agent, batch: int) -> dict[str, float]:
    """Time ``batch`` episodes side by side, per control step of them all."""
    milliseconds = closed_loop(agent, starts_of(agent, batch))
    total = float(milliseconds.sum() / 1e3)
    steps = statistics(milliseconds[WARM_UP:])
    return {**steps, "first_ms": float(milliseconds[0]), "episode_seconds": total}


def starts_of(agent: Agent, count: int) -> NDArray[np.float64]:
    """Draw starts ``[count, n]`` of the agent's task, the same every time."""
    task = simulated(make_world_of(agent.spec), "This benchmark").task
    return task.sample_starts(np.random.default_rng(1000), count)


class Timed:
    """Acts as another controller, and takes the time of its every call.

    Attributes:
        milliseconds: wall-clock of each call of `act`.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.milliseconds: list[float] = []

    def reset(self, goals: Frames | None, /) -> None:
        """Let the other controller begin."""
        self.controller.reset(goals)

    def act(self, frames: Frames, /) -> ArrayLike:
        """Return the other's actions ``[B, m]``."""
        started = time.perf_counter()
        actions = self.controller.act(frames)
        self.milliseconds.append(1e3 * (time.perf_counter() - started))
        return actions


def closed_loop(agent: Agent, starts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Run episodes from ``starts [B, n]``; return the milliseconds of every call of the agent."""
    timed, world = Timed(agent), make_world_of(agent.spec, len(starts))
    rng = np.random.default_rng(0)
    rollout(world, timed, agent.spec.episode_steps, rng, states=starts)
    return np.array(timed.milliseconds)


@contextlib.contextmanager
def parts_timed(agent: Agent) -> Iterator[dict[str, list[float]]]:
    """Take the time of every call of the parts of a control step: name to milliseconds."""
    taken: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            started = time.perf_counter()
            result = function(*args)
            taken[name].append(1e3 * (time.perf_counter() - started))
            return result

        return call

    with contextlib.ExitStack() as stack:
        for name, owner, attribute in (
            ("encode", agent.model, "read"),
            ("plan", agent.planner, "plan"),
            ("predict", Belief, "predict"),
            ("observe", Belief, "observe"),
        ):
            function = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, function))
        yield taken


def collection(env_id: str, episodes: int = 200, length: int = 25) -> dict[str, float]:
    """Count the frames simulated and drawn in a second, the best of three times."""
    world, seconds = make_world(env_id, episodes), []
    for seed in range(3):
        started = time.perf_counter()
        frames = collect(world, length, np.random.default_rng(seed)).frames
        seconds.append(time.perf_counter() - started)
    return {"frames_per_second": len(frames) / min(seconds)}


def training(steps: int) -> dict[str, float]:
    """Count the optimiser steps in a second, with the default preset."""
    config = Config()
    world = make_world(config.env)
    goal = simulated(world, "This benchmark").task.goal_observation()
    data = collect_transitions(config.env, 1000, config.data.episode_length, 0)
    model = build_model(config.model, problem_spec(world), goal, 0)
    trainer = Trainer(model, config.objective, config.optimiser, 0)
    windows = Windows([data], config.objective.horizon, config.data.own_share, model.goal.device)
    phase = Phase(WARM_UP + steps, config.optimiser.learning_rate, True)
    ends = [time.perf_counter() for _ in trainer.run(windows, phase)][WARM_UP - 1 :]
    seconds = float(np.median([after - before for before, after in itertools.pairwise(ends)]))
    return {"steps_per_second": 1 / seconds}


def evaluation(agent: Agent, episodes: int, alone: int = 3) -> dict[str, Any]:
    """Time ``assess``, with and without the oracle, and repeat a few episodes one by one."""
    seconds, found = time_of(lambda: assess(agent, episodes, 1000, oracle=False))
    seconds_with_oracle, with_oracle = time_of(lambda: assess(agent, episodes, 1000))
    rows = found.results["episodes"][:alone]
    same = [succeeds_alone(agent, row["start"]) == row["success"] for row in rows]
    return {
        "episodes": episodes,
        "seconds": seconds,
        "seconds_with_oracle": seconds_with_oracle,
        "success_rate": found.results["success_rate"],
        "oracle_success_rate": with_oracle.results["oracle_success_rate"],
        "one_by_one": {"episodes": len(same), "same_success": all(same)},
    }


def succeeds_alone(agent: Agent, start: list[float]) -> bool:
    """Run one episode from ``start [n]``; say whether it succeeds."""
    world, rng = make_world_of(agent.spec), np.random.default_rng(0)
    own = rollout(world, agent, agent.spec.episode_steps, rng, states=[start])
    return bool(score(own, settle_steps(world)).rows()[0]["success"])


def time_of(work: Callable[[], T]) -> tuple[float, T]:
    """Return how many seconds ``work`` took, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def statistics(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Summarise times."""
    return {
        "median_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
    }


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Speed)())
