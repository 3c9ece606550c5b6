"""``e2c-sweep``: a grid of runs by one command."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import tyro

from e2c.commands import Train, starting_point
from e2c.config import Recipe, check_recipe
from e2c.errors import E2CError, run_command
from e2c.evaluation.intervals import interquartile_mean, interval
from e2c.files import runs
from e2c.files.meanwhile import cores
from e2c.files.own_modules import OwnParts, import_asked
from e2c.files.tracking import WandbMode
from e2c.files.untrusted import one_line, shown
from e2c.learning.collect import spec_of, without_environment
from e2c.options import check_ranges, flag, option
from e2c.report.sweep import write_sweep_report
from e2c.sweep.cell import Asked
from e2c.sweep.engines import Engine, Processes, Ray, Slurm
from e2c.sweep.grid import Point, parse, points
from e2c.sweep.run import Cell, begin, cells_of, compute, scores

DISTANCES = (
    "Scores below 0 are minus the distance to the goal at the end, since no success is told: 0 is "
    "there, -1 is as far as the data spread."
)


@dataclass(frozen=True)
class Sweep(OwnParts):
    """Train every combination of options with several values: presets, tasks, seeds, anything.

    Options that are not listed here are those of e2c-train, each with one value or several. A list
    is joined by commas (--model.encoder-hidden 64,64). The same command goes on with a sweep that
    was interrupted, and tries again what failed; with more values it grows.

    Example: e2c-sweep --preset default pcc --env E2C/Planar-v0 --seed 0:10
    --optimiser.steps 5000 10000 --out sweeps/planar
    """

    out: Path
    """Folder of the sweep: a run folder for each cell, and report.html."""
    engine: Literal["processes", "ray", "slurm"] = "processes"
    """Engine that computes the cells: processes of this machine, Ray (e2c[ray]) or SLURM
    (e2c[slurm])."""
    address: str = ""
    """Ray cluster to join: HOST:PORT, or auto for the one of this machine; left out, one is
    started. Its nodes share the folder."""
    jobs: int | None = option(None, 1, 10_000)
    """Cells computed at the same time by processes; left out, one for each core."""
    gpus: float = option(0.0, 0, 64)
    """GPUs of a cell, with Ray or SLURM; with Ray 0.5 where two cells share one."""
    slurm: tuple[str, ...] = ()
    """Options of the jobs of SLURM, by the names of submitit: time=60 partition=long. The time of a
    cell in minutes is needed."""
    wandb: WandbMode = "off"
    """Report to wandb too, in a group of the folder's name."""


def sweep_command() -> NoReturn:
    """``e2c-sweep``: train a grid of runs."""
    run_command(_sweep, "Stopped; the same command goes on from here.")


def _sweep() -> None:
    """Parse the command line, compute, tell and report."""
    _check_imports(sys.argv[1:])
    import_asked(sys.argv[1:])
    options: tuple[Sweep, list[str]] = tyro.cli(
        Sweep, config=(tyro.conf.FlagConversionOff,), return_unknown_args=True
    )
    sweep, words = check_ranges(options[0], flag), options[1]
    axes, engine = parse(words), _engine(sweep)
    cells = cells_of(points(axes), sweep.out, _recipe)
    asked = Asked(
        max(cell.recipe.threads for cell in cells), sweep.gpus, sweep.wandb, sweep.modules
    )
    with runs.locked(sweep.out):
        begin(sweep.out, axes, cells)
        failed = compute(cells, engine, asked)
        _tell(sweep.out / runs.REPORT, cells, failed)
    if failed:
        raise E2CError(
            f"{len(failed)} of {len(cells)} cells failed, told above and in "
            f"{sweep.out / runs.REPORT}; the same command tries them again."
        )


def _check_imports(words: Sequence[str]) -> None:
    """Refuse several values of --import, since it is no axis of the grid."""
    for word, name, more in zip(words, words[1:], words[2:], strict=False):
        if word == "--import" and not more.startswith("--"):
            raise E2CError(
                f"--import takes one module, and {shown(repr(more))} follows it; repeat it: "
                f"--import {shown(name)} --import {shown(more)}."
            )


def _engine(sweep: Sweep) -> Engine:
    if sweep.address and sweep.engine != "ray":
        raise E2CError("--address is of a Ray cluster; give --engine ray with it.")
    if sweep.slurm and sweep.engine != "slurm":
        raise E2CError("--slurm is for the jobs of SLURM; give --engine slurm with it.")
    if sweep.engine == "ray":
        return Ray(sweep.address)
    if sweep.engine == "slurm":
        return Slurm(sweep.out / "slurm", sweep.slurm)
    return Processes(sweep.jobs or cores())


def _recipe(point: Point) -> Recipe:
    """Return the recipe of a point, as training reads it from the same words.

    Raises:
        E2CError: for a world or a value that does not exist.
    """
    default = starting_point(point.arguments)
    words = [*point.arguments, "--out", "."]
    train: Train = tyro.cli(
        Train, args=words, default=default, config=(tyro.conf.FlagConversionOff,)
    )
    recipe = without_environment(check_recipe(train.recipe()))
    spec_of(recipe)
    return recipe


def _tell(report: Path, cells: Sequence[Cell], failed: Mapping[str, str]) -> None:
    """Print the scores of the methods, and write the report."""
    found = scores(cells)
    for method, tasks in found.items():
        every = np.concatenate([*map(np.asarray, tasks.values())])
        low, high = interval(tasks, interquartile_mean)
        known = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
        middle = f"{interquartile_mean(every):.3g}{known}"
        line = f"{method}: interquartile mean {middle} of {len(every)} runs, "
        print(one_line(f"{line}worst {every.min():.3g}, best {every.max():.3g}"))
    if any(min(own) < 0 for tasks in found.values() for own in tasks.values()):
        print(DISTANCES)
    ended = [(cell.point.method, cell.folder) for cell in cells if runs.finished(cell.folder)]
    write_sweep_report(report, ended, found, failed, len(cells))
    print(one_line(f"written: {report}"))
