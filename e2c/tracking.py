"""What a run tells while it goes on: one live line, JSON lines in its folder, wandb on request.

``metrics.jsonl`` is the truth. wandb is a guest: whatever goes wrong there costs seconds and one
line of warning, never the run.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TextIO

from e2c.errors import E2CError, write_whole

WandbMode = Literal["off", "offline", "online"]

LOG_SECONDS = 10.0
"""A log gets a line this often; a terminal's live line is redrawn ten times a second."""

WANDB_SECONDS = 4.0
"""wandb may take this long to begin, and as long again to send the rest at the end [s]."""


# ---------------------------------------------------------------------------------------- terminal


class Progress:
    """One line for each phase: rate, time left and the figure that matters.

    On a terminal the line is redrawn in place and never wraps; in a log, plain lines appear at
    intervals. A stream that is closed or broken is told nothing more. As a context manager it
    ends an unfinished live line when an exception passes.

    Args:
        phase: what is being done.
        total: units of work in the phase.
        unit: name of the unit.
        stream: where it is told; standard error by default.
        begun: units that an earlier session did; rate and time left do not count them.
    """

    def __init__(
        self, phase: str, total: int, unit: str, stream: TextIO | None = None, begun: int = 0
    ) -> None:
        self.phase, self.total, self.unit, self.begun = phase, total, unit, begun
        self.stream = stream or sys.stderr
        self.live = _is_terminal(self.stream)
        self.started = time.perf_counter()
        self._told = self.started
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
        if now - self._told < (0.1 if self.live else LOG_SECONDS) and not last:
            return
        self._told = now
        line = self._line(done, max(now - self.started, 1e-9), figure)
        self._open = self.live and not last
        if self.live:
            line = f"\r\x1b[2K{line[: _columns(self.stream) - 1]}"
        _write(self.stream, line + ("" if self._open else "\n"))

    def _line(self, done: int, seconds: float, figure: str) -> str:
        """Say how far it is, how fast it goes and how long it takes."""
        rate = (done - self.begun) / seconds
        left = (self.total - done) / max(rate, 1e-9)
        took = _duration(seconds) if done >= self.total else f"{_duration(left)} left"
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        line = f"{self.phase:<22} {done:>6}/{self.total} {self.unit}  {speed}/s  {took}"
        return f"{line}  {figure}" if figure else line


def _duration(seconds: float) -> str:
    """Say a time to two or three digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        pass


def _tell(sentence: str) -> None:
    """Say one line of the program's own on standard error."""
    _write(sys.stderr, f"e2c: {sentence}\n")


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
        write_whole(self.path, lambda aside: aside.write_text("".join(f"{row}\n" for row in kept)))
        self._wandb = _Wandb(folder, wandb_mode, config, resumed=keep > 0)

    @property
    def rows(self) -> int:
        """Rows kept so far: the ``keep`` of a session that goes on from here."""
        return len(self.history)

    def log(self, row: Mapping[str, float]) -> None:
        """Keep a row of metrics, at once."""
        self.history.append(dict(row))
        with self.path.open("a") as file:
            file.write(_to_json(row) + "\n")
        self._wandb.log(row)

    def image(self, name: str, path: Path) -> None:
        """Send a picture that has been written."""
        self._wandb.do(lambda wandb, run: run.log({name: wandb.Image(str(path))}))

    def video(self, name: str, path: Path) -> None:
        """Send a film that has been written (.mp4)."""
        self._wandb.do(lambda wandb, run: run.log({name: wandb.Video(str(path), format="mp4")}))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send a table; its columns are the keys of the rows, empty where a row has no such key."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[row.get(column) for column in columns] for row in rows]
        self._wandb.do(lambda wandb, run: run.log({name: wandb.Table(columns, cells)}))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send the last figures and end the run."""
        self._wandb.do(lambda _, run: run.summary.update(dict(summary)))
        self._wandb.finish(0)

    def abandon(self) -> None:
        """End the run as one that did not get to its end."""
        self._wandb.finish(1)


def _to_json(row: Mapping[str, float]) -> str:
    """Write a row as strict JSON, where what is not finite is null."""
    finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
    return json.dumps(finite, allow_nan=False)


def _from_json(path: Path, line: str) -> dict[str, float]:
    """Read a row that `_to_json` wrote; null becomes NaN."""
    try:
        return {key: math.nan if x is None else x for key, x in json.loads(line).items()}
    except (ValueError, AttributeError):
        raise E2CError(
            f"{path} holds a damaged row, {line[:40]!r}; start the run anew in another folder."
        ) from None


def _read_rows(path: Path, count: int) -> list[str]:
    """Read the first ``count`` whole lines."""
    try:
        whole = path.read_text().split("\n")[:-1]
    except (FileNotFoundError, UnicodeDecodeError):
        whole = []
    if len(whole) < count:
        raise E2CError(
            f"{path} holds {len(whole)} readable rows, and the run to go on with wrote {count}; "
            "put the file back or start the run anew in another folder."
        )
    return whole[:count]


# ------------------------------------------------------------------------------------------- wandb


class _Wandb:
    """A wandb run that costs a few seconds at worst, and is off after its first failure.

    Args:
        folder: run folder; everything of wandb lies in its ``wandb``.
        mode: as asked for; without a login or an answering server, online goes offline.
        config: the run's configuration.
        resumed: whether to go on in the wandb run of an earlier session.
    """

    def __init__(
        self, folder: Path, mode: WandbMode, config: Mapping[str, Any], resumed: bool
    ) -> None:
        self._module: Any = None
        self._run: Any = None
        self._axes: set[str] = set()
        mode = _allowed_by_environment(mode)
        if mode != "off":
            self._guarded(lambda: self._start(folder, mode, dict(config), resumed))

    def log(self, row: Mapping[str, float]) -> None:
        """Send a row: losses over the optimiser's step, own rounds over the transitions."""
        axis = "step" if "step" in row else "transitions"

        def send(_: Any, run: Any) -> None:
            for name in row.keys() - self._axes:
                run.define_metric(name, step_metric=None if name == axis else axis)
            self._axes |= row.keys()
            run.log(dict(row))

        self.do(send)

    def do(self, action: Callable[[Any, Any], object]) -> None:
        """Let ``action`` use the module and the run, where there is one."""
        if self._run is not None:
            self._guarded(lambda: action(self._module, self._run))

    def finish(self, status: int) -> None:
        """Send what is left, for a bounded time, and end wandb's process."""
        self.do(lambda _, run: run.finish(status))
        self._run = None

    def _guarded(self, action: Callable[[], object]) -> None:
        """Act; a failure is told in one line, and wandb is off from there on."""
        try:
            action()
        except Exception as error:
            self._run = None
            _tell(f"wandb is off from here on ({_reason(error)}); the run goes on.")

    def _start(self, folder: Path, mode: WandbMode, config: dict[str, Any], resumed: bool) -> None:
        # wandb's reports on itself wait twenty seconds for a server that does not answer
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        settings = wandb.Settings(
            init_timeout=WANDB_SECONDS, finish_timeout=WANDB_SECONDS, silent=True, console="off"
        )
        wandb.setup(settings=settings)
        name = _run_id(folder, resumed)

        def start(mode: Literal["offline", "online"]) -> Any:
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT", "e2c"),
                name=folder.resolve().name,
                id=name,
                resume="allow" if resumed and mode == "online" else None,
                dir=str(folder),
                config=config,
                mode=mode,
                settings=settings,
            )

        self._module, self._run = wandb, None
        if mode == "online":
            try:
                if not wandb.login(prompt=False, verify=False):
                    raise wandb.errors.UsageError("nobody is logged in")
                self._run = start("online")
                _tell(f"wandb: {self._run.url}")
                return
            except Exception as error:
                _tell(f"wandb goes offline ({_reason(error)}).")
                wandb.teardown()
                wandb.setup(settings=settings)
        self._run = start("offline")


def _allowed_by_environment(mode: WandbMode) -> WandbMode:
    """Take the more private of what is asked for and what the user's environment says."""
    return mode


def _run_id(folder: Path, resumed: bool) -> str:
    """Name the wandb run: the one that this folder began, or a new one."""
    path = folder / "wandb" / "id"
    if resumed and path.exists():
        return path.read_text().strip()
    path.parent.mkdir(exist_ok=True)
    name = secrets.token_hex(4)
    write_whole(path, lambda aside: aside.write_text(name + "\n"))
    return name


def _reason(error: Exception) -> str:
    """The first line of what an exception says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
