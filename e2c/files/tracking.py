"""What a run tells while it goes on: one live line, JSON lines in its folder, wandb on request.

``metrics.jsonl`` is the truth. wandb is a guest that lives in a process of its own: whatever goes
wrong there costs seconds and one line of warning, never the run.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TextIO

from e2c.errors import E2CError
from e2c.files import wandb_process
from e2c.files.whole import write_whole

WandbMode = Literal["off", "offline", "online"]

CLEAR_LINE = "\r\x1b[2K"
LOG_SECONDS = 10.0
"""A log gets a line this often; a terminal's live line is redrawn ten times a second."""

PATIENCE = {"online": 9.0, "offline": 60.0}
"""A run waits this long for wandb, and a second for its process to end [s]; then it goes on without
it. Offline, no network is slow, only the machine."""


# ---------------------------------------------------------------------------------------- terminal


class Progress:
    """One line for each phase: rate, time left and the figure that matters.

    On a terminal the line is redrawn in place and never wraps; in a log, plain lines appear at
    intervals. Nothing more is written to a stream that is closed or broken. As a context manager it
    ends an unfinished live line when an exception passes.

    Args:
        phase: what is being done.
        total: units of work in the phase.
        unit: name of the unit.
        stream: where lines are written; standard error by default.
        begun: units that an earlier session did; rate and time left do not count them.
        compiles: whether what is done first takes longer, for it compiles; rate and time left do
            not count it.
    """

    def __init__(
        self,
        phase: str,
        total: int,
        unit: str,
        stream: TextIO | None = None,
        begun: int = 0,
        compiles: bool = True,
    ) -> None:
        self.phase, self.total, self.unit = phase, total, unit
        self.stream = stream or _standard_error()
        self.live = _is_terminal(self.stream)
        self.started = time.perf_counter()
        self._told = self.started
        self._counted = None if compiles else (begun, self.started)
        """Units and the time from which on the rate is counted, as soon as it is known."""
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._open = False
            _write(self.stream, "\n")

    def __call__(self, done: int, figure: str = "") -> None:
        """Tell that ``done`` units are done; ``figure`` stands at the end of the line."""
        now, last = time.perf_counter(), done >= self.total
        if self._counted is None:
            self._counted = done, now
        if now - self._told < (0.1 if self.live else LOG_SECONDS) and not last:
            return
        self._told = now
        line = self._line(done, now, figure)
        self._open = self.live and not last
        if self.live:
            line = CLEAR_LINE + line[: _columns(self.stream) - 1]
        _write(self.stream, line + ("" if self._open else "\n"))

    def _line(self, done: int, now: float, figure: str) -> str:
        """Say how far it is, how fast it goes and how long it takes, as far as that is known."""
        parts = [f"{self.phase:<22} {done:>6}/{self.total} {self.unit}"]
        first, since = self._counted or (done, now)
        if done > first:
            rate = (done - first) / max(now - since, 1e-9)
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if done < self.total:
                parts.append(f"{_duration((self.total - done) / rate)} left")
        if done >= self.total:
            parts.append(_duration(now - self.started))
        return "  ".join([*parts, figure] if figure else parts)


def _duration(seconds: float) -> str:
    """Say a time to two or three digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _standard_error() -> TextIO:
    """Return standard error; a process that was started without one writes nowhere."""
    return sys.stderr or io.StringIO()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _columns(stream: TextIO) -> int:
    """Width of the terminal behind a stream; 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _write(stream: TextIO, text: str) -> None:
    """Write what the stream's encoding can say; a closed or broken one is let be."""
    encoding = stream.encoding or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def tell(sentence: str) -> None:
    """Tell the user one line, in the place of an unfinished live line."""
    stream = _standard_error()
    _write(stream, f"{CLEAR_LINE if _is_terminal(stream) else ''}e2c: {sentence}\n")


# ----------------------------------------------------------------------------------------- metrics


class Tracker:
    """Keeps a run's metrics: JSON lines always, wandb where asked for.

    Args:
        folder: run folder; it must exist.
        wandb_mode: ``off``, ``offline`` (kept in the folder) or ``online``.
        config: the run's configuration, for wandb.
        keep: rows of an earlier session's ``metrics.jsonl`` that are kept; what follows them is
            cut off. 0 begins anew.

    Raises:
        E2CError: when the file holds fewer rows than are to be kept, or a damaged one among them.
    """

    def __init__(
        self, folder: Path, wandb_mode: WandbMode, config: Mapping[str, Any], keep: int = 0
    ) -> None:
        self.path = folder / "metrics.jsonl"
        kept = _read_rows(self.path, keep) if keep else []
        self.history: list[dict[str, float]] = [_from_json(self.path, line) for line in kept]
        """All rows; what is not finite is NaN."""
        text = "".join(f"{row}\n" for row in kept)
        write_whole(self.path, lambda aside: aside.write_text(text, "utf-8"))
        self._wandb = _Wandb(folder, _allowed_here(wandb_mode), config, resumed=keep > 0)

    @property
    def rows(self) -> int:
        """Rows kept so far: the ``keep`` of a session that goes on from here."""
        return len(self.history)

    def log(self, row: Mapping[str, float]) -> None:
        """Keep a row of metrics, at once."""
        self.history.append(dict(row))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_to_json(row) + "\n")
        self._wandb.send("log", dict(row))

    def image(self, name: str, path: Path) -> None:
        """Send a picture that has been written."""
        self._wandb.send("image", {name: str(path)})

    def video(self, name: str, path: Path) -> None:
        """Send a film that has been written (.mp4)."""
        self._wandb.send("video", {name: str(path)})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send a table; its columns are the keys of the rows, empty where a row has no such key."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(column) for column in columns] for row in rows]
        self._wandb.send("table", {name: {"columns": columns, "data": data}})

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send the last figures and end the run."""
        self._wandb.send("summary", dict(summary))
        self._wandb.finish(0)

    def abandon(self) -> None:
        """End the run as one that did not get to its end; after `close`, nothing is left to do."""
        self._wandb.finish(1)


def _to_json(row: Mapping[str, float]) -> str:
    """Write a row as strict JSON, where what is not finite is null."""
    finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
    return json.dumps(finite, allow_nan=False)


def _from_json(path: Path, line: str) -> dict[str, float]:
    """Read a row that `_to_json` wrote; null becomes NaN."""
    try:
        row = {key: math.nan if x is None else x for key, x in json.loads(line).items()}
        if all(isinstance(x, int | float) for x in row.values()):
            return row
    except (ValueError, AttributeError, RecursionError):
        pass
    raise E2CError(
        f"{path} holds {line[:40]!r}, which is no row of metrics; put the file back or start the "
        "run anew in another folder."
    )


def _read_rows(path: Path, count: int) -> list[str]:
    """Read the first ``count`` lines."""
    found = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
    if len(found) < count:
        raise E2CError(
            f"{path} holds {len(found)} rows, where the run to go on with had written {count}; put "
            "the file back or start the run anew in another folder."
        )
    return found[:count]


# ------------------------------------------------------------------------------------------- wandb


class _Wandb:
    """A wandb run, kept by `e2c.files.wandb_process`: at worst it costs `PATIENCE`, never the run.

    Args:
        folder: run folder; everything of wandb lies in its ``wandb``.
        mode: as asked for; without a login or an answering server, online goes offline.
        config: the run's configuration.
        resumed: whether to go on in the wandb run of an earlier session.
    """

    def __init__(
        self, folder: Path, mode: WandbMode, config: Mapping[str, Any], resumed: bool
    ) -> None:
        self._socket: socket.socket | None = None
        if mode == "off":
            return
        self._patience = PATIENCE[mode]
        about = wandb_process.Beginning(
            str(folder), mode, _run_id(folder, resumed), dict(config), sys.argv, os.getpid()
        )
        try:
            self._process, self._socket = _start_process()
        except OSError as error:
            tell(f"wandb is off, since its process did not start ({error}); the run goes on.")
        self.send("begin", vars(about))

    def send(self, kind: str, content: Any) -> None:
        """Hand over a request for `wandb_process.serve`, and do not wait for it."""
        if self._socket is not None:
            try:
                self._put(self._socket, kind, content)
                self._hear(self._socket, 0.0)
            except OSError as error:
                self._end(self._socket, error)

    def finish(self, status: int) -> None:
        """End the run with an exit status, and wait until wandb has what is on its way."""
        if self._socket is not None:
            try:
                self._put(self._socket, "finish", status)
                self._socket.shutdown(socket.SHUT_WR)
                self._hear(self._socket, self._patience)
                raise TimeoutError
            except OSError as error:
                self._end(self._socket, error)

    def _put(self, connection: socket.socket, kind: str, content: Any) -> None:
        connection.settimeout(self._patience)
        connection.sendall(f"{json.dumps([kind, content], default=str)}\n".encode())

    def _hear(self, connection: socket.socket, seconds: float) -> None:
        """Tell what the process says within some time, up to its end, a ConnectionError."""
        deadline = time.perf_counter() + seconds
        while select.select([connection], [], [], max(0.0, deadline - time.perf_counter()))[0]:
            said = connection.recv(1 << 16)
            if not said:
                raise ConnectionError
            for sentence in said.decode(errors="replace").splitlines():
                tell(sentence)

    def _end(self, connection: socket.socket, error: OSError) -> None:
        """Let go of the process, which must not outlive the run, and tell if it went wrong."""
        self._socket = None
        connection.close()
        late = isinstance(error, TimeoutError)
        try:
            failed = self._process.wait(0.0 if late else 1.0) != 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            failed = late
        if failed:
            why = f"did not answer for {self._patience:.0f} s" if late else "ended by itself"
            tell(f"wandb is off from here on, since its process {why}; the run goes on.")


def _start_process() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start `e2c.files.wandb_process`, mute and deaf but for the socket that is returned."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", wandb_process.__file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, which then ends this process
        )
    return process, ours


def _allowed_here(mode: WandbMode) -> WandbMode:
    """Take the more private of what is asked for and what the user's environment says of wandb."""
    said = os.environ.get("WANDB_MODE", "")
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true"):
        said = "disabled"
    private: dict[str, WandbMode] = {"disabled": "off", "offline": "offline", "dryrun": "offline"}
    allowed = min(mode, private.get(said, mode), key=("off", "offline", "online").index)
    if allowed != mode:
        tell(f"wandb is {allowed}, since the environment says so (WANDB_MODE, WANDB_DISABLED).")
    return allowed


def _run_id(folder: Path, resumed: bool) -> str:
    """Name the wandb run: the one that an earlier session began, or a new one."""
    path = folder / "wandb" / "id"
    if resumed and path.exists():
        return path.read_text("utf-8", "replace").strip()
    path.parent.mkdir(exist_ok=True)
    name = secrets.token_hex(4)
    write_whole(path, lambda aside: aside.write_text(name, "utf-8"))
    return name
