"""Every planner is measured with one model, from the same starts."""

from pathlib import Path

import pytest
from tiny import CONFIG, leave_undrawn, shorten_runs

from benchmarks import planners as benchmark
from benchmarks.planners import Planners
from benchmarks.speed import WARM_UP
from benchmarks.store import read
from e2c.config import Recipe
from e2c.errors import E2CError
from e2c.learning.run import train
from planners import PLANNERS


def test_every_planner_is_measured_told_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten_runs(monkeypatch, WARM_UP + 3)
    leave_undrawn(monkeypatch)
    train(Recipe(CONFIG), tmp_path / "run")
    monkeypatch.setattr(benchmark, "TRAINED", tmp_path / "run")
    with pytest.raises(E2CError, match=r"--starts is 0; it must be at least 1[.]"):
        Planners(starts=0)()
    Planners(starts=2, results=tmp_path)()
    found = read(tmp_path / "planners.json")
    assert (found["env"], found["starts"]) == (CONFIG.env, 2)
    assert found["machine"]["torch_threads"] == 1
    assert found["planners"].keys() == PLANNERS.keys()
    for row in found["planners"].values():
        assert 0 <= row["success_rate"] <= 1
        assert 0 <= row["time_in_goal"] <= 1
        assert 0 < row["median_ms"] <= row["p99_ms"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == list(PLANNERS)
