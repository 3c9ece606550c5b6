"""What a run tells: progress in a log and on a terminal, and JSON lines; see also test_wandb."""

import io
import json
import math
import os
import pty
import struct
import sys
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from e2c.errors import E2CError
from e2c.files import tracking
from e2c.files.tracking import Progress, Tracker
from e2c.report.plots import loss_curves


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
    assert stream.getvalue().split() == ["collect", "3/3", "frames", "0", "s"]


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("collect", 3, "frames")(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("collect")


def test_a_resumed_phase_counts_what_this_session_did(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress("train", 3000, "steps", stream, begun=1000, compiles=False)
    clock.now = 20.0
    progress(1200)
    clock.now = 200.0
    progress(3000)
    first, last = stream.getvalue().splitlines()
    assert first.split()[1:] == ["1200/3000", "steps", "10/s", "3", "min", "left"]
    assert last.split()[1:] == ["3000/3000", "steps", "10/s", "3", "min"]


def test_the_first_step_which_compiles_is_not_counted(clock: Clock) -> None:
    """Nor does it make a rate: a run of seconds was said to have 20 hours left."""
    stream = io.StringIO()
    progress = Progress("train", 5000, "steps", stream)
    for done in range(1, 5001):
        clock.now = 14.0 + done * 0.01
        progress(done)
    first, then, *_, last = stream.getvalue().splitlines()
    assert first.split() == ["train", "1/5000", "steps"]
    assert then.split()[-4:] == ["100/s", "40", "s", "left"]
    assert last.split()[-3:] == ["100/s", "64", "s"]


@pytest.mark.parametrize(
    ("seconds", "done", "rate", "left"),
    [
        (50, 20, "0.4/s", "50 s left"),
        (60, 1, "0.017/s", "39 min left"),
        (600, 2, "0.0033/s", "3.2 h left"),
    ],
)
def test_slow_phases_can_be_read(
    clock: Clock, seconds: float, done: int, rate: str, left: str
) -> None:
    stream = io.StringIO()
    progress = Progress("evaluate", 40, "steps", stream, compiles=False)
    clock.now = seconds
    progress(done)
    assert f"steps  {rate}  {left}" in stream.getvalue()


def test_an_exception_leaves_the_live_line_whole(clock: Clock) -> None:
    stream = Terminal()

    def interrupted() -> None:
        with Progress("train", 30, "steps", stream, compiles=False) as progress:
            clock.now = 2.0
            progress(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().endswith("s left\n")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_phase_that_ended_is_not_ended_again(stream: io.StringIO, clock: Clock) -> None:
    with Progress("train", 30, "steps", stream) as progress:
        clock.now = 20.0
        progress(20)
        progress(30)
    assert not stream.getvalue().endswith("\n\n")


@pytest.mark.parametrize("columns", [20, 37])
def test_the_live_line_never_wraps(clock: Clock, columns: int) -> None:
    """A terminal wraps after its last column, and then redraws only the rest of the line."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        progress = Progress("train", 30, "steps", stream)
        clock.now = 1.0
        progress(10, "a figure that is far too long to be shown")
        shown = os.read(ours, 1000).decode()
    os.close(ours)
    assert shown.removeprefix(tracking.CLEAR_LINE).startswith("train ")
    assert len(shown.removeprefix(tracking.CLEAR_LINE)) == columns - 1


def test_a_line_says_what_the_stream_can(clock: Clock) -> None:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="ascii")
    Progress("collect", 3, "frames", stream)(3, "λ 0.5")
    assert content.getvalue().endswith(b"? 0.5\n")


@pytest.mark.parametrize("how", ["broken", "closed", "none"])
def test_a_stream_that_is_gone_stops_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    if how == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if how == "none" else stream)
    with Progress("collect", 3, "frames") as progress:
        progress(3)
    tracking.tell("something")
    if how == "broken":
        with pytest.raises(BrokenPipeError):
            stream.close()


@pytest.mark.parametrize(
    ("stream", "told"),
    [(Terminal(), "\r\x1b[2Ke2c: something\n"), (io.StringIO(), "e2c: something\n")],
)
def test_a_sentence_takes_the_place_of_the_live_line(
    stream: io.StringIO, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    tracking.tell("something")
    assert stream.getvalue() == told


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


def test_without_wandb_nothing_of_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_start_process", lambda: pytest.fail("it is off"))
    tracker = Tracker(tmp_path, "off", {})
    tracker.log({"step": 1})
    tracker.close({})
    tracker.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


# ---------------------------------------------------------------------------------- runs that go on


ROWS: list[dict[str, float]] = [
    {"step": 100, "loss": 2.5},
    {"round": 1, "share": 0.5},
    {"step": 200},
]


def begun(folder: Path) -> Path:
    tracker = Tracker(folder, "off", {})
    for row in ROWS:
        tracker.log(row)
    return tracker.path


def test_a_resumed_run_keeps_the_rows_up_to_its_state(tmp_path: Path) -> None:
    path = begun(tmp_path)
    tracker = Tracker(tmp_path, "off", {}, keep=2)
    assert tracker.rows == 2
    assert tracker.history == ROWS[:2]
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[:2]
    tracker.log({"step": 300})
    assert tracker.rows == 3
    assert json.loads(path.read_text().splitlines()[-1]) == {"step": 300}


def test_a_row_that_was_cut_short_is_not_kept(tmp_path: Path) -> None:
    path = begun(tmp_path)
    with path.open("a") as file:
        file.write('{"step": 4')
    assert Tracker(tmp_path, "off", {}, keep=3).history == ROWS
    assert len(path.read_text().splitlines()) == 3


def test_without_rows_to_keep_it_begins_anew(tmp_path: Path) -> None:
    path = begun(tmp_path)
    assert Tracker(tmp_path, "off", {}).rows == 0
    assert path.read_text() == ""


@pytest.mark.parametrize(
    "content",
    [
        '{"step": 1}\n',
        '{"step": 1}\n{"step": 2',
        '{"step": 1}\n{"step": 2\n',
        '{"step": 1}\n[2]\n',
        '{"step": 1}\n{"step": "2"}\n',
        '{"step": 1}\n' + "[" * 100_000 + "\n",
        "\udcff\n\udcff\n",
    ],
)
def test_rows_that_are_missing_or_damaged_are_refused_and_left(
    tmp_path: Path, content: str
) -> None:
    path, written = tmp_path / "metrics.jsonl", content.encode("utf-8", "surrogateescape")
    path.write_bytes(written)
    with pytest.raises(E2CError, match=r"metrics\.jsonl holds .*; put the file back or start"):
        Tracker(tmp_path, "off", {}, keep=2)
    assert path.read_bytes() == written


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(E2CError, match=r"holds 0 rows, where the run to go on with had written 1"):
        Tracker(tmp_path, "off", {}, keep=1)


def test_what_is_not_finite_is_null_in_the_file_and_nan_in_the_history(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "off", {})
    tracker.log({"step": 1, "loss": math.nan, "lr": math.inf})
    assert tracker.path.read_text() == '{"step": 1, "loss": null, "lr": null}\n'
    (row,) = Tracker(tmp_path, "off", {}, keep=1).history
    assert row["step"] == 1
    assert math.isnan(row["loss"])
    assert loss_curves([row, {"step": 2, "loss": 1.0}], {"loss": "Loss"}).axes


def test_a_row_is_written_at_once_and_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed leaves whole rows, and a reader sees no half of one."""
    tracker = Tracker(tmp_path, "off", {})
    written: list[bytes] = []
    monkeypatch.setattr(Path, "open", lambda *_, **__: open_raw(tmp_path / "m", written))
    tracker.log({"step": 1, "loss": 0.5})
    assert written == [b'{"step": 1, "loss": 0.5}\n']


def open_raw(path: Path, written: list[bytes]) -> io.TextIOWrapper:
    """A text file whose calls of the system's ``write`` are kept."""

    class Raw(io.FileIO):
        def write(self, content: Any, /) -> int:
            written.append(bytes(content))
            return super().write(content)

    return io.TextIOWrapper(io.BufferedWriter(Raw(path, "a")), encoding="utf-8")
