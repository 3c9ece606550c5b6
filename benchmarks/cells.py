"""The cells of a benchmark: each computed in a process of its own, several at the same time.

A benchmark that has cells is a module whose command line takes ``--cell NAME``, computes that cell
alone and leaves its file. So a cell that crashes takes no other with it, and what is finished is
found by its file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.store import ROOT, Benchmark, Cell, Result, missing
from e2c.config import Recipe
from e2c.errors import E2CError
from e2c.files import runs
from e2c.learning import run


@dataclass(frozen=True)
class Seeds(Benchmark):
    """A benchmark of one cell for each seed, and for each controller that learns nothing."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds to measure."""
    jobs: int = 1
    """Cells computed at the same time, each on its share of the cores."""
    cell: str = ""
    """Compute this one cell here, a seed or the name of a controller, and nothing else."""

    def measure_and_tell(
        self,
        module: str,
        others: Sequence[str],
        options: Mapping[str, Any],
        measure: Callable[[str], Result],
        table: Callable[[dict[str, Result]], str],
        passed: Sequence[str] = (),
        within: str = "",
    ) -> None:
        """Compute the cell that is asked for; or those that are missing, and tell of all.

        Args:
            module: the benchmark, as ``python -m`` takes it.
            others: controllers that learn nothing.
            options: that decide the figures of a cell, besides its name.
            measure: computes a cell, by its name.
            table: draws results, by the names of their cells: seeds, then the others.
            passed: options that every cell is given.
            within: folder of the cells within that of the benchmark.

        Raises:
            E2CError: for a cell that there is not, or after one that failed.
        """
        name, failed = str(Path(module.rpartition(".")[2]) / within), list[str]()

        def cell(each: str) -> Cell:
            return Cell(self.folder / name / f"{each}.json", {"cell": each, **options})

        if self.cell:
            if not self.cell.isdecimal() and self.cell not in others:
                known = ", ".join(("a seed", *others))
                raise E2CError(f"There is no cell {self.cell!r}; choose {known}.")
            cell(self.cell).keep(measure(self.cell))
            return
        if not self.committed:
            asked = {each: cell(each) for each in (*others, *map(str, self.seeds))}
            places = ("--results", str(self.folder))
            failed = compute(module, missing(asked), self.jobs, *places, *passed)
        stems = sorted(path.stem for path in (self.folder / name).glob("*.json"))
        stems.sort(key=lambda stem: (not stem.isdecimal(), int(stem) if stem.isdecimal() else 0))
        self.tell(name, table(self.found({stem: cell(stem) for stem in stems})))
        complain(failed)


def compute(module: str, names: Sequence[str], jobs: int, *options: str) -> list[str]:
    """Compute cells, and say of each when it begins and how it ends.

    Whoever stops this stops the cells that are being computed, and begins no other.

    Args:
        module: the benchmark, as ``python -m`` takes it.
        names: of the cells, in the order in which they begin.
        jobs: how many are computed at the same time, each on its share of the cores.
        options: given to every cell besides its name.

    Returns:
        The names of those that failed.

    Raises:
        E2CError: unless ``jobs`` is at least 1.
    """
    if jobs < 1:
        raise E2CError(f"--jobs is {jobs}; it must be at least 1.")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    running: set[subprocess.Popen[str]] = set()
    stopped = threading.Event()

    def computed(name: str) -> bool:
        command = [sys.executable, "-m", module, "--cell", name, *options]
        _tell(f"{name} begun")
        started = time.perf_counter()
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as process:
            running.add(process)
            if stopped.is_set():  # it began while the others were stopped
                process.terminate()
            _, said = process.communicate()
            running.discard(process)
        seconds = time.perf_counter() - started
        ended = f"failed with status {process.returncode}" if process.returncode else "finished"
        _tell(f"{name} {ended} after {seconds:.0f} s", said if process.returncode else "")
        return not process.returncode

    with ThreadPoolExecutor(jobs) as pool:
        try:
            done = list(pool.map(computed, names))
        except BaseException:
            stopped.set()
            for process in tuple(running):
                process.terminate()
            raise
    return [name for name, good in zip(names, done, strict=True) if not good]


def train(recipe: Recipe, folder: Path) -> None:
    """Train into ``folder``, going on where the run stands, unless it has ended there."""
    if not runs.finished(folder) or runs.differences(folder, recipe):
        run.train(recipe, folder)


def peak_memory() -> float:
    """Return the most memory that this process has held [MiB].

    Linux tells it of the program that runs. `resource.getrusage` would not do: there, a process
    that was started by a larger one begins with the memory of that one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) / 1024


def complain(failed: Sequence[str]) -> None:
    """Raise an E2CError that names the cells that failed, if any did."""
    if failed:
        raise E2CError(f"These cells failed: {', '.join(failed)}; run the command again.")


def _tell(line: str, besides: str = "") -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}\n{besides}", end="", file=sys.stderr, flush=True)
