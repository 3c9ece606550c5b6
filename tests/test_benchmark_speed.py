"""The speed benchmark runs, on a small run and few repetitions, and says what it measured."""

from pathlib import Path

import pytest
from tiny import CONFIG, leave_undrawn, shorten_runs

from benchmarks.speed import WARM_UP, Speed, newest_run
from benchmarks.store import read
from e2c.config import Recipe
from e2c.errors import E2CError
from e2c.learning.run import train


def test_every_figure_is_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(E2CError, match="no run under runs"):
        newest_run()
    shorten_runs(monkeypatch, WARM_UP + 3)
    leave_undrawn(monkeypatch)
    train(Recipe(CONFIG), tmp_path / "runs" / "tiny")
    Speed(results=Path("out"), episodes=1, batch=2, training_steps=2)()
    figures = read(Path("out/speed.json"))
    assert figures["run"] == "runs/tiny"
    assert figures["machine"]["torch_threads"] == 1
    step = figures["control_step"]
    assert 0 < step["median_ms"] <= step["p99_ms"]
    assert all(taken > 0 for taken in step["parts_ms"].values())
    assert set(step["parts_ms"]) == {"encode", "plan"}
    assert 0 < step["floor_ms"] < step["median_ms"]
    assert 0 < figures["belief_share"] < 1
    assert figures["control_step_batch_2"]["episode_seconds"] > 0
    assert figures["collect"]["frames_per_second"] > 0
    assert figures["train"]["steps_per_second"] > 0
    assert figures["evaluate"]["one_by_one"] == {"episodes": 2, "same_success": True}
