"""The page of a sweep: curves of its runs, and statistics of its methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from e2c.evaluation.intervals import (
    Scores,
    interquartile_mean,
    interval,
    probability_of_improvement,
    profile,
)
from e2c.files.whole import write_whole
from e2c.report import views
from e2c.report.charts import SHARES, Chart, Line, chart
from e2c.report.folder import read_run
from e2c.report.page import render

MOST_CURVES = 100
"""Most runs whose curves are drawn, the first ones; the scores are those of all runs."""
LEVELS = np.linspace(0, 1, 51)
"""Scores at which profiles are drawn."""


@dataclass(frozen=True)
class Method:
    """Statistics of the scores of a method's runs.

    Attributes:
        name: the values of the grid that make it, apart from task and seed.
        runs: how many have a score.
        mean: over all runs.
        middle: their interquartile mean.
        low: lower end of the interquartile mean's interval.
        high: upper end of this interval.
        worst: the lowest score.
        best: the highest score.
        tasks: the interquartile mean on each task; None where there is no run.
        better: the probability that a run of this method scores higher than a run of each method;
            None for this method itself.
    """

    name: str
    runs: int
    mean: float
    middle: float
    low: float | None
    high: float | None
    worst: float
    best: float
    tasks: Sequence[float | None]
    better: Sequence[float | None]


def write_sweep_report(
    path: Path,
    runs: Sequence[tuple[str, Path]],
    scores: Mapping[str, Scores],
    failed: Mapping[str, str],
    count: int,
) -> None:
    """Write the page of a sweep.

    Args:
        path: the page to write.
        runs: method and folder of every run that has ended.
        scores: method -> task -> the score of each run.
        failed: name of a cell -> why it failed.
        count: cells of the sweep.

    Raises:
        E2CError: when a file of a run is damaged.
    """
    shown = runs[:MOST_CURVES]
    found = [read_run(folder) for _, folder in shown]
    methods = list(dict.fromkeys(method for method, _ in runs))
    names = [method for method, _ in shown]
    tasks = list(dict.fromkeys(task for own in scores.values() for task in own))
    page = render(
        "sweep.html",
        sweep=path.resolve().parent.name,
        methods=methods,
        tasks=tasks,
        table=[_method(method, scores, tasks) for method in methods if method in scores],
        failed=failed,
        count=count,
        ended=len(runs),
        curves=len(shown),
        profiles=_profiles(methods, scores),
        own=views.own_charts(found, names),
        losses=views.loss_charts(found, names),
    )
    write_whole(path, lambda aside: aside.write_text(page, "utf-8"))


def _method(name: str, scores: Mapping[str, Scores], tasks: Sequence[str]) -> Method:
    """Summarise the runs of a method."""
    own = scores[name]
    every = np.concatenate([np.asarray(runs, np.float64) for runs in own.values()])
    low, high = (None if np.isnan(end) else end for end in interval(own, interquartile_mean))
    others = [None if other == name else scores[other] for other in scores]
    return Method(
        name=name,
        runs=len(every),
        mean=float(every.mean()),
        middle=interquartile_mean(every),
        low=low,
        high=high,
        worst=float(every.min()),
        best=float(every.max()),
        tasks=[interquartile_mean(own[task]) if task in own else None for task in tasks],
        better=[None if o is None else probability_of_improvement(own, o) for o in others],
    )


def _profiles(methods: Sequence[str], scores: Mapping[str, Scores]) -> list[Chart]:
    """Draw the share of the runs above each score, where scores are shares."""
    every = [score for own in scores.values() for runs in own.values() for score in runs]
    if not every or min(every) < 0 or max(every) > 1:
        return []
    lines = [
        Line(method, (100 * LEVELS).tolist(), profile(own, LEVELS).tolist(), methods.index(method))
        for method, own in scores.items()
    ]
    return [chart("Share of the runs above a score", "score [%]", lines, SHARES)]
