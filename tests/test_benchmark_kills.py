"""Runs are killed, go on and are compared; whoever stops the benchmark leaves no false result."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kills
from benchmarks.kills import Kills
from e2c.errors import E2CError

RUN = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[2])
folder.mkdir(exist_ok=True)
begun = folder / "config.yaml"
told = "again" if {forgets} and begun.exists() else "once"
begun.write_text("x")
time.sleep({seconds})
(folder / "evaluation.json").write_text('{{"seconds": %f, "told": "%s"}}' % (time.time(), told))
sys.exit({status})
"""


@pytest.fixture
def a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a program of its arguments what is trained by."""
    monkeypatch.setattr(kills, "ROOT", tmp_path)

    def write(seconds: float, forgets: bool = False, status: int = 0) -> None:
        program = RUN.format(seconds=seconds, forgets=forgets, status=status)
        (tmp_path / "train.py").write_text(program)

    return write


def outcomes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "kills").iterdir())]


def test_runs_are_killed_and_end_as_one_that_was_not(
    a_run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_run(0.5)
    Kills(count=3, jobs=3, results=tmp_path)()
    found = outcomes(tmp_path)
    assert [case["identical"] for case in found] == [True] * 3
    all_kills = [kill for case in found for kill in case["kills"]]
    assert -9 in {kill["status"] for kill in all_kills}
    assert all(
        0 < kill["after_seconds"] < case["reference_seconds"]
        for case in found
        for kill in case["kills"]
    )
    told = capsys.readouterr().out
    assert told.count(": identical\n") == 3
    assert "3 of 3 runs identical, after " in told


def test_a_run_that_ends_otherwise_is_told(a_run: Callable[..., None], tmp_path: Path) -> None:
    a_run(1.0, forgets=True)
    with pytest.raises(E2CError, match="A run that was killed ended otherwise"):
        Kills(count=2, jobs=2, results=tmp_path)()
    assert {tuple(case["differ"]) for case in outcomes(tmp_path)} == {("evaluation.json",)}


def test_a_reference_that_fails_is_told_with_its_command(
    a_run: Callable[..., None], tmp_path: Path
) -> None:
    a_run(0.0, status=2)
    with pytest.raises(
        E2CError, match=r"ended with status 2; to see why: python train\.py --out r"
    ):
        Kills(count=1, results=tmp_path)()


def test_whoever_stops_it_waits_for_no_run_and_keeps_none(
    a_run: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    press_ctrl_c: Callable[[], None],
) -> None:
    a_run(0.0)
    began, kill = threading.Event(), kills._kill

    def killed(process: Any, folder: Path, moment: float) -> dict[str, Any]:
        a_run(60.0)
        began.set()
        return kill(process, folder, 0.0)

    monkeypatch.setattr(kills, "_kill", killed)
    started = time.monotonic()

    def stop() -> None:
        began.wait(30)
        time.sleep(0.5)
        press_ctrl_c()

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        Kills(count=9, results=tmp_path)()
    assert time.monotonic() - started < 30
    assert not (tmp_path / "kills").exists()
