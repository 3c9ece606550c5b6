"""The examples about planners do what they say."""

from __future__ import annotations

import re
import runpy
from unittest.mock import patch

import pytest
from tiny import ROOT

from planners import PLANNERS


def printed(example: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an example in this process, whose registry forgets afterwards what it adds."""
    with patch.dict(PLANNERS):
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"), run_name="__main__")
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_a_planner_alone_brings_both_loads_to_their_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    *_, last, verdict = printed("planner_alone", capsys).splitlines()
    position, angle, other_position, other_angle = map(
        float, re.findall(r"-?\d+\.\d+\b(?! s)", last)
    )
    assert max(abs(position), abs(other_position)) < 0.05
    assert max(abs(angle), abs(other_angle)) < 2
    assert verdict.endswith(".")


def test_an_own_planner_runs_beside_the_others_and_all_come_near_the_goal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = dict(re.findall(r"(\w+) +is (\S+) m from the goal", printed("own_planner", capsys)))
    assert {"ilqg", "cem", "mppi", "shooting"} <= set(told)
    assert max(map(float, told.values())) < 0.3
