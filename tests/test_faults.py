"""A handful of the benchmark's faults; and that the benchmark can tell when one is not met."""

import json
from functools import partial
from pathlib import Path

import pytest
from tiny import leave_undrawn

import benchmarks.faults
from benchmarks.faults import (
    CLOSED_LOOP,
    LENGTHS,
    NOTHING,
    TRAINING,
    Fault,
    Faults,
    Outcome,
    drawn,
    evaluate_struck,
    outcome,
    row,
    small_agent,
    train_struck,
)
from benchmarks.store import read
from e2c.control.agent import Agent
from e2c.errors import E2CError

FOR_EVER = LENGTHS[-1]


@pytest.fixture(scope="module")
def agent() -> Agent:
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        return small_agent()


@pytest.mark.parametrize("kind", CLOSED_LOOP)
def test_a_closed_loop_survives_and_tells(agent: Agent, kind: str) -> None:
    fault = Fault(kind, 2, FOR_EVER)
    end = outcome(fault, partial(evaluate_struck, agent, 3))
    assert (end.sound, end.told, end.end) == (True, True, "")


def test_where_nothing_strikes_nothing_is_told(agent: Agent) -> None:
    never = Fault("a frame is black", 0, 0)
    end = evaluate_struck(agent, 3, never)
    assert (end.sound, end.told) == (True, False)


def test_training_goes_on_and_tells() -> None:
    end = outcome(Fault("weights are inf", 60, 1), partial(train_struck, 3))
    assert end == Outcome(True, True, {"skipped_steps": 20, "recoveries": 1})


def test_training_that_is_struck_for_ever_ends_with_a_sentence() -> None:
    fault = Fault("gradients are zero", 30, FOR_EVER)
    end = outcome(fault, partial(train_struck, 3))
    assert (end.sound, end.told) == (True, True)
    assert "Training diverged" in end.end


def test_giving_up_on_what_passes_and_breaking_are_not_met() -> None:
    def refuse(fault: Fault) -> Outcome:
        raise E2CError("Nothing can be done.")

    def ramble(fault: Fault) -> Outcome:
        raise E2CError("Nothing can be done. Nothing at all.")

    def break_down(fault: Fault) -> Outcome:
        raise ZeroDivisionError

    once, always = Fault("a batch is NaN", 0, 1), Fault("a batch is NaN", 0, FOR_EVER)
    cases = [(always, refuse), (once, refuse), (always, ramble), (always, break_down)]
    found = [(fault, outcome(fault, run)) for fault, run in cases]
    told = row("a batch is NaN", found)
    assert (told["struck"], told["met"]) == (4, 1)
    assert [unmet["end"] for unmet in told["unmet"]] == [
        "Nothing can be done.",
        "Nothing can be done. Nothing at all.",
        "ZeroDivisionError()",
    ]
    json.dumps(told)


def test_faults_are_drawn_by_their_seed_and_spread_over_kinds_and_lengths() -> None:
    faults = drawn(TRAINING, 150, 4 * len(TRAINING), 0)
    assert {(f.kind, f.length) for f in faults} == {(k, n) for k in TRAINING for n in LENGTHS}
    assert all(0 <= f.first < 150 for f in faults)
    assert any(f.first == 149 or f.first % 25 == 24 for f in faults)
    assert faults == drawn(TRAINING, 150, 4 * len(TRAINING), 0)
    assert faults != drawn(TRAINING, 150, 4 * len(TRAINING), 1)
    assert [f for f in (Fault("", 3, 2),) for step in range(7) if f.strikes(step)] == [
        Fault("", 3, 2)
    ] * 2


def test_the_command_counts_writes_and_complains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Outcome(True, True, {"blind": 1200}), Outcome(True, False, {})
    found = [(Fault("a frame is black", 0, 1), good), (Fault("cost is inf", 0, 1), good)]
    monkeypatch.setattr(benchmarks.faults, "strike", lambda *counts: found)
    Faults(results=tmp_path / "out")()
    written = read(tmp_path / "out" / "faults.json")
    assert (written["struck"], written["met"]) == (2, 2)
    assert "versions" in written
    assert "| a frame is black | 1 | 1 | blind 1,200 |" in capsys.readouterr().out
    found.append((Fault("cost is inf", 5, 1), bad))
    with pytest.raises(E2CError, match="Of 3 faults 2 were met; look at: cost is inf"):
        Faults(results=tmp_path)()


def test_only_what_is_finite_may_go_untold() -> None:
    untold = {kind for kind, signs in CLOSED_LOOP.items() if signs == NOTHING}
    assert untold == {"Jacobians are zero", "Jacobians are wrong", "Hessian is singular"}
