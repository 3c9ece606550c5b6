"""What a run tells: JSON lines, progress in a log and on a terminal, wandb only on request."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from tiny import python

from e2c import tracking
from e2c.tracking import Progress, Tracker

Done = subprocess.CompletedProcess[str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands in for `time`, and is moved by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(tracking, "time", found)
    return found


def run_of(stream: io.StringIO, clock: Clock, seconds: int = 35) -> str:
    progress = Progress("train", 10 * seconds, "steps", stream)
    for done in range(1, 10 * seconds + 1):
        clock.now = done * 0.1
        progress(done, "loss 3.5")
    return stream.getvalue()


def test_a_log_gets_plain_lines_at_intervals(clock: Clock) -> None:
    text = run_of(io.StringIO(), clock)
    assert not set(text) & {"\r", "\x1b"}
    assert text.endswith("\n")
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == [
        "train",
        "100/350",
        "steps",
        "10/s",
        "25",
        "s",
        "left",
        "loss",
        "3.5",
    ]
    assert lines[-1].split() == ["train", "350/350", "steps", "10/s", "35", "s", "loss", "3.5"]


def test_a_terminal_gets_one_live_line(clock: Clock) -> None:
    text = run_of(Terminal(), clock)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    redrawn = text.split("\r\x1b[2K")[1:]
    assert 100 < len(redrawn) <= 350
    assert all(line.startswith("train ") for line in redrawn)


def test_the_last_unit_is_always_told(clock: Clock) -> None:
    stream = io.StringIO()
    Progress("collect", 3, "frames", stream)(3)
    assert stream.getvalue().split() == ["collect", "3/3", "frames", "3,000,000,000/s", "0", "s"]


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("collect", 3, "frames")(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("collect")


def test_metrics_are_kept_as_json_lines(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"step": 1, "loss": 0.1 + 0.2}, {"round": 1, "share": 0.5}]
    tracker = Tracker(tmp_path, "off", {})
    for row in rows:
        tracker.log(row)
        written = (tmp_path / "metrics.jsonl").read_text()
        assert json.loads(written.splitlines()[-1]) == row, "at once, not at the end"
    tracker.image("losses", tmp_path / "none.png")
    tracker.close({"steps": 1})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert tracker.history == rows
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_row_is_kept_as_it_was(tmp_path: Path) -> None:
    tracker, row = Tracker(tmp_path, "off", {}), {"step": 1.0}
    tracker.log(row)
    row["step"] = 2.0
    assert tracker.history == [{"step": 1.0}]


def test_without_wandb_it_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Tracker(tmp_path, "off", {})
    tracker.log({"step": 1})
    tracker.close({})


WANDB = """
import sys, time
from pathlib import Path
from unittest.mock import MagicMock
import numpy as np
from e2c.pictures import loss_curves, save_figure
from e2c.tracking import Tracker
folder = Path(sys.argv[1])
import wandb
started = time.perf_counter()
tracker = Tracker(folder, sys.argv[2], {"seed": 0, "model": {"latent_dim": 3}})
print(time.perf_counter() - started)
tracker.log({"step": 1, "loss": 2.0})
save_figure(loss_curves([{"step": 1, "lr": 1.0}]), folder / "losses.png")
tracker.image("losses", folder / "losses.png")
tracker.close({"steps": 1})
"""


MODES = {
    "offline": ("offline", {}),
    "nobody logged in": ("online", {}),
    "no answer": ("online", {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}),
}
"""How wandb is asked for, in homes that hold no login; nothing here can reach a network."""


@pytest.fixture(scope="module")
def wandb_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Done]]:
    """One run in each of `MODES`, side by side, since they mostly wait."""

    def use(mode: str, environment: dict[str, str]) -> tuple[Path, Done]:
        home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("run")
        return folder, python("-c", WANDB, str(folder), mode, HOME=str(home), **environment)

    with ThreadPoolExecutor() as pool:
        return dict(zip(MODES, pool.map(use, *zip(*MODES.values(), strict=True)), strict=True))


@pytest.mark.parametrize("name", MODES)
def test_wandb_without_login_or_network_keeps_the_run_in_its_folder(
    wandb_runs: dict[str, tuple[Path, Done]], name: str
) -> None:
    """Nothing is asked and nothing fails; online falls back in time, and says so in one line."""
    folder, done = wandb_runs[name]
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 15, "ten seconds, and what a busy machine adds"
    told = [line for line in done.stderr.splitlines() if not line.startswith("wandb: ")]
    if name == "offline":
        assert done.stderr == ""
    else:
        assert len(told) == 1
        assert told[0].startswith("e2c: wandb goes offline (")
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert json.loads((folder / "metrics.jsonl").read_text()) == {"step": 1, "loss": 2.0}


def test_wandb_is_told_never_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question would stop a run that nobody watches; on a terminal wandb asks by default."""
    fake = MagicMock()
    fake.errors.Error = fake.errors.UsageError = RuntimeError
    fake.login.return_value = False
    monkeypatch.setitem(sys.modules, "wandb", fake)
    Tracker(tmp_path, "online", {})
    assert fake.login.call_args.kwargs["prompt"] is False
    assert [call.kwargs["mode"] for call in fake.init.call_args_list] == ["offline"]
