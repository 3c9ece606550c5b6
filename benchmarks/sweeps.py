"""What an engine costs, and whether a sweep that is disturbed ends as one that is not.

python -m benchmarks.sweeps                              # processes
python -m benchmarks.sweeps --engine ray --injected 2

A small sweep is computed undisturbed, which is the reference; and its runs one after another by the
command for a single run, which is what the engine's time is set against, both with ``--jobs`` at a
time. Then the sweep is begun again in new folders and disturbed at random moments: a worker is
killed, or the driver, which is then started again. The cells are compared file by file, byte by
byte, but for times.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.kills import untimed
from benchmarks.store import ROOT, Benchmark, Result
from e2c.errors import E2CError, run_command
from e2c.files import runs

DRIVER = [sys.executable, "-c", "from e2c.sweep.command import sweep_command; sweep_command()"]
SMALL = [
    *("--model.encoder-hidden", "32,32", "--model.decoder-hidden", "32,32"),
    *("--data.transitions", "200", "--optimiser.steps", "100", "--data.rounds", "1"),
    *("--optimiser.steps-per-round", "50", "--optimiser.sight-steps", "0"),
    *("--data.episodes-per-round", "1", "--evaluation.episodes", "0"),
]
"""A grid of one cell of seconds."""


@dataclass(frozen=True)
class Sweeps(Benchmark):
    """Time a sweep beside its runs alone, disturb it, and compare."""

    cells: int = 4
    """Cells of the sweep: so many seeds."""
    injected: int = 4
    """Sweeps that are disturbed: a worker and a driver are killed in turn."""
    engine: Literal["processes", "ray"] = "processes"
    """Who computes the cells."""
    jobs: int = 2
    """Cells at the same time."""
    seed: int = 0
    """Of the moments."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when a cell of a disturbed sweep is lost, or ended otherwise.
        """
        found = self.result("sweeps", self.measured)
        print(table(found))
        if found["lost"] or found["otherwise"]:
            raise E2CError("A disturbed sweep ended otherwise; see its counts above.")

    def measured(self) -> Result:
        """Compute the reference, time it, disturb copies of it."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            started = time.perf_counter()
            if self._start(place / "calm").wait():
                raise E2CError("The undisturbed sweep failed; see its message above.")
            calm = time.perf_counter() - started
            cells = sorted(path.parent for path in (place / "calm").rglob(runs.CONFIG))
            alone = self._alone(cells, place / "alone")
            expected = {cell.relative_to(place / "calm"): untimed(cell) for cell in cells}
            found = [
                self._disturbed(number, place / str(number), calm, expected)
                for number in range(self.injected)
            ]
        return {
            **{"engine": self.engine, "cells": len(cells), "sweep_seconds": calm},
            **{"alone_seconds": alone, "overhead": calm / alone - 1, "disturbed": found},
            **{key: sum(each[key] for each in found) for key in ("lost", "otherwise")},
        }

    def _start(self, out: Path) -> subprocess.Popen[bytes]:
        engine = ["--engine", self.engine]
        jobs = ["--jobs", str(self.jobs)] if self.engine == "processes" else []
        grid = [*SMALL, "--seed", f"0:{self.cells}", "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*DRIVER, *grid, *engine, *jobs], cwd=ROOT, env=environment, stdout=quiet, stderr=quiet
        )

    def _alone(self, cells: list[Path], out: Path) -> float:
        """Train the same runs by the command for one; return the seconds."""

        def train(cell: Path) -> None:
            config, folder = str(cell / runs.CONFIG), str(out / cell.name)
            line = [sys.executable, "train.py", "--config", config, "--out", folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, check=True)

        started = time.perf_counter()
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(train, cells))
        return time.perf_counter() - started

    def _disturbed(
        self, number: int, out: Path, seconds: float, expected: dict[Path, Any]
    ) -> dict[str, Any]:
        """Kill a worker or the driver at a random moment, let the sweep end, and compare."""
        victim = ("worker", "driver")[number % 2]
        moment = float(np.random.default_rng([self.seed, number]).uniform(0.2, 0.9)) * seconds
        driver = self._start(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(moment)
        killed = kill_worker(out) if victim == "worker" else driver.poll() is None
        if victim == "driver":
            driver.kill()
            driver.wait()
            driver = self._start(out)
        status = driver.wait()
        found = {cell: untimed(out / cell) for cell in expected if runs.finished(out / cell)}
        otherwise = sum(found[cell] != expected[cell] for cell in found)
        return {
            **{"victim": victim, "after_seconds": moment, "killed": killed, "status": status},
            **{"lost": len(expected) - len(found), "otherwise": otherwise},
        }


def kill_worker(out: Path) -> bool:
    """Kill the process that works on a cell of a sweep; say whether there was one."""
    for lock in sorted(out.glob(f"*/*/{runs.LOCK}")):
        number, folder = lock.read_text().strip(), str(lock.parent)
        with contextlib.suppress(OSError):
            if folder in Path(f"/proc/{number}/cmdline").read_text():  # nobody else has its number
                os.kill(int(number), signal.SIGKILL)
                return True
    return False


def table(found: Result) -> str:
    """Return the figures as Markdown."""
    killed = sum(each["killed"] for each in found["disturbed"])
    return "\n".join(
        [
            "| engine | cells | sweep [s] | runs alone [s] | overhead | kills | lost | otherwise |",
            "|---|---|---|---|---|---|---|---|",
            f"| {found['engine']} | {found['cells']} | {found['sweep_seconds']:.0f} "
            f"| {found['alone_seconds']:.0f} | {found['overhead']:.1%} | {killed} "
            f"| {found['lost']} | {found['otherwise']} |",
        ]
    )


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Sweeps)())
