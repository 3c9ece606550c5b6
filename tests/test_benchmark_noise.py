"""Random controls: which of them show the goal."""

from pathlib import Path

import pytest

from benchmarks.noise import NoiseShows
from benchmarks.store import read
from e2c.errors import E2CError


def test_full_force_that_seldom_changes_shows_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NoiseShows(episodes=100, results=tmp_path)()
    found = read(tmp_path / "noise.json")
    assert found["options"] == {"episodes": 100, "seed": 0}
    shown = {name: row["shows_goal"] for name, row in found["noise"].items()}
    assert max(shown, key=lambda name: shown[name]) == "telegraph"
    assert shown["uniform"] <= shown["pink"] < shown["telegraph"] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| random controls | episodes that show the goal | steps above horizontal |"
    assert len(lines) == 2 + 5


def test_no_episodes_are_refused() -> None:
    with pytest.raises(E2CError, match=r"^--episodes is 0; it must be at least 1\."):
        NoiseShows(episodes=0)()
