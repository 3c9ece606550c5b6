"""What an engine costs, whether it computes the same cells, and what a second node brings.

python -m benchmarks.sweeps                              # processes
python -m benchmarks.sweeps --engines processes ray      # Ray too, on nodes of one core each

A sweep of short cells is timed; then its runs, by the command for a single run, as many at a time.
The overhead of an engine is how much longer the sweep takes, from command to report; Ray's nodes
are there before. The machine must be quiet: where it is not, processor time tells more, but that of
Ray's own processes is not known. The cells are compared with the runs file by file, byte by byte,
but for times. With Ray the sweep is timed on one node too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.cluster import Cluster, cluster
from benchmarks.kills import untimed
from benchmarks.store import ROOT, Benchmark, Cell, Result, missing
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
EngineName = Literal["processes", "ray"]
ENGINES = ("processes", "ray")


@dataclass(frozen=True)
class Engines(Benchmark):
    """A benchmark of one cell for each engine."""

    engines: tuple[EngineName, ...] = ("processes",)
    """Who computes the sweeps."""
    jobs: int = 2
    """Cells of a sweep at the same time: processes, or Ray nodes of one core."""

    def measure_and_tell(
        self,
        name: str,
        options: Callable[[str], Mapping[str, Any]],
        measure: Callable[[str], Result],
        table: Callable[[dict[str, Result]], str],
    ) -> dict[str, Result]:
        """Measure the engines that are missing, or read; tell; return what was found.

        Args:
            name: of the benchmark, and of the folder of its files.
            options: that decide an engine's figures.
            measure: measures an engine.
            table: draws results, by engine.
        """
        engines: Sequence[str] = ENGINES if self.committed else self.engines
        folder = self.folder / name
        asked = {each: Cell(folder / f"{each}.json", options(each)) for each in engines}
        if not self.committed:
            for engine in missing(asked):
                asked[engine].keep(measure(engine))
        found = self.found(asked)
        self.tell(name, table(found))
        return found


@dataclass(frozen=True)
class Sweeps(Engines):
    """Time a sweep beside its runs alone, and compare what they leave."""

    cells: int = 20
    """Cells of the sweep: so many seeds."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when a cell of a sweep is not the run alone.
        """
        found = self.measure_and_tell("sweeps", self._options_of, self._measured, table)
        if any(each["otherwise"] for each in found.values()):
            raise E2CError("A cell of a sweep is not the run alone; see the counts above.")

    def _options_of(self, engine: str) -> Result:
        return {"engine": engine, "cells": self.cells, "jobs": self.jobs}

    def _measured(self, engine: str) -> Result:
        """Time the sweep and its runs, compare; with Ray, time it on one node."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            Small(1, 1, None).compute(place / "first")  # it compiles what the others find compiled
            with nodes(engine, self.jobs) as ray:
                sweep = Small(self.cells, self.jobs, ray)
                together = spent(lambda: sweep.compute(place / "sweep"))
            cells = sweep.found(place / "sweep")
            alone = spent(lambda: self._alone(place / "sweep", list(cells), place / "alone"))
            runs_alone = {cell: untimed(place / "alone" / cell) for cell in cells}
            found = {
                **{"engine": engine, "cells": len(cells), "sweep": together, "alone": alone},
                "overhead": together["seconds"] / alone["seconds"] - 1,
                "cpu_overhead": together["cpu_seconds"] / alone["cpu_seconds"] - 1,
                "otherwise": sum(cells[cell] != runs_alone[cell] for cell in cells),
            }
            if ray is None:
                return found
            with nodes(engine, 1) as ray:
                one = spent(lambda: Small(self.cells, 1, ray).compute(place / "one"))
        ratio = one["seconds"] / together["seconds"]
        return {**found, "cpu_overhead": None, "one_node": one, "against_one_node": ratio}

    def _alone(self, sweep: Path, cells: list[Path], out: Path) -> None:
        """Train the runs of a sweep by the command for one."""

        def train(cell: Path) -> None:
            config, folder = str(sweep / cell / runs.CONFIG), str(out / cell)
            line = [sys.executable, "train.py", "--config", config, "--out", folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, check=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(train, cells))


@dataclass(frozen=True)
class Small:
    """A sweep of short cells.

    Attributes:
        cells: so many seeds.
        jobs: cells at the same time, by processes.
        ray: whose nodes compute it, if it is not processes.
    """

    cells: int
    jobs: int
    ray: Cluster | None

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        """Begin it, or go on with it."""
        grid = [*SMALL, "--seed", f"0:{self.cells}", "--out", str(out)]
        engine, environment = ["--jobs", str(self.jobs)], {**os.environ}
        if self.ray:
            engine = ["--engine", "ray", "--address", self.ray.address]
            environment = self.ray.environment
        environment = {**environment, "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*DRIVER, *grid, *engine], cwd=ROOT, env=environment, stdout=quiet, stderr=quiet
        )

    def compute(self, out: Path) -> None:
        """Let it end undisturbed.

        Raises:
            E2CError: when it failed.
        """
        driver = self.start(out)
        try:
            status = driver.wait()
        finally:
            driver.kill()
        if status:
            raise E2CError("The undisturbed sweep failed; run it alone for its message.")

    def found(self, out: Path) -> dict[Path, Result]:
        """Return what the cells that have ended left, apart from times."""
        folders = sorted(path.parent for path in out.rglob(runs.CONFIG))
        return {each.relative_to(out): untimed(each) for each in folders if runs.finished(each)}


def nodes(engine: str, count: int) -> contextlib.AbstractContextManager[Cluster | None]:
    """Start Ray nodes, if Ray is the engine."""
    return cluster(count) if engine == "ray" else contextlib.nullcontext()


def spent(work: Callable[[], None]) -> dict[str, float]:
    """Return the seconds that ``work`` took, and the processor time of the processes it started."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "cpu_seconds": cpu}


def table(found: dict[str, Result]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| engine | cells | sweep | runs alone | overhead | of processor time "
        "| cells unlike their runs | cells an hour | against one node |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        sweep, alone, cpu = each["sweep"]["seconds"], each["alone"]["seconds"], each["cpu_overhead"]
        ratio = f"{each['against_one_node']:.2f}" if "one_node" in each else ""
        lines.append(
            f"| {name} | {each['cells']} | {sweep:.0f} s | {alone:.0f} s | {each['overhead']:.1%} "
            f"| {'' if cpu is None else f'{cpu:.1%}'} | {each['otherwise']} "
            f"| {3600 * each['cells'] / sweep:.0f} | {ratio} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Sweeps)())
