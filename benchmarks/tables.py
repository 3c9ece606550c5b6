"""All methods on all tasks, measured alike: the tables and the figures of the comparison.

python -m benchmarks.tables                                         # everything, ten seeds
python -m benchmarks.tables --tasks planar --methods e2c pcc --seeds 0 1 2 --jobs 2
python -m benchmarks.tables --committed                             # what the repository holds

A cell (task, method, seed; see `benchmarks.tables_cells`) leaves one JSON file in ``tables``. Cells
are taken seed by seed, so a benchmark that is stopped has measured every method alike; stopped at
any moment, the same command goes on where it was, in the middle of a training too.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import figures
from benchmarks.cells import complain, compute
from benchmarks.published import TIME_IN_GOAL, Share, success
from benchmarks.store import Benchmark, missing
from benchmarks.tables_cells import (
    LEARNED,
    METHODS,
    NOISE,
    TASKS,
    UNTRAINED,
    Cell,
    check_known,
    measure,
    mechanics,
)
from benchmarks.tables_text import SCORED, Finished, markdown, noise_levels, reached, scored
from e2c.errors import E2CError, run_command
from e2c.presets import PRESETS
from e2c.report.plots import save_figure

T = TypeVar("T")


@dataclass(frozen=True)
class Tables(Benchmark):
    """Measure methods on tasks over seeds, cell by cell; write the tables and draw the figures."""

    tasks: tuple[str, ...] = ("all",)
    """Tasks to measure: names, or all."""
    methods: tuple[str, ...] = ("all",)
    """Rows to measure: presets, local, cvae, random, zero, oracle, or all."""
    seeds: tuple[int, ...] = tuple(range(10))
    """Of the models of each method on each task."""
    jobs: int = 2
    """Cells computed at the same time, each on its share of the cores."""
    keep_runs: bool = False
    """Keep the run folders, under runs/tables; then `local` and `cvae` take the default's run."""
    cell: str = ""
    """Compute this one cell here, TASK:METHOD:SEED, and nothing else."""

    def __call__(self) -> None:
        """Compute what is missing, then draw."""
        if self.cell:
            self._compute(Cell.named(self.cell))
            return
        failed = list[str]()
        if not self.committed:
            stored = {cell.name: cell.stored(self.folder) for cell in self.asked()}
            options = ("--keep-runs",) if self.keep_runs else ()
            place = ("--results", str(self.folder))
            failed = compute("benchmarks.tables", missing(stored), self.jobs, *place, *options)
        finished = self.finished()
        self.tell("tables", markdown(finished))
        for name, figure in draw(finished).items():
            save_figure(figure, self.pictures / f"{name}.png")
        complain(failed)

    def asked(self) -> list[Cell]:
        """List the cells asked for, seed by seed.

        Raises:
            E2CError: for a task or a method that there is not, or no seeds.
        """
        if not self.seeds:
            raise E2CError("--seeds names none; give at least one.")
        tasks = tuple(TASKS) if self.tasks == ("all",) else self.tasks
        methods = METHODS if self.methods == ("all",) else self.methods
        check_known("task", tasks, TASKS)
        check_known("method", methods, METHODS)
        cells = (
            Cell.of(task, method, 0 if method in UNTRAINED else seed)
            for seed in self.seeds
            for task in tasks
            for method in methods
            if seed == self.seeds[0] or method not in UNTRAINED
        )
        return list(dict.fromkeys(cells))

    def finished(self) -> Finished:
        """Read the finished cells of all known tasks and methods."""
        found = {}
        for task, method in itertools.product(TASKS, METHODS):
            row = Cell.of(task, method, 0)
            paths = row.stored(self.folder).path.parent.glob("seed*.json")
            seeds = sorted(int(path.stem.removeprefix("seed")) for path in paths)
            cells = [replace(row, seed=seed) for seed in seeds]
            stored = {cell.name: cell.stored(self.folder) for cell in cells}
            if results := list(self.found(stored).values()):
                found[task, method] = results
        return found

    def _compute(self, cell: Cell) -> None:
        """Measure a cell and write its file; then its run folder has done its work."""
        cell.stored(self.folder).keep(measure(cell, self.keep_runs))
        if not self.keep_runs:
            shutil.rmtree(cell.folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------- draw


def draw(finished: Finished) -> dict[str, Figure]:
    """Draw all that was measured, by the figures' names; without anything to show there is none."""
    found: dict[str, Figure] = {}
    if shares := _by_method(SCORED, lambda column, method: scored(finished, method, column)):
        found["tables_scores"] = figures.scores(shares, _published_scores())
    models = {key: cells for key, cells in finished.items() if key[1] in PRESETS}
    learned = {key: cells for key, cells in finished.items() if key[1] in LEARNED}
    if curves := _by_method(NOISE, partial(_reached_by_noise, learned)):
        found["tables_noise"] = figures.noise(curves, _by_method(NOISE, _published_success))
    if errors := _by_method(TASKS, partial(_median_error, models)):
        found["tables_open_loop"] = figures.open_loop(errors)
    if points := _by_method(TASKS, partial(_map_points, models)):
        maps = {task: _latent_maps(models, task, points[task]) for task in points}
        found["tables_latents"] = figures.latent_maps(maps)
    return found


def _by_method(
    keys: Iterable[str], look_up: Callable[[str, str], T | None]
) -> dict[str, dict[str, T]]:
    """Return key -> method -> what there is of them; without the keys that have nothing."""
    table = {
        key: {name: there for name in METHODS if (there := look_up(key, name)) is not None}
        for key in keys
    }
    return {key: row for key, row in table.items() if row}


def _published_scores() -> dict[str, dict[str, Share]]:
    found: dict[str, dict[str, Share]] = {}
    for (task, method), share in TIME_IN_GOAL.items():
        found.setdefault(task, {})[method] = share
    return found


def _published_success(task: str, method: str) -> dict[int, Share] | None:
    known = method in PRESETS
    return {std: shares[0] for std, shares in success(task, method).items() if known} or None


def _reached_by_noise(finished: Finished, task: str, method: str) -> dict[int, Share] | None:
    """Return the shares by the noise; None where nothing was measured under any."""
    found = {std: reached(finished, method, task, std) for std in noise_levels(task)}
    known = {std: share for std, share in found.items() if share is not None}
    return known if any(std > 0 for std in known) else None


def _median_error(finished: Finished, task: str, method: str) -> NDArray[np.float64] | None:
    cells = finished.get((task, method))
    return None if cells is None else np.median([cell["open_loop_error"] for cell in cells], 0)


def _map_points(finished: Finished, task: str, method: str) -> NDArray[np.float64] | None:
    maps = _mapped(finished, task, method)
    return np.array(maps[0]["points"]) if maps else None


def _mapped(finished: Finished, task: str, method: str) -> list[Mapping[str, Any]]:
    return [cell["latent_map"] for cell in finished.get((task, method), []) if "latent_map" in cell]


def _latent_maps(
    finished: Finished, task: str, points: Mapping[str, NDArray[np.float64]]
) -> figures.LatentMaps:
    """Return a task's maps, coloured by what is plotted of its state."""
    shown = mechanics(TASKS[task])
    states = np.array(_mapped(finished, task, next(iter(points)))[0]["states"])
    return figures.LatentMaps(shown.components[shown.plotted], states[:, shown.plotted], points)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Tables)(), "Stopped; the same command goes on from here.")
