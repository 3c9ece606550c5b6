"""Goals at other angles: every controller is measured from the same starts, in radians."""

from pathlib import Path

import pytest
from tiny import CONFIG, shorten_runs

from benchmarks import goals as benchmark
from benchmarks.goals import Goals
from benchmarks.store import read
from e2c.config import Recipe
from e2c.errors import E2CError
from e2c.learning.run import train


def test_every_controller_is_measured_told_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten_runs(monkeypatch, 6)
    train(Recipe(CONFIG), tmp_path / "run")
    monkeypatch.setattr(benchmark, "TRAINED", tmp_path / "run")
    monkeypatch.setattr(benchmark, "SETTLED", 3)
    with pytest.raises(E2CError, match=r"--starts is 0 and there are 1 --angles; give at least"):
        Goals(angles=(0.3,), starts=0)()
    Goals(angles=(3.14, -0.3), starts=2, results=tmp_path)()
    found = read(tmp_path / "goals.json")
    assert (found["env"], found["starts"], found["settled_steps"]) == (CONFIG.env, 2, 3)
    hanging, above = found["goals"]
    assert (hanging["angle"], above["angle"]) == (3.14, -0.3)
    controllers = ("agent", "oracle", "random", "zero")
    for name in controllers:
        for row in (hanging, above):
            assert 0 <= row[name]["mean_distance"] <= row[name]["worst_distance"] <= 3.15
            assert row[name]["nearest"] <= row[name]["worst_distance"]
        assert hanging[name]["mean_distance"] < 0.5
        assert above[name]["mean_distance"] > 2, "it hangs at the start"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| goal [rad] | agent | oracle | random | zero |"
    assert len(lines) == 4
