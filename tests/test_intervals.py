"""What a few runs tell together, beside closed forms and counting."""

import numpy as np
import pytest

from e2c.evaluation.intervals import (
    interquartile_mean,
    interval,
    probability_of_improvement,
    profile,
)


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    assert interquartile_mean([9.0, 2.0, 3.0, -50.0]) == 2.5
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0, "3 // 4 = 0 of three are left out"
    assert interquartile_mean(np.arange(10.0).reshape(2, 5)) == np.arange(2, 8).mean()
    assert interquartile_mean([0.7]) == 0.7
    assert np.isnan(interquartile_mean([0.1, 0.2, 0.3, np.nan])), "NaN is not the best of all"


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.0, 1.0, 400), rng.normal(5.0, 2.0, 100)
    scores = {"a": a.tolist(), "b": b.tolist()}
    low, high = interval(scores, np.mean)
    every = np.concatenate([a, b])
    error = np.sqrt(400 * a.var() + 100 * b.var()) / 500
    assert low == pytest.approx(every.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(every.mean() + 1.96 * error, abs=0.2 * error)
    assert (low, high) == interval(scores, np.mean), "the same draws each time"


def test_runs_are_drawn_within_their_task() -> None:
    assert interval({"a": [1.0, 1.0], "b": [5.0]}, np.mean) == (7 / 3, 7 / 3)


def test_one_run_of_each_task_tells_no_interval() -> None:
    assert np.isnan(interval({"a": [0.7], "b": [0.2]}, interquartile_mean)).all()


def test_a_profile_counts_the_runs_above_and_every_task_the_same() -> None:
    scores = {"a": [0.2, 0.4, 0.6, 0.8], "b": [0.5]}
    np.testing.assert_allclose(profile(scores, [0.0, 0.45, 0.5, 0.7]), [1, 0.75, 0.25, 0.125])


def test_the_probability_of_improvement_counts_pairs_on_shared_tasks() -> None:
    ours = {"a": [1.0, 2.0, 3.0], "b": [0.0], "only ours": [9.0]}
    theirs = {"a": [2.0, 2.0], "b": [1.0], "only theirs": [9.0]}
    pairs = (0 + 0 + 0.5 + 0.5 + 1 + 1) / 6
    assert probability_of_improvement(ours, theirs) == pytest.approx((pairs + 0) / 2)
    assert probability_of_improvement(theirs, ours) == pytest.approx((1 - pairs + 1) / 2)
    assert probability_of_improvement({"a": [1.0]}, {"b": [1.0]}) is None
