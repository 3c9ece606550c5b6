"""What an engine costs, and whether a sweep that is disturbed ends as one that is not.

python -m benchmarks.sweeps                              # processes
python -m benchmarks.sweeps --engine ray --injected 2

A small sweep is computed undisturbed, which is the reference; and its runs by the command for a
single run, which is what the engine is set against, both with ``--jobs`` at a time. Processor time
is compared, since the machine may do other work meanwhile; that of Ray's own processes is not in
it, and there the seconds tell. Then the sweep is begun again in new folders and disturbed at random
moments: a worker is killed, or the driver, which is then started again. The cells are compared file
by file, byte by byte, but for times.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
    *("--optimiser.dynamics-steps", "0"),
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
            calm = spent(lambda: self._calm(place / "calm"))
            cells = sorted(path.parent for path in (place / "calm").rglob(runs.CONFIG))
            alone = spent(lambda: self._alone(cells, place / "alone"))
            expected = {cell.relative_to(place / "calm"): untimed(cell) for cell in cells}
            found = [
                self._disturbed(number, place / str(number), calm["seconds"], expected)
                for number in range(self.injected)
            ]
        return {
            **{"engine": self.engine, "cells": len(cells), "sweep": calm, "alone": alone},
            **{"overhead": calm["cpu_seconds"] / alone["cpu_seconds"] - 1, "disturbed": found},
            **{key: sum(each[key] for each in found) for key in ("lost", "otherwise")},
        }

    def _calm(self, out: Path) -> None:
        """Let a sweep end undisturbed."""
        if self._start(out).wait():
            raise E2CError("The undisturbed sweep failed; run it alone for its message.")

    def _start(self, out: Path) -> subprocess.Popen[bytes]:
        engine = ["--engine", self.engine]
        jobs = ["--jobs", str(self.jobs)] if self.engine == "processes" else []
        grid = [*SMALL, "--seed", f"0:{self.cells}", "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*DRIVER, *grid, *engine, *jobs], cwd=ROOT, env=environment, stdout=quiet, stderr=quiet
        )

    def _alone(self, cells: list[Path], out: Path) -> None:
        """Train the same runs by the command for one."""

        def train(cell: Path) -> None:
            config, folder = str(cell / runs.CONFIG), str(out / cell.name)
            line = [sys.executable, "train.py", "--config", config, "--out", folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, check=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(train, cells))

    def _disturbed(
        self, number: int, out: Path, seconds: float, expected: dict[Path, Any]
    ) -> dict[str, Any]:
        """Kill a worker or the driver at a random moment, let the sweep end, and compare."""
        victim = ("worker", "driver")[number % 2]
        moment = float(np.random.default_rng([self.seed, number]).uniform(0.2, 0.9)) * seconds
        driver = self._start(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(moment)
        killed = driver.poll() is None
        if victim == "worker":
            while not (killed := kill_worker(out)) and driver.poll() is None:
                time.sleep(0.05)
        else:
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


def spent(work: Callable[[], None]) -> dict[str, float]:
    """Return the seconds that ``work`` took, and the processor time of the processes it started."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "cpu_seconds": cpu}


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
            "| engine | cells | sweep: s, processor s | runs alone: s, processor s | overhead "
            "| kills | lost | otherwise |",
            "|---|---|---|---|---|---|---|---|",
            f"| {found['engine']} | {found['cells']} | {_times(found['sweep'])} "
            f"| {_times(found['alone'])} | {found['overhead']:.1%} | {killed} | {found['lost']} "
            f"| {found['otherwise']} |",
        ]
    )


def _times(taken: dict[str, float]) -> str:
    return f"{taken['seconds']:.0f}, {taken['cpu_seconds']:.0f}"


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Sweeps)())
