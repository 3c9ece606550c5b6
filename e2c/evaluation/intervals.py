"""What a few runs tell, and how sure that is: interquartile means, intervals, profiles.

The scores of a method are given task by task, one number for each run. Runs of different tasks are
comparable, such as shares of the time in the goal.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scores = Mapping[str, Sequence[float]]
"""Task -> the score of each run."""

RESAMPLED = 2000
"""How often runs are drawn again."""
LEVEL = 0.95
"""Share of the draws within an interval."""


def interquartile_mean(scores: ArrayLike) -> float:
    """Return the mean of the middle half: a quarter of the runs is left out at either end.

    Args:
        scores: of all runs, at least one, in any shape; n // 4 of n are left out at each end. NaN
            where one is.
    """
    if np.isnan(scores).any():
        return float("nan")
    ordered = np.sort(np.asarray(scores, np.float64), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def interval(scores: Scores, statistic: Callable[[Floats], float]) -> tuple[float, float]:
    """Return the ends of the percentile interval of a statistic, by stratified bootstrap.

    The runs of each task are drawn again with replacement, as many as there are; draws are the same
    at each call. Where each task has one run, nothing is known, and both ends are NaN.

    Args:
        scores: of one method.
        statistic: of the scores of all runs, such as `interquartile_mean`.
    """
    rng = np.random.default_rng(0)
    tasks = [np.asarray(runs, np.float64) for runs in scores.values()]
    if max(map(len, tasks)) == 1:
        return float("nan"), float("nan")
    drawn = [
        statistic(np.concatenate([rng.choice(runs, len(runs)) for runs in tasks]))
        for _ in range(RESAMPLED)
    ]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def profile(scores: Scores, levels: ArrayLike) -> Floats:
    """Return the share of the runs ``[N]`` whose score is above each of ``levels [N]``.

    Every task counts the same, however many runs it has.
    """
    above = [np.mean(np.asarray(runs)[:, None] > levels, axis=0) for runs in scores.values()]
    shares: Floats = np.mean(above, axis=0)
    return shares


def probability_of_improvement(ours: Scores, theirs: Scores) -> float | None:
    """Return how probably a run of ours scores higher than one of theirs on the same task.

    Equal scores count half. It is the mean over the tasks that both have; None if there are none.
    """
    found = []
    for task in ours.keys() & theirs.keys():
        difference = np.subtract.outer(np.asarray(ours[task]), np.asarray(theirs[task]))
        found.append(np.mean(0.5 + 0.5 * np.sign(difference)))
    return float(np.mean(found)) if found else None
