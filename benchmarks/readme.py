"""What README and reliability page say was measured, written from results.

A test compares these lines with the pages, so no number stands there that has no result file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dmc_tasks import FRAMES
from benchmarks.published import DM_CONTROL_RETURN, TIME_IN_GOAL, Share
from benchmarks.store import COMMITTED, read

HELD = 0.3
"""Goals up to this angle from upright are beside it [rad]; the motor can hold the rod there."""
LEAST, BUDGETS = 2000, (500, 1000, 5000)
"""Transitions of the default, and of the rows of other budgets."""
FILMED, STEP = 4000, 0.05
"""Steps that are filmed, and the time of one [s]."""
NUMBERS = {3: "three", 4: "four", 5: "five", 6: "six", 8: "eight", 10: "ten", 20: "twenty"}


def rows(results: Path = COMMITTED) -> Iterator[str]:
    """Yield the rows of README's table that hold measured numbers, as Markdown.

    Args:
        results: folder of results.

    Raises:
        E2CError: when a result is not there.
    """
    models = _all(results / "swing_up", "default_seed*")
    (starts,) = {len(cell["episodes"]) for cell in models}
    yield (
        f"| swing-up from {LEAST:,} transitions, {NUMBERS[len(models)]} seeds, {starts} starts "
        f"each | {_success(models)} | `python -m benchmarks.swing_up` |"
    )
    disturbed = [found for cell in models for found in cell["perturbed"].values()]
    yield (
        "| the same models: after a kick; with a mass or a length 10% off; with noise on the "
        f"frames | {_success(disturbed)} | `python -m benchmarks.swing_up` |"
    )
    yield from _budgets(results / "swing_up")
    models = _all(results / "any_pixels", "[0-9]*")
    (starts,) = {len(cell["episodes"]) for cell in models}
    counts = sorted({cell["transitions"] for cell in models})
    transitions = " to ".join(f"{count:,}" for count in sorted({counts[0], counts[-1]}))
    yield (
        f"| Gymnasium's `Pendulum-v1` from its own pictures, {transitions} transitions, "
        f"{NUMBERS[len(models)]} seeds, {starts} starts each | {_success(models, '.0%')} "
        "| `python -m benchmarks.any_pixels` |"
    )
    models = _all(results / "films" / str(FILMED), "[0-9]*")
    (starts,) = {len(cell["episodes"]) for cell in models}
    yield (
        f"| swing-up from {FILMED * STEP:.0f} s of film (by MuJoCo) and its torques, no "
        f"environment, {NUMBERS[len(models)]} seeds, {starts} starts each "
        f"| {_success(models, '.0%')} | `python -m benchmarks.films` |"
    )
    yield _pendulum(results / "dmc" / "pendulum-swingup")
    yield (
        f"| pictures of other goals, up to {HELD} rad beside upright, without training anew: mean "
        f"distance at the end | below {_farthest(results):.3f} rad | `python -m benchmarks.goals` |"
    )
    arm = _all(results / "tables" / "arm" / "default", "seed*")
    ours, published = Share.of([cell["time_in_goal"] for cell in arm]), TIME_IN_GOAL["arm", "pc3"]
    yield (
        f"| three-link arm, share of steps in the goal, {NUMBERS[len(arm)]} models "
        f"| {ours.mean:.1f} ± {ours.error:.1f}% (best published mean: {published.mean:.1f} ± "
        f"{published.error:.1f}%) | `python -m benchmarks.tables` |"
    )
    cases = _all(results / "kills", "case_*")
    yield (
        "| runs killed at random moments, then continued: files equal to those of an undisturbed "
        f"run | {_identical(cases)} of {len(cases)} | `python -m benchmarks.kills` |"
    )
    broken = read(results / "mutations.json")
    yield (
        f"| {broken['count']:,} broken files and command lines, each to be accepted or refused "
        f"without a traceback | {broken['count'] - len(broken['faults']):,} were "
        "| `python -m benchmarks.mutations` |"
    )


def reliability(results: Path = COMMITTED) -> Iterator[str]:
    """Yield measured cells of the table of reliability, with their commands, as Markdown."""
    cases = _all(results / "kills", "case_*")
    kills = sum(kill["status"] == -9 for case in cases for kill in case["kills"])
    yield (
        f"| {_identical(cases)} of {len(cases)} runs, {kills} kills "
        "| `python -m benchmarks.kills` |"
    )
    broken = read(results / "mutations.json")
    yield (
        f"| {broken['count']:,} inputs, {len(broken['faults'])} faults "
        "| `python -m benchmarks.mutations` |"
    )
    yield f"| {_survived(results)} |"
    share = read(results / "overhead.json")["share"]
    yield f"| {share:.1%} of training time | `python -m benchmarks.overhead` |"


def _budgets(folder: Path) -> Iterator[str]:
    """Yield how success depends on the transitions, where all were measured."""
    curve = [_all(folder, f"{budget}_seed*") for budget in BUDGETS]
    (count,) = {len(models) for models in curve}
    told = ", ".join(f"{_mean(models, 'success_rate'):.1%}" for models in curve)
    budgets = ", ".join(f"{budget:,}" for budget in BUDGETS)
    yield (
        f"| swing-up from {budgets} transitions, {NUMBERS[count]} seeds each | success {told} "
        f"| `python -m benchmarks.swing_up --rows {' '.join(map(str, BUDGETS))}` |"
    )


def _pendulum(folder: Path) -> str:
    """Return the row of dm_control's pendulum."""
    found = [np.mean(cell["returns"]) for cell in _all(folder, "[0-9]*")]
    other = DM_CONTROL_RETURN["pendulum-swingup"]["EfficientZero V2", FRAMES]
    return (
        f"| dm_control's `pendulum-swingup` from its own pictures, {FRAMES:,} frames, "
        f"{NUMBERS[len(found)]} seeds | return {np.mean(found):.0f} of 1,000; the worst seed "
        f"{min(found):.0f} (best published, with reward: {other:.0f}) "
        "| `python -m benchmarks.dmc` |"
    )


def _all(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [read(path) for path in sorted(folder.glob(f"{pattern}.json"))]


def _identical(cases: list[dict[str, Any]]) -> int:
    return sum(case["identical"] for case in cases)


def _survived(results: Path) -> str:
    """Say how often sweeps were disturbed, what became of their cells, and by which command."""
    engines = _all(results / "failures", "*")
    failures = sum(sum(each["failures"].values()) for each in engines)
    cells, lost, otherwise = (
        sum(each[key] for each in engines) for key in ("cells", "lost", "otherwise")
    )
    names = " ".join(each["engine"] for each in engines)
    kinds = " ".join(f"--{kind} {count}" for kind, count in engines[-1]["failures"].items())
    command = f"python -m benchmarks.failures --engines {names} {kinds}"
    return f"{failures} failures, {cells} cells: {lost} lost, {otherwise} differ | `{command}`"


def _mean(cells: list[dict[str, Any]], score: str) -> float:
    return float(np.mean([cell[score] for cell in cells]))


def _success(cells: list[dict[str, Any]], form: str = ".1%") -> str:
    worst = min(cell["success_rate"] for cell in cells)
    return f"success {_mean(cells, 'success_rate'):{form}}; the worst seed {worst:.0%}"


def _farthest(results: Path) -> float:
    """Return the largest mean distance of the agent from a goal beside upright, rounded up."""
    goals = read(results / "goals.json")["goals"]
    beside = [row for row in goals if 0 < abs(row["angle"]) <= HELD]
    return math.ceil(1000 * max(row["agent"]["mean_distance"] for row in beside)) / 1000
