"""The examples about planners do what they say."""

from __future__ import annotations

import re

from tiny import ROOT, python


def printed(example: str) -> str:
    done = python(f"examples/{example}.py", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_planner_alone_brings_both_loads_to_their_place() -> None:
    *_, last, verdict = printed("planner_alone").splitlines()
    position, angle, other_position, other_angle = map(
        float, re.findall(r"-?\d+\.\d+\b(?! s)", last)
    )
    assert max(abs(position), abs(other_position)) < 0.05
    assert max(abs(angle), abs(other_angle)) < 2
    assert verdict.endswith(".")


def test_an_own_planner_runs_beside_the_others_and_all_come_near_the_goal() -> None:
    told = dict(re.findall(r"(\w+) +is (\S+) m from the goal", printed("own_planner")))
    assert {"ilqg", "cem", "mppi", "shooting"} <= set(told)
    assert max(map(float, told.values())) < 0.3
