"""A training run: its phases, and how it goes on after an interruption."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from e2c.config import Recipe, check_recipe
from e2c.control.novelty import novelty
from e2c.data.windows import Windows
from e2c.evaluation.assessment import (
    OracleMeanwhile,
    Outputs,
    assess_and_film,
    oracle_meanwhile,
)
from e2c.evaluation.disturbances import Disturbance
from e2c.files import runs
from e2c.files.meanwhile import Meanwhile
from e2c.files.tracking import Progress, WandbMode, tell
from e2c.files.whole import write_json
from e2c.learning import own
from e2c.learning.begin import Run, begin, begin_anew
from e2c.learning.collapse import collapse, sentence
from e2c.learning.collect import opened_task, without_environment
from e2c.learning.dynamics import learn_dynamics
from e2c.learning.encodings import Encodings
from e2c.learning.probe import aimed
from e2c.learning.schedule import Phase
from e2c.learning.sight import find_process, learn_sight
from e2c.learning.together import optimise
from e2c.models import checkpoint
from e2c.models.base import LatentModel
from e2c.models.devices import check_precision, find_device
from e2c.models.transitions import Transition
from e2c.options import to_dict
from e2c.report import write_report
from envs.world import World

LOG_EVERY = 100
"""Optimiser steps averaged into one row of metrics."""
KEEP_EVERY = 200
"""Optimiser steps between kept states, which training can go back to or be resumed from."""
SAVE_SECONDS = 5.0
"""Least time between two writes of a kept state [s]; the end of each phase is always written."""
WORTHWHILE = 500
"""From this many steps on, the dynamics are trained in a second process."""
MEASURED_EVERY = 7
"""The latent space is measured on every 7th observation of the first data."""
MEASURED = 2500
"""About so many observations are measured at most."""


def train(recipe: Recipe, folder: Path, wandb_mode: WandbMode = "off") -> Run:
    """Collect, train embedding and dynamics jointly, add own episodes, evaluate, report.

    Where ``folder`` holds the unfinished run of this recipe, that run is resumed. On a CPU the same
    recipe gives the same weights, bit for bit, however often the run is interrupted.

    Args:
        recipe: everything that decides the run.
        folder: run folder, made here; see `e2c.files.runs`.
        wandb_mode: whether to report to wandb too.

    Raises:
        E2CError: for anything that the user can put right.
    """
    (run,) = train_side_by_side([recipe], [folder], wandb_mode)
    return run


@torch.inference_mode(False)
@torch.enable_grad()
def train_side_by_side(
    recipes: Sequence[Recipe], folders: Sequence[Path], wandb_mode: WandbMode = "off"
) -> list[Run]:
    """Train recipes that differ in their seed alone, each as `train` does.

    On a GPU, a training step of all takes little longer than a step of one; see
    `e2c.learning.together`.

    Args:
        recipes: E of them.
        folders: a run folder for each.
        wandb_mode: whether to report to wandb too.

    Raises:
        E2CError: for anything that the user can put right.
    """
    check_precision()
    recipes = [
        replace(
            check_recipe(without_environment(recipe)),
            goal=os.path.abspath(recipe.goal) if recipe.goal else "",
            data=tuple(map(os.path.abspath, recipe.data)),
        )
        for recipe in recipes
    ]
    if not recipes:
        return []
    camera = aimed(recipes[0], folders[0]).config.camera
    recipes = [replace(each, config=replace(each.config, camera=camera)) for each in recipes]
    begun: list[Run] = []
    with contextlib.ExitStack() as held:
        world, spec = held.enter_context(opened_task(recipes[0]))
        place = find_device(recipes[0].device)
        held.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(recipes[0].threads)
        for recipe, folder in zip(recipes, folders, strict=True):
            held.enter_context(runs.claimed(folder, recipe))
        try:
            for recipe, folder in zip(recipes, folders, strict=True):
                if begun:  # all use the options that were chosen from the first run's data
                    recipe = replace(recipe, config=begun[0].config)
                begun.append(begin(recipe, folder, world, spec, place, wandb_mode))
            with Meanwhile(recipes[0].threads) as second:
                ideal = _oracle(begun[0], world, second)
                _learn(begun)
                for run in begun:
                    _finish(run, ideal, second)
        except BaseException:
            for run in begun:
                run.tracker.abandon()
            raise
    return begun


def _learn(side_by_side: Sequence[Run]) -> None:
    """Train on the first data, then in rounds: act, keep the episodes, train on."""
    for number in range(max(run.rounds for run in side_by_side) + 1):
        if here := [run for run in side_by_side if run.phase == number <= run.rounds]:
            _learn_phase(here, number)
    for run in side_by_side:
        if run.config.data.keep == "best" and run.rounds:
            _keep_best(run)


def _learn_phase(side_by_side: Sequence[Run], number: int) -> None:
    """Train on the first data (phase 0), or play round ``number`` and train on, or anew."""
    options, name = side_by_side[0].config.optimiser, "train"
    first = Phase(options.steps, options.learning_rate, True)
    later = Phase(options.steps_per_round, options.learning_rate_own, False)
    if number:
        name = f"train, round {number}"
        for run in side_by_side:
            if run.trainer.done == 0:
                _play(run)
                if run.anew_round == number:
                    tell(f"no own episode has shown the goal: round {number} begins anew.")
                    begin_anew(run)
    for anew in (False, True):
        if here := [run for run in side_by_side if (run.anew_round == number) == anew]:
            _fit(here, later if number and not anew else first, name)
    for run in side_by_side:
        run.phase += 1
        run.save_state(run.trainer.state())


def _play(run: Run) -> None:
    """Let the agent play a round, or noise where the agent is stuck, and keep the episodes."""
    options, number, seed = run.config.data, run.phase, run.recipe.seed
    if options.keep == "best":
        own.keep_candidate(run.folder, number, run.model, run.config, run.spec)
    explore = number > 1 and not options.restarts and own.stayed(run.model, run.data[-1])
    if explore:
        tell(f"round {number} is played by noise: in the last one the agent stayed where it was.")
    model = run.model
    if steps := run.config.optimiser.dynamics_steps_per_round:
        with run.timed("dynamics"):
            model = _moved_by(model, learn_dynamics(model.transition, _encodings(run), steps, seed))
    agent = run.agent_of(model)
    with run.timed("own"):
        episodes = own.play(agent, options, seed, number, run.given_goal, explore)
        episodes.save(own.data_file(run.folder, number))
        run.data.append(episodes)
        told = own.scores(episodes, options, run.spec)
        run.tracker.log({"round": number, "transitions": run.transitions, **told})


def _keep_best(run: Run) -> None:
    """Go back to the model that came nearest to the goal without noise; see `best_candidate`."""
    if len(run.data) == run.rounds + 1:
        _play(run)
    best, distances = own.best_candidate(run.folder, run.data)
    run.model.load_state_dict(best.model.state_dict())
    run.kept = {"after_round": best.after_round, "distances_to_goal": distances}


def _fit(side_by_side: Sequence[Run], phase: Phase, name: str) -> None:
    """Optimise to the end of a phase and log its metrics; then measure the latent space."""
    with contextlib.ExitStack() as timed:
        for run in side_by_side:
            timed.enter_context(run.timed("train"))
        windows = [_windows(run, run.config.objective.horizon) for run in side_by_side]
        pending: list[list[dict[str, float]]] = [[] for _ in side_by_side]
        for run in side_by_side:
            run.model.train()
        begun = min(run.trainer.done for run in side_by_side)
        with Progress(name, phase.steps, "steps", begun=begun) as progress:
            for rows in optimise([run.trainer for run in side_by_side], windows, phase):
                for run, w, mine, row in zip(side_by_side, windows, pending, rows, strict=True):
                    if row:
                        _keep(run, w, mine, row)
                        progress(run.trainer.done, _progress_text(run, row))
        for run, mine in zip(side_by_side, pending, strict=True):
            if mine:
                run.tracker.log(_mean(mine))
            run.model.eval()
            count = run.data[0].transitions + len(run.data[0])
            every = max(min(MEASURED_EVERY, count // 2), count // MEASURED)
            run.model.measure(run.data[0].planes(slice(None, None, every)))


def _keep(run: Run, windows: Windows, rows: list[dict[str, float]], row: dict[str, float]) -> None:
    """Log the mean of every `LOG_EVERY` rows; keep the state, and save it, when this is due."""
    trainer = run.trainer
    if rows and row["step"] <= rows[-1]["step"]:
        rows.clear()  # training went back
    rows.append(row)
    if trainer.done % LOG_EVERY == 0:
        run.tracker.log(_mean(rows))
        _look_for_collapse(run, _mean(rows))
        rows.clear()
    due = trainer.done % KEEP_EVERY == 0 and trainer.keep(windows)
    if due and time.perf_counter() - run.saved_at > SAVE_SECONDS:
        run.save_state(trainer.kept)


def _look_for_collapse(run: Run, row: Mapping[str, float]) -> None:
    """Tell once when the posterior has collapsed; a later row may show that it has recovered."""
    found = collapse(row, run.trainer)
    if found and not run.collapsed:
        tell(sentence(found))
    run.collapsed = found


def _progress_text(run: Run, row: Mapping[str, float]) -> str:
    """Return the figures that are shown beside the progress of training."""
    terms = run.model.weights(run.config.objective, 1.0)
    told = "  ".join(f"{name.replace('_', ' ')} {row[name]:.3g}" for name in ("loss", *terms))
    played = [row["own_time_in_goal"] for row in run.tracker.history if "own_time_in_goal" in row]
    told += f"  own episodes in goal {played[-1]:.0%} of the time" if played else ""
    back = len(run.trainer.recoveries)
    return told + (f"  went back {back}x" if back else "")


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _finish(run: Run, ideal: OracleMeanwhile, second: Meanwhile) -> None:
    """Train its last parts, save and evaluate the model, draw and report; end the run."""
    from e2c.learning import drawings  # see `e2c.report.style`

    state = run.trainer.state()  # a resumed run repeats all that follows
    _learn_apart(run, second)
    checkpoint.save(run.folder / checkpoint.NAME, run.model, run.config, run.spec)
    if run.config.evaluation.episodes:
        _evaluate_run(run, ideal)
    with run.timed("pictures"):
        error = drawings.draw(
            run.folder,
            run.agent.model,
            run.spec,
            run.data,
            run.recipe.seed,
            run.tracker,
            run.trainer.titles,
        )
    run.novelty = novelty(run.model, run.model.goal.cpu().numpy(), run.data)
    run.save_state(state)
    summary = {**_summary(run), "goal_novelty": vars(run.novelty)}
    write_json(run.folder / runs.SUMMARY, {**summary, "open_loop_error": error.tolist()})
    write_report([run.folder], run.folder / runs.REPORT)
    runs.end(run.folder)
    run.tracker.close({key: summary[key] for key in ("transitions", "steps", "seconds")})


def _learn_apart(run: Run, second: Meanwhile) -> None:
    """Train the dynamics and, at the same time, the sight: neither waits for the other."""
    options, seed = run.config.optimiser, run.recipe.seed
    sight, windows = None, _windows(run, 1)
    learned = _dynamics(run, second)
    if options.sight_steps:
        with run.timed("sight"):
            sight = learn_sight(run.model, windows, options.sight_steps, seed)
    if options.dynamics_steps:
        with run.timed("dynamics"):
            run.model = _moved_by(run.model, learned())
    if options.dynamics_steps >= WORTHWHILE:
        second.close()  # it has answered all calls, and the evaluation needs the memory
    if sight is not None:
        find_process(sight, run.model, windows, seed)
        run.model.sight = sight


def _dynamics(run: Run, second: Meanwhile) -> Callable[[], Transition]:
    """Return a function that returns the trained dynamics; a second process may train them."""
    steps, seed = run.config.optimiser.dynamics_steps, run.recipe.seed
    if steps < WORTHWHILE:
        return lambda: learn_dynamics(run.model.transition, _encodings(run), steps, seed)
    return second.ask(learn_dynamics, run.model.transition, _encodings(run), steps, seed)


def _windows(run: Run, horizon: int) -> Windows:
    """Return windows of all data."""
    share, place = run.config.data.own_share, run.trainer.device
    return Windows(run.data, horizon, share, place, run.see)


def _encodings(run: Run) -> Encodings:
    """Return the encodings of all data."""
    return Encodings(run.model, _windows(run, run.config.objective.horizon))


def _moved_by(model: LatentModel, transition: Transition) -> LatentModel:
    """Return a copy of a model that has another transition."""
    moved = copy.deepcopy(model)
    moved.transition = transition
    return moved


def _evaluate_run(run: Run, ideal: OracleMeanwhile) -> None:
    """Evaluate and film the agent into the run folder."""
    options, folder = run.config.evaluation, run.folder
    outputs = Outputs(folder / runs.EVALUATION, folder / runs.VIDEO, None, folder / runs.EPISODES)
    asked = (options.episodes, options.seed, Disturbance(), True, outputs, run.given_goal)
    with run.timed("evaluate"):
        goal_state = run.recipe.goal_state
        results = run.results = assess_and_film(run.agent, *asked, ideal, goal_state=goal_state)
    run.tracker.video("episode", folder / runs.VIDEO)
    run.tracker.table("episodes", results["episodes"])


def _oracle(run: Run, world: World | None, second: Meanwhile) -> OracleMeanwhile:
    """Let the oracle act while the agent learns: it needs no agent."""
    options = run.config.evaluation
    if run.given_goal is not None:
        world = None  # the oracle knows the world's own goals alone
    asked = (run.spec, run.config.planner, options.episodes, options.seed)
    return oracle_meanwhile(second, world, *asked)


def _summary(run: Run) -> dict[str, Any]:
    """Return everything that made a run, and its results."""
    return {
        **to_dict(run.recipe),
        "data": [{"sha256": d.content_hash, "transitions": d.transitions} for d in run.data],
        "terms": dict(run.trainer.titles),
        "transitions": run.transitions,
        "steps": run.trainer.step,
        "skipped_steps": run.trainer.skipped,
        "recoveries": run.trainer.recoveries,
        **({"collapsed": sentence(run.collapsed)} if run.collapsed else {}),
        **({"kept": run.kept} if run.kept else {}),
        **({"began_anew_in_round": run.anew_round} if run.anew_round else {}),
        "resumed": len(run.sessions) - 1,
        "seconds": run.seconds,
        **run.sessions[-1],
        "sessions": run.sessions,
    }
