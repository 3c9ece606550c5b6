"""A training run: its phases, and how it goes on after an interruption."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from e2c.config import Config, Recipe, check_recipe
from e2c.control.agent import Agent
from e2c.control.base import Frames
from e2c.control.goals import content_hash, read_goal
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.evaluation.assessment import Outputs, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.files import runs
from e2c.files.provenance import provenance
from e2c.files.tracking import Progress, Tracker, WandbMode
from e2c.files.untrusted import shown
from e2c.files.whole import write_json
from e2c.learning import drawings, own
from e2c.learning.collect import (
    collect_transitions,
    find_task,
    load_data,
    without_environment,
)
from e2c.learning.state import RunState, load_state, save_state
from e2c.learning.trainer import Phase, Trainer, TrainingState
from e2c.models import checkpoint
from e2c.models.base import LatentModel, ProblemSpec
from e2c.models.devices import find_device
from e2c.models.methods import build_model
from e2c.options import to_dict
from e2c.report import write_report
from envs.world import World

LOG_EVERY = 100
"""Optimiser steps averaged into one row of metrics."""
KEEP_EVERY = 200
"""Optimiser steps between states that training can go back to, or on from."""
SAVE_SECONDS = 5.0
"""Such a state is written at most this often, and at the end of each phase."""


@dataclass
class Run:
    """A training run: what it is made of, how far it is, and where it writes."""

    recipe: Recipe
    folder: Path
    spec: ProblemSpec
    model: LatentModel
    trainer: Trainer
    tracker: Tracker
    data: list[Episodes]
    seconds: dict[str, float]
    sessions: list[Mapping[str, Any]]
    phase: int = 0
    """0 while training on the first data, k in round k, and one more once training is over."""
    kept: dict[str, Any] = field(default_factory=dict)
    """After which round the model was kept, and the distances to the goal that decided."""
    resumed_at: float = field(default_factory=time.perf_counter)
    saved_at: float = field(default_factory=time.perf_counter)

    @property
    def config(self) -> Config:
        """What is learned."""
        return self.recipe.config

    @property
    def transitions(self) -> int:
        """Transitions used so far, own episodes included."""
        return sum(d.transitions for d in self.data)

    @property
    def given_goal(self) -> Frames | None:
        """The observation that the user wants to reach, in place of the world's own goals."""
        if not self.recipe.goal:
            return None
        return self.spec.layout.from_planes(self.model.goal.cpu().numpy())

    @property
    def agent(self) -> Agent:
        """The agent as it is now."""
        return Agent(self.model, self.spec, self.config.planner)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the wall-clock of what is done inside to that of a part of the run [s]."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started

    def save_state(self, state: TrainingState) -> None:
        """Write where the run stands, so that it can go on from there."""
        self.saved_at = time.perf_counter()
        self.seconds["total"] = self.seconds.get("total", 0.0) + self.saved_at - self.resumed_at
        self.resumed_at = self.saved_at
        hashes = [d.content_hash for d in self.data]
        rows = self.tracker.rows
        stands = RunState(state, self.phase, rows, self.seconds, hashes, self.sessions)
        save_state(self.folder, stands)


def train(recipe: Recipe, folder: Path, wandb_mode: WandbMode = "off") -> Run:
    """Collect, train embedding and dynamics jointly, add own episodes, evaluate, report.

    The same recipe gives the same weights, bit for bit, on a CPU, however often the run is
    interrupted: where ``folder`` holds the unfinished run of this recipe, it goes on.

    Args:
        recipe: everything that decides the run.
        folder: run folder, made here; see `e2c.files.runs`.
        wandb_mode: whether to report to wandb too.

    Raises:
        E2CError: for anything that the user can put right.
    """
    recipe = replace(
        check_recipe(without_environment(recipe)),
        goal=os.path.abspath(recipe.goal) if recipe.goal else "",
        data=tuple(map(os.path.abspath, recipe.data)),
    )
    world, spec = find_task(recipe)
    place = find_device(recipe.device)
    torch.set_num_threads(recipe.threads)
    with runs.claimed(folder, recipe):
        run = _begin(recipe, folder, world, spec, place, wandb_mode)
        try:
            _learn(run)
            _finish(run)
        except BaseException:
            run.tracker.abandon()
            raise
    return run


def _begin(
    recipe: Recipe,
    folder: Path,
    world: World | None,
    spec: ProblemSpec,
    place: torch.device,
    wandb_mode: WandbMode,
) -> Run:
    """Take the run up where it stands, or begin it: the first data, the untrained model."""
    started, config, state = time.perf_counter(), recipe.config, load_state(folder)
    goal = np.zeros(spec.layout.shape, np.uint8)  # a state holds the goal
    if state is None:
        goal, recipe = _goal(recipe, world, spec)
    planes = spec.layout.to_planes(goal)
    model = build_model(config.model, spec, planes, recipe.seed).to(place)
    trainer = Trainer(model, config.objective, config.optimiser, recipe.seed)
    if state is None:
        data, recipe = _first_data(recipe, spec)
    else:
        data, recipe = _data_so_far(folder, state), runs.read_recipe(folder / runs.CONFIG)
    Windows(data[:1], config.objective.horizon, 0.0, place)  # data too short are refused here
    mean = torch.from_numpy(data[0].planes().mean(0, dtype=np.float32) / 255)
    model.decoder.start_at(mean.to(place))
    if state is None:
        runs.write_recipe(folder, recipe)
        data[0].save(own.data_file(folder, 0))
    tracker = Tracker(folder, wandb_mode, to_dict(recipe), state.rows if state else 0)
    run = Run(recipe, folder, spec, model, trainer, tracker, data, {}, [provenance()])
    run.resumed_at = started
    if state is None:
        run.seconds["collect"] = time.perf_counter() - started
    else:
        _restore(trainer, state.training, folder)
        run.phase, run.seconds = state.phase, dict(state.seconds)
        run.sessions = [*state.sessions, *run.sessions]
    run.save_state(trainer.state())
    return run


def _goal(recipe: Recipe, world: World | None, spec: ProblemSpec) -> tuple[Frames, Recipe]:
    """Return the observation to reach, given or the world's own; and the recipe with its hash.

    Raises:
        E2CError: when there is neither, or the recipe knows another hash of what is given.
    """
    if recipe.goal:
        given = read_goal(recipe.goal, spec)
        found = content_hash(given)
        if recipe.goal_sha256 not in ("", found):
            raise _changed(recipe.goal, recipe.goal_sha256, found, "--goal")
        return given, replace(recipe, goal_sha256=found)
    goal: Any = None if world is None else getattr(world.unwrapped, "goal", None)
    if goal is None and world is not None:
        told = world.reset(seed=0)[1].get("goal")
        goal = None if told is None else told[0]
    if goal is None:
        raise E2CError(
            f"{spec.env} does not tell its goal; give a picture of it: --goal goal.png (or an info "
            "'goal' at the reset of the environment, which is the observation to reach)."
        )
    return np.asarray(goal), recipe


def _changed(path: str, known: str, found: str, option: str) -> E2CError:
    """Say that a file is no longer what a configuration was trained on."""
    return E2CError(
        f"{path} is not what this configuration was trained on: its hash is {found[:16]}, not "
        f"{known[:16]}; put the file back, or give this one under another name with {option}."
    )


def _restore(trainer: Trainer, state: TrainingState, folder: Path) -> None:
    """Let training go on from ``state``, or say that it is not of this run."""
    try:
        trainer.restore(state)
    except (ValueError, RuntimeError) as error:
        raise E2CError(
            f"{folder / runs.STATE} is not the state of this run ({shown(error)}); remove {folder} "
            "and train again."
        ) from None


def _first_data(recipe: Recipe, spec: ProblemSpec) -> tuple[list[Episodes], Recipe]:
    """Return the data given, or random transitions; and the recipe, which knows the data's hashes.

    Raises:
        E2CError: when the recipe knows other hashes: the files were changed since.
    """
    options = recipe.config.data
    if not recipe.data:
        count, length = options.transitions, options.episode_length
        return [collect_transitions(spec.env, count, length, recipe.seed, **spec.options)], recipe
    parts = load_data([Path(path) for path in recipe.data], spec)
    hashes = tuple(part.content_hash for part in parts)
    for path, known, found in zip(recipe.data, recipe.data_sha256, hashes, strict=False):
        if known != found:
            raise _changed(path, known, found, "--data")
    return [recorded.join(parts)], replace(recipe, data_sha256=hashes)


def _data_so_far(folder: Path, state: RunState) -> list[Episodes]:
    """The data that an interrupted run has used."""
    paths = [own.data_file(folder, number) for number in range(len(state.data))]
    data = [recorded.load(path) for path in paths]
    for path, found, known in zip(paths, data, state.data, strict=True):
        if found.content_hash != known:
            raise E2CError(
                f"{path} is not what this run was trained on; remove {folder} and train again."
            )
    return data


def _learn(run: Run) -> None:
    """Train on the first data, then in rounds: act, keep what was seen, train on."""
    options = run.config.optimiser
    while run.phase <= run.config.data.rounds:
        if run.phase == 0:
            _fit(run, Phase(options.steps, options.learning_rate, True), "train")
        else:
            if run.trainer.done == 0:
                _play(run)
            phase = Phase(options.steps_per_round, options.learning_rate_own, False)
            _fit(run, phase, f"train, round {run.phase}")
        run.phase += 1
        run.save_state(run.trainer.state())
    if run.config.data.keep == "best" and run.config.data.rounds:
        _keep_best(run)


def _play(run: Run) -> None:
    """Let the agent act in its task, and keep what it saw."""
    options, number = run.config.data, run.phase
    if options.keep == "best":
        own.keep_candidate(run.folder, number, run.model, run.config, run.spec)
    with run.timed("own"):
        episodes = own.play(run.agent, options, run.recipe.seed, number, run.given_goal)
        episodes.save(own.data_file(run.folder, number))
        run.data.append(episodes)
        run.tracker.log(
            {"round": number, "transitions": run.transitions, **own.scores(episodes, run.spec)}
        )


def _keep_best(run: Run) -> None:
    """Go back to the model whose own episodes were nearest to the goal, as the last sees them."""
    last = run.config.data.rounds + 1
    if len(run.data) == last:
        _play(run)
    best, distances = own.best_candidate(run.folder, run.data)
    run.model.load_state_dict(best.model.state_dict())
    run.kept = {"after_round": best.after_round, "distances_to_goal": distances}


def _fit(run: Run, phase: Phase, name: str) -> None:
    """Optimise to the end of a phase, telling and keeping its metrics; then measure the space."""
    config, trainer = run.config, run.trainer
    place = run.model.goal.device
    rows: list[dict[str, float]] = []
    with run.timed("train"):
        windows = Windows(run.data, config.objective.horizon, config.data.own_share, place)
        run.model.train()
        with Progress(name, phase.steps, "steps", begun=trainer.done) as progress:
            for row in trainer.run(windows, phase):
                if rows and row["step"] <= rows[-1]["step"]:
                    rows.clear()  # training went back
                rows.append(row)
                progress(trainer.done, _progress_text(run, row))
                if trainer.done % LOG_EVERY == 0:
                    run.tracker.log(_mean(rows))
                    rows.clear()
                due = trainer.done % KEEP_EVERY == 0 and trainer.keep(windows)
                if due and time.perf_counter() - run.saved_at > SAVE_SECONDS:
                    run.save_state(trainer.kept)
        if rows:
            run.tracker.log(_mean(rows))
        run.model.eval()
        seen = run.data[0].planes()
        run.model.measure(seen[:: min(7, len(seen) // 2)])


def _progress_text(run: Run, row: Mapping[str, float]) -> str:
    """What is told beside the progress of training."""
    terms = run.model.weights(run.config.objective, 1.0)
    told = "  ".join(f"{name.replace('_', ' ')} {row[name]:.3g}" for name in ("loss", *terms))
    played = [
        past["own_success_rate"] for past in run.tracker.history if "own_success_rate" in past
    ]
    told += f"  success with exploration {played[-1]:.0%}" if played else ""
    back = len(run.trainer.recoveries)
    return told + (f"  went back {back}x" if back else "")


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _finish(run: Run) -> None:
    """Write the model, evaluate it, and tell of everything; then the run has ended."""
    checkpoint.save(run.folder / checkpoint.NAME, run.model, run.config, run.spec)
    if run.config.evaluation.episodes:
        _evaluate_run(run)
    with run.timed("pictures"):
        error = drawings.draw(
            run.folder,
            run.model,
            run.spec,
            run.data,
            run.recipe.seed,
            run.tracker,
            run.trainer.titles,
        )
    run.save_state(run.trainer.state())
    summary = _summary(run)
    write_json(run.folder / runs.SUMMARY, {**summary, "open_loop_error": error.tolist()})
    write_report([run.folder], run.folder / runs.REPORT)
    runs.end(run.folder)
    run.tracker.close({key: summary[key] for key in ("transitions", "steps", "seconds")})


def _evaluate_run(run: Run) -> None:
    """Evaluate and film the agent into the run folder."""
    options, folder = run.config.evaluation, run.folder
    outputs = Outputs(folder / runs.EVALUATION, folder / runs.VIDEO, None, folder / runs.EPISODES)
    with run.timed("evaluate"):
        results = assess_and_film(
            run.agent, options.episodes, options.seed, Disturbance(), True, outputs, run.given_goal
        )
    run.tracker.video("episode", folder / runs.VIDEO)
    run.tracker.table("episodes", results["episodes"])


def _summary(run: Run) -> dict[str, Any]:
    """Everything that made a run, and what became of it."""
    return {
        **to_dict(run.recipe),
        "data": [{"sha256": d.content_hash, "transitions": d.transitions} for d in run.data],
        "terms": dict(run.trainer.titles),
        "transitions": run.transitions,
        "steps": run.trainer.step,
        "skipped_steps": run.trainer.skipped,
        "recoveries": run.trainer.recoveries,
        **({"kept": run.kept} if run.kept else {}),
        "resumed": len(run.sessions) - 1,
        "seconds": run.seconds,
        **run.sessions[-1],
        "sessions": run.sessions,
    }
