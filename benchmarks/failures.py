"""Does a sweep that is disturbed again and again end as one that is not? Compared.

python -m benchmarks.failures --worker 4 --driver 4 --disk 2                     # processes
python -m benchmarks.failures --engines ray --worker 4 --driver 4 --node 4 --disk 2

Small sweeps are disturbed at random moments, each several times, until as many failures as were
asked for have happened while they worked:

* worker: the process of a cell is killed; with Ray, the worker that computes it.
* driver: the command itself is killed, and given again.
* node: all processes of a Ray node that computes a cell are killed; later a node joins.
* disk: the sweep lies on a small disk, which something else fills until the command gives up; the
  disk is freed, and the command given again. Only root can mount such a disk.

A command that ends with cells that failed is given again. In the end the cells are compared with
those of an undisturbed sweep file by file, byte by byte, but for times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.cluster import Cluster
from benchmarks.store import Result
from benchmarks.sweeps import Engines, Small, nodes
from e2c.errors import E2CError, run_command
from e2c.files import runs

KINDS = ("worker", "driver", "node", "disk")
DISK = "size=64m"
PATIENCE = 900.0
"""A sweep that is no longer disturbed ends within this time, or counts as lost [s]."""


@dataclass(frozen=True)
class Failures(Engines):
    """Disturb sweeps, let them go on, compare."""

    worker: int = 2
    """Workers to kill, with each engine."""
    driver: int = 2
    """Drivers to kill."""
    node: int = 0
    """Nodes to lose, with Ray."""
    disk: int = 0
    """Times that the disk is full."""
    cells: int = 4
    """Cells of a sweep."""
    seed: int = 0
    """Of the moments, and of the order of the failures."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when a cell of a disturbed sweep is lost, or ended otherwise.
        """
        found = self.measure_and_tell("failures", self._options_of, self._measured, table)
        if any(each["lost"] or each["otherwise"] for each in found.values()):
            raise E2CError("A disturbed sweep ended otherwise; see the counts above.")

    def _options_of(self, engine: str) -> Result:
        counts = {kind: getattr(self, kind) for kind in KINDS}
        counts["node"] *= engine == "ray"
        size = {"cells": self.cells, "jobs": self.jobs, "seed": self.seed}
        return {"engine": engine, **counts, **size}

    def _measured(self, engine: str) -> Result:
        """Compute the reference, then disturb sweeps until all failures have happened."""
        options = self._options_of(engine)
        if options["node"] and self.jobs < 2:
            raise E2CError("A node can be lost where there is another; give --jobs 2 or more.")
        rng = np.random.default_rng(self.seed)
        left = rng.permutation([kind for kind in KINDS for _ in range(options[kind])]).tolist()
        done: list[Result] = []
        with contextlib.ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            disk = stack.enter_context(small_disk(place / "disk")) if self.disk else place
            ray = stack.enter_context(nodes(engine, self.jobs))
            sweep, started = Small(self.cells, self.jobs, ray), time.perf_counter()
            sweep.compute(place / "calm")
            seconds = (time.perf_counter() - started) * self.jobs / self.cells
            expected = sweep.found(place / "calm")
            while left:
                struck = Struck(sweep, disk / f"sweep_{len(done)}", rng, seconds)
                done.append({**struck.end(left), **struck.compared(expected)})
                shutil.rmtree(struck.out)
                told = dict(Counter(each["kind"] for each in done[-1]["failures"]))
                print(f"sweep {len(done) - 1}: {told}, {len(left)} to come", flush=True)
        happened = Counter(each["kind"] for sweep in done for each in sweep["failures"])
        return {
            **{"engine": engine, "seconds_of_a_cell": seconds, "sweeps": done},
            "failures": {kind: happened[kind] for kind in KINDS},
            "cells": len(expected) * len(done),
            **{key: sum(each[key] for each in done) for key in ("lost", "otherwise")},
        }


@dataclass
class Struck:
    """A sweep that is disturbed.

    Attributes:
        sweep: what is computed.
        out: its folder.
        rng: of the moments.
        seconds: that a cell takes, and the longest time from a failure to the next moment.
        failures: that happened.
    """

    sweep: Small
    out: Path
    rng: np.random.Generator
    seconds: float
    failures: list[dict[str, Any]] = field(default_factory=list)

    def end(self, left: list[str]) -> Result:
        """Let the sweep end, disturbed by failures that are taken off the list as they happen."""
        self.driver, commands, fresh = self.sweep.start(self.out), 1, False
        started = last = time.perf_counter()
        try:
            while self._pause() != 0 and time.perf_counter() - last < PATIENCE:
                if self.driver.poll() is not None:
                    if not fresh:
                        break  # nothing disturbed it
                    self.driver, commands, fresh = self.sweep.start(self.out), commands + 1, False
                elif left and getattr(self, f"_{left[-1]}")():
                    last, fresh = time.perf_counter(), True
                    self.failures.append({"kind": left.pop(), "after_seconds": last - started})
            status = self.driver.poll()
        finally:
            self.driver.kill()
            self.driver.wait()
        return {"failures": self.failures, "commands": commands, "status": status}

    def compared(self, expected: dict[Path, Result]) -> dict[str, int]:
        """Count the cells that are lost, and those that ended otherwise."""
        found = self.sweep.found(self.out)
        otherwise = sum(found[cell] != expected[cell] for cell in found)
        return {"lost": len(expected.keys() - found.keys()), "otherwise": otherwise}

    def _pause(self) -> int | None:
        """Wait for a random time, or until the command ends; return its status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.driver.wait(self.rng.uniform(0, self.seconds))
        return self.driver.poll()

    def _worker(self) -> bool:
        """Kill the process of a cell, or Ray's worker that started it."""
        working = workers(self.out)
        if not working:
            return False
        victim = int(self.rng.choice(working))
        with contextlib.suppress(OSError):
            os.kill(parent(victim) if self.sweep.ray else victim, signal.SIGKILL)
            return True
        return False

    def _driver(self) -> bool:
        """Kill the command."""
        self.driver.kill()
        return self.driver.wait() == -signal.SIGKILL

    def _node(self) -> bool:
        """Lose the last node, if it computes a cell; later start another."""
        ray = self.sweep.ray
        assert ray is not None
        if not computes(ray, workers(self.out)):
            return False
        ray.lose()
        self._pause()
        ray.add()
        return True

    def _disk(self) -> bool:
        """Fill the disk until the command gives up; say whether it had to."""
        with full(self.out.parent):
            return self.driver.wait() != 0


def workers(out: Path) -> list[int]:
    """Return the numbers of the processes that work on cells of a sweep."""
    found = []
    for lock in sorted(out.glob(f"*/*/{runs.LOCK}")):
        number, folder = lock.read_text().strip(), str(lock.parent)
        with contextlib.suppress(OSError):
            if folder in Path(f"/proc/{number}/cmdline").read_text():  # nobody else has its number
                found.append(int(number))
    return found


def parent(process: int) -> int:
    """Return the number of the process that started a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def computes(ray: Cluster, working: list[int]) -> bool:
    """Whether one of the processes is of the last node."""
    for process in working:
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process) == ray.sessions[-1]:
                return True
    return False


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk, in memory.

    Raises:
        E2CError: when it cannot be mounted.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "e2c", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise E2CError("Only root can mount a small disk to fill; leave --disk out.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder to its last byte, and free it."""
    ballast = folder / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
    finally:
        ballast.unlink()


def table(found: dict[str, Result]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"| engine | sweeps | cells | {' | '.join(KINDS)} | cells lost | cells that differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        counts = " | ".join(str(each["failures"][kind]) for kind in KINDS)
        lines.append(
            f"| {name} | {len(each['sweeps'])} | {each['cells']} | {counts} | {each['lost']} "
            f"| {each['otherwise']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Failures)())
