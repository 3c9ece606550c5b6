"""Robustness: what a row of the table says, that a cell goes on, and who acts."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import robustness
from benchmarks.robustness import DISTURBANCES, ORACLE, START_SEED, Robustness, table
from e2c import TRAINED, load_agent
from e2c.control.agent import Agent
from e2c.errors import E2CError
from e2c.evaluation.disturbances import Disturbance

TWO = {"none": Disturbance(), "kick of 2 N m": Disturbance(kick=2.0)}


def row(rate: float, goal: float, nis: float | None) -> dict[str, Any]:
    both = {"success_rate": rate, "time_in_goal": goal}
    return {"belief": {**both, "nis": nis, "scale": 4.0, "gated": 0.01}, "encodings": both}


def test_a_row_has_the_mean_and_the_worst_of_the_models_and_what_nobody_measured_is_left_open() -> (
    None
):
    cells = {"0": {"none": row(1.0, 0.7, 0.5)}, "1": {"none": row(0.5, 0.6, None)}}
    _, _, line = table(cells).splitlines()
    belief = ["75.0%", "50%", "0.650", "0.50", "4.00", "1.0%"]
    assert line.split(" | ")[2:] == [*belief, "75.0%", "50%", "0.650", "-", "- |"]
    cells[ORACLE] = {"none": {ORACLE: {"success_rate": 0.8, "time_in_goal": 0.724}}}
    assert table(cells).splitlines()[-1].endswith("| 80% | 0.724 |")


def test_only_what_a_model_has_met_is_in_the_table_in_the_order_of_the_disturbances() -> None:
    rows = {title: row(1.0, 0.7, 0.5) for title in reversed(list(DISTURBANCES)[:3])}
    told = [line.split(" | ")[0].removeprefix("| ") for line in table({"0": rows}).splitlines()[2:]]
    assert told == list(DISTURBANCES)[:3]


def test_a_cell_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Disturbance] = []

    def measure(agent: object, disturbance: Disturbance) -> dict[str, Any]:
        met.append(disturbance)
        if len(met) == 2:
            raise KeyboardInterrupt
        return row(1.0, 0.7, 0.5)

    monkeypatch.setattr(robustness, "_measure", measure)
    monkeypatch.setattr(robustness, "_agent", lambda *_: object())
    monkeypatch.setattr(robustness, "DISTURBANCES", TWO)
    asked = Robustness(cell="3", results=tmp_path, runs=tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        asked()
    asked()
    assert met == [*TWO.values(), TWO["kick of 2 N m"]]
    found = asked._cell("3").found()
    assert found is not None
    assert list(found["rows"]) == list(TWO)
    with pytest.raises(E2CError, match="There is no cell 'three'; choose a seed, or oracle"):
        Robustness(cell="three", results=tmp_path)()


def test_the_agent_acts_with_its_belief_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[bool] = []

    class Found:
        def __init__(
            self, agent: Agent, episodes: int, seed: int, *_: object, oracle: bool
        ) -> None:
            acted.append(agent.options.belief)
            assert (seed, oracle) == (START_SEED, False)
            self.results = {"success_rate": 1.0, "time_in_goal": 0.7, "episodes": []}

    monkeypatch.setattr(robustness, "assess", Found)
    found = robustness._measure(load_agent(TRAINED), Disturbance())
    assert acted == [True, False]
    assert found["encodings"] == {"success_rate": 1.0, "time_in_goal": 0.7}
