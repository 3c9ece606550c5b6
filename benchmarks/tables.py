"""All methods on all tasks, measured alike: the tables and the figures of the comparison.

python -m benchmarks.tables                                         # everything, ten seeds
python -m benchmarks.tables --tasks planar --methods e2c pcc --seeds 3 --jobs 2
python -m benchmarks.tables --draw-only                             # from what is there

A cell (task, method, seed) is a training run from nothing under the preset of that name, evaluated
from images alone on the same ten starts for every model. It leaves one JSON file in
``benchmarks/results/tables``, and a finished cell is never computed again. Cells are taken seed by
seed, so a benchmark that is stopped has measured every method alike; stopped at any moment, the
same command goes on where it was, in the middle of a training too. Random and zero controls and the
oracle, which is the default's planner on the true dynamics, are rows of one cell on each task.
"""

from __future__ import annotations

import difflib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.cells import ROOT, complain, compute
from e2c import experiment, runs
from e2c.agent import Agent, load_agent
from e2c.config import Config, EvaluationConfig, Recipe, leaves
from e2c.errors import E2CError, run_command, write_json
from e2c.evaluation import score
from e2c.experiment import Disturbance
from e2c.model import ProblemSpec
from e2c.oracle import Oracle
from e2c.presets import PRESETS, preset
from e2c.provenance import provenance
from envs.collect import BatchEnv, Controller, random_controller, record

RESULTS = Path(__file__).parent / "results" / "tables"
RUNS = ROOT / "runs" / "tables"

TASKS = {
    "swing_up": "E2C/PendulumSwingUp-v0",
    "planar": "E2C/Planar-v0",
    "balance": "E2C/PendulumBalance-v0",
    "reach": "E2C/PendulumReach-v0",
    "cart_pole": "E2C/CartPole-v0",
    "arm": "E2C/ThreeLinkArm-v0",
}
"""What the tasks are called here."""
START_SEED, EPISODES, NOISY_EPISODES, MAP_POINTS = 1000, 10, 20, 400
NOISE = {"planar": (1, 2, 5), "swing_up": (1, 2)}
"""Standard deviations of the noise on the state, in the task's unit, under which a task is run."""

UNTRAINED = {"random": 10, "zero": 1, "oracle": 1}
"""Rows without training: how often each start is repeated, with other random numbers."""
METHODS = (*UNTRAINED, *PRESETS)
"""The rows: these, and a model under each preset."""

Play = Callable[[Disturbance, int], dict[str, Any]]
"""Runs that many episodes from the starts of `START_SEED` in a disturbed world: their scores."""


@dataclass(frozen=True)
class Cell:
    """One model on one task, or a row without training on it."""

    task: str
    method: str
    seed: int

    @classmethod
    def named(cls, name: str) -> Cell:
        """Return the cell called ``task:method:seed``.

        Raises:
            E2CError: for a task or a method that there is not.
        """
        task, method, seed = name.split(":")
        _check_known("task", (task,), TASKS)
        _check_known("method", (method,), METHODS)
        return cls(task, method, int(seed))

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return f"{self.task}:{self.method}:{self.seed}"

    @property
    def path(self) -> Path:
        """Its file."""
        return RESULTS / self.task / self.method / f"seed{self.seed}.json"

    @property
    def folder(self) -> Path:
        """Its run folder while it is computed."""
        return RUNS / self.task / self.method / f"seed{self.seed}"


@dataclass(frozen=True)
class Tables:
    """Measure methods on tasks over seeds, cell by cell; write the tables and draw the figures."""

    tasks: tuple[str, ...] = ("all",)
    """Tasks to measure: names, or all."""
    methods: tuple[str, ...] = ("all",)
    """Rows to measure: presets, random, zero, oracle, or all."""
    seeds: int = 10
    """Models of each method on each task."""
    jobs: int = 2
    """Cells computed at the same time, each on its share of the cores."""
    draw_only: bool = False
    """Measure nothing; draw what is there."""
    keep_runs: bool = False
    """Keep the run folders, under runs/tables."""
    cell: str = ""
    """Compute this one cell here, TASK:METHOD:SEED, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw."""
        if self.cell:
            _compute(Cell.named(self.cell), self.keep_runs)
            return
        missing = [] if self.draw_only else [cell.name for cell in self.missing()]
        options = ("--keep-runs",) if self.keep_runs else ()
        failed = compute("benchmarks.tables", missing, self.jobs, *options)
        complain(failed)

    def missing(self) -> list[Cell]:
        """List the cells asked for that have no file, seed by seed.

        Raises:
            E2CError: for a task or a method that there is not, or no seeds.
        """
        if self.seeds < 1:
            raise E2CError(f"--seeds is {self.seeds}; it must be at least 1.")
        tasks = tuple(TASKS) if self.tasks == ("all",) else self.tasks
        methods = METHODS if self.methods == ("all",) else self.methods
        _check_known("task", tasks, TASKS)
        _check_known("method", methods, METHODS)
        asked = [
            Cell(task, method, seed)
            for seed in range(self.seeds)
            for task in tasks
            for method in methods
            if seed == 0 or method not in UNTRAINED
        ]
        return [cell for cell in asked if not cell.path.exists()]


def _check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            told = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, all."
            raise E2CError(f"There is no {kind} {name!r}; {told}")


# ---------------------------------------------------------------------------------------- measure


def _compute(cell: Cell, keep_run: bool) -> None:
    """Measure a cell and write its file; then its run folder has done its work."""
    torch.set_num_threads(1)
    measured = _measure_untrained(cell) if cell.method in UNTRAINED else _measure_model(cell)
    about = {"env": TASKS[cell.task], "start_seed": START_SEED}
    write_json(cell.path, {**vars(cell), **about, **measured, **provenance()})
    if not keep_run:
        shutil.rmtree(cell.folder, ignore_errors=True)


def _measure_model(cell: Cell) -> dict[str, Any]:
    """Train a model, going on where its run stands, and evaluate it."""
    config = preset(cell.method, TASKS[cell.task])
    _train(Recipe(replace(config, evaluation=EvaluationConfig(0)), cell.seed), cell.folder)
    run, agent = json.loads((cell.folder / runs.SUMMARY).read_text()), load_agent(cell.folder)
    started = time.perf_counter()
    scores = _scores(cell.task, partial(_played_by_agent, agent))
    taken = time.perf_counter() - started
    total = run["seconds"]["total"] + taken
    return {
        "config": _changed(config),
        "seconds": {**run["seconds"], "evaluate": taken, "total": total},
        **{key: run[key] for key in ("transitions", "steps", "open_loop_error")},
        **scores,
        **({"latent_map": _latent_map(agent)} if cell.seed == 0 else {}),
    }


def _train(recipe: Recipe, folder: Path) -> None:
    """Train into ``folder``, unless that very run has ended there."""
    if not (runs.finished(folder) and runs.read_recipe(folder / runs.CONFIG) == recipe):
        experiment.train(recipe, folder)


def _changed(config: Config) -> dict[str, Any]:
    """Return what differs from the default configuration, by dotted name."""
    default = dict(leaves(Config()))
    return {name: value for name, value in leaves(config) if value != default[name]}


def _scores(task: str, play: Play) -> dict[str, Any]:
    """Score the task itself, and under its noise or from its perturbed starts."""
    scores = play(Disturbance(), EPISODES)
    if task == "balance":
        scores["perturbed"] = play(Disturbance(perturbed=True), EPISODES)
    if task in NOISE:
        scores["noise"] = {
            str(std): play(Disturbance(state_noise=std), NOISY_EPISODES) for std in NOISE[task]
        }
    return scores


def _played_by_agent(agent: Agent, disturbance: Disturbance, count: int) -> dict[str, Any]:
    results, *_ = experiment.evaluate(agent, count, START_SEED, disturbance, oracle=False)
    shares = [row["time_in_goal"] for row in results["episodes"]]
    return _told(results["success_rate"], shares)


def _told(success_rate: float, shares: Sequence[float]) -> dict[str, Any]:
    return {
        "success_rate": success_rate,
        "time_in_goal": float(np.mean(shares)),
        "episodes": list(shares),
    }


@torch.inference_mode()
def _latent_map(agent: Agent) -> dict[str, Any]:
    """Encode random restarts, the same for every model of a task.

    Returns:
        ``points``, in up to 3 principal components, in units of the spread of the encodings (the
        root of their summed variance); and the first two components of their ``states``.
    """
    env = experiment.make_env(agent.spec.env)
    observations, states = env.restart(np.random.default_rng(START_SEED), MAP_POINTS)
    latents = agent.model.encode(observations).mean.double().numpy()
    centred = latents - latents.mean(0)
    *_, components = np.linalg.svd(centred, full_matrices=False)
    points = centred @ components[:3].T / np.sqrt(centred.var(0).sum())
    return {"points": points.round(3).tolist(), "states": states[:, :2].round(3).tolist()}


def _measure_untrained(cell: Cell) -> dict[str, Any]:
    """Score who acts without having learned anything."""
    started = time.perf_counter()
    scores = _scores(cell.task, partial(_played_untrained, cell))
    return {"seconds": {"total": time.perf_counter() - started}, **scores}


def _played_untrained(cell: Cell, disturbance: Disturbance, count: int) -> dict[str, Any]:
    env_id = TASKS[cell.task]
    spec = experiment.problem_spec(env_id, experiment.make_env(env_id))
    env = disturbance.world(spec)
    starts = env.sample_starts(np.random.default_rng(START_SEED), count)
    noise, played = np.random.default_rng([START_SEED, 2]), []  # the models' noise, then more
    for repeat in range(UNTRAINED[cell.method]):
        batch = BatchEnv(env, starts, generators=noise.spawn(count))
        controller = _controller(cell.method, spec, batch, repeat)
        rollouts = record(batch, controller, spec.episode_steps)
        played.append(score(env, rollouts.states, rollouts.actions))
    success = np.concatenate([scores.success for scores in played])
    shares = np.concatenate([scores.time_in_goal for scores in played])
    return _told(float(success.mean()), shares.tolist())


def _controller(method: str, spec: ProblemSpec, batch: BatchEnv, seed: int) -> Controller:
    """Return a row of `UNTRAINED`."""
    if method == "random":
        return random_controller(batch.env, np.random.default_rng(seed))
    if method == "zero":
        return lambda observations: np.zeros((len(observations), batch.env.control_dim))
    planner = preset("default", spec.env).planner
    expert = Oracle(batch.env, spec, planner, batch.states)
    return lambda observations: expert.act(batch.states)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Tables)(), "Stopped; the same command goes on from here.")
