"""What a run tells while it goes on: one live line, JSON lines in its folder, wandb on request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

WandbMode = Literal["off", "offline", "online"]

LOG_SECONDS = 10.0
"""A log gets a line this often; a terminal's live line is redrawn ten times a second."""


class Progress:
    """One line for each phase: rate, time left and the figure that matters.

    On a terminal the line is redrawn in place; in a log, plain lines appear at intervals.

    Args:
        phase: what is being done.
        total: units of work in the phase.
        unit: name of the unit.
        stream: where it is told; standard error by default.
    """

    def __init__(self, phase: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self.phase, self.total, self.unit = phase, total, unit
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = time.perf_counter()
        self._told = self.started

    def __call__(self, done: int, figure: str = "") -> None:
        """Tell that ``done`` units are done; ``figure`` stands at the end of the line."""
        now, last = time.perf_counter(), done >= self.total
        if now - self._told < (0.1 if self.live else LOG_SECONDS) and not last:
            return
        self._told = now
        seconds = max(now - self.started, 1e-9)
        rate = done / seconds
        left = f"{seconds:.0f} s" if last else f"{(self.total - done) / max(rate, 1e-9):.0f} s left"
        line = f"{self.phase:<22} {done:>6}/{self.total} {self.unit}  {rate:,.0f}/s  {left}"
        line += f"  {figure}" if figure else ""
        if self.live:
            self.stream.write(f"\r\x1b[2K{line}" + ("\n" if last else ""))
        else:
            self.stream.write(line + "\n")
        self.stream.flush()


class Tracker:
    """Keeps a run's metrics: JSON lines always, wandb where asked for.

    Args:
        folder: run folder; an earlier, unfinished run's ``metrics.jsonl`` is begun anew.
        wandb_mode: ``off``, ``offline`` (kept in the folder) or ``online``.
        config: the run's configuration, for wandb.
    """

    def __init__(self, folder: Path, wandb_mode: WandbMode, config: Mapping[str, Any]) -> None:
        self.path = folder / "metrics.jsonl"
        self.path.write_text("")
        self.history: list[dict[str, float]] = []
        self._wandb = _start_wandb(folder, wandb_mode, config) if wandb_mode != "off" else None

    def log(self, row: Mapping[str, float]) -> None:
        """Keep a row of metrics."""
        self.history.append(dict(row))
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._wandb is not None:
            self._wandb.log(dict(row))

    def image(self, name: str, path: Path) -> None:
        """Send a picture that has been written."""
        if self._wandb is not None:
            import wandb

            self._wandb.log({name: wandb.Image(str(path))})

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send the last figures and end the run."""
        if self._wandb is not None:
            self._wandb.summary.update(dict(summary))
            self._wandb.finish()


def _start_wandb(folder: Path, mode: WandbMode, config: Mapping[str, Any]) -> Any:
    """Start a wandb run; without a login or a network, go offline after at most ten seconds."""
    import wandb

    def start(mode: Literal["offline", "online"]) -> Any:
        settings = wandb.Settings(init_timeout=4, silent=True, console="off")
        return wandb.init(
            project="e2c",
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            mode=mode,
            settings=settings,
        )

    if mode == "online":
        try:
            if not wandb.login(prompt=False, verify=False, timeout=8):
                raise wandb.errors.UsageError("nobody is logged in")
            return start("online")
        except (wandb.errors.Error, OSError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"e2c: wandb goes offline ({reason}).", file=sys.stderr)
    return start("offline")
