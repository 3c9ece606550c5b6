"""Exploration: which states count as seen, when the goal was shown, and how the table reads."""

from typing import Any

import numpy as np
import pytest
from tiny import noise_data

from benchmarks import exploration
from benchmarks.exploration import (
    BINS,
    FASTEST,
    GAIN,
    TRANSITIONS,
    WAYS,
    explored,
    figures,
    noisy,
    seen,
    shown_after,
    table,
)
from e2c.data.episodes import join
from e2c.lecture.exploration import know


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_state_is_seen_in_one_bin_whose_angle_goes_around() -> None:
    one = seen(np.array([[0.01, 0.01]]))
    assert one.sum() == 1
    assert one[0, BINS[1] // 2]
    for turns in (-2, 3):
        assert (seen(np.array([[0.01 + 2 * np.pi * turns, 0.01]])) == one).all()
    assert seen(np.array([[-0.01, -0.01]]))[-1, BINS[1] // 2 - 1]
    assert not seen(np.array([[0.0, FASTEST], [0.0, -FASTEST - 0.01]])).any()
    every = rng().uniform([0, -FASTEST], [2 * np.pi, FASTEST], (20_000, 2))
    assert seen(every).all()


def test_noise_reaches_every_bin() -> None:
    states = noisy("telegraph", 300, 200, rng(5)).states
    assert states is not None
    assert seen(states).all()


def test_the_transitions_before_the_goal_was_shown_do_not_count_starts() -> None:
    """Episode 0 has the moments 0 to 4, and episode 1 begins after its 4 transitions."""
    played = noise_data((4, 7, 5))
    for e, t, transitions in ((0, 0, 0), (0, 4, 4), (1, 0, 4), (1, 3, 7), (2, 5, 16)):
        goal = played.planes()[played.moment_rows(e)][t]
        assert shown_after(played, goal) == transitions
    assert shown_after(played, 255 - played.planes()[0]) is None


def test_figures_are_of_the_transitions_so_far() -> None:
    played = join([noisy("white", 2, 200, rng()), noisy("telegraph", 6, 200, rng(1))])
    found = figures(played)
    assert played.states is not None
    assert list(found["share"]) == ["400", "800", "1200", str(TRANSITIONS)]
    shares = list(found["share"].values())
    assert shares == sorted(shares)
    assert shares[0] == seen(played.states[: 2 * 201]).mean()
    assert shares[-1] == seen(played.states).mean()
    assert 0 < found["above_horizontal"] < 1


def test_an_exploring_model_learns_from_every_episode_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: list[list[int]] = []

    def told(model: Any, data: Any) -> Any:
        known.append([part.transitions for part in data])
        return know(model, data)

    monkeypatch.setattr(exploration, "know", told)
    monkeypatch.setattr(exploration, "STEPS", 3)
    monkeypatch.setattr(exploration, "STEPS_PER_EPISODE", 2)
    monkeypatch.setattr(exploration, "OWN", 11)
    found = list(explored(noisy("white", 2, 20, rng()), 2, 0, rng(1)))
    assert [part.transitions for part in found] == [11, 11]
    assert known == [[40], [40, 11]]


def test_the_table_has_a_row_for_each_way() -> None:
    def result(share: float, goal: int | None) -> dict[str, Any]:
        shares = {"400": 0.1, "800": share, "1200": share, "1600": share + 0.2}
        return {"ways": {name: {"share": shares, "goal_after": goal} for name in WAYS}}

    rows = table({"0": result(0.3, 1210), "1": result(0.5, None)}).splitlines()[2:]
    assert len(rows) == len(WAYS)
    shares = "40 (30 to 50)% | 40 (30 to 50)% | 60 (50 to 70)%"
    assert rows[list(WAYS).index(GAIN)] == f"| {GAIN} | 2 | {shares} | 1,210, never |"
    assert len(table({}).splitlines()) == 2
