"""A sweep: every cell of a grid is a run folder; a run that has ended is never computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2c.config import Recipe
from e2c.errors import E2CError
from e2c.files import runs
from e2c.files.tracking import Progress, tell
from e2c.files.untrusted import Shape, brief, conform, parse_json, read_bytes, shown
from e2c.files.whole import write_json
from e2c.sweep.cell import Asked
from e2c.sweep.engines import Engine
from e2c.sweep.grid import ALWAYS_TOLD, SEED, Axis, Point

GRID = "grid.json"
"""File in a sweep's folder that holds its axes."""
SHAPE: Shape = {str: [str]}
SCORES: Shape = {"time_in_goal?": float, "distance_at_end?": float}
"""The parts of a run's evaluation that are read."""
MAX_BYTES = 20_000_000
"""Largest file that is read here."""


@dataclass(frozen=True)
class Cell:
    """A cell of a sweep.

    Attributes:
        point: its place in the grid.
        recipe: of its run.
        folder: of its run.
    """

    point: Point
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.point.folder

    def score(self) -> float | None:
        """Return the score of its evaluation, higher is better; None before there is one.

        It is the share of the time in the goal. Where the world does not report success, it is
        minus the distance to the goal at the end, in the unit of `Agent.distance_to_goal`. Rewards
        are not used, since nothing is learned from them.

        Raises:
            E2CError: when the file of its evaluation is damaged.
        """
        path = self.folder / runs.EVALUATION
        if not path.exists():
            return None
        try:
            found = _read(path, SCORES)
        except ValueError as error:
            raise E2CError(
                f"{path} is damaged ({shown(error)}); write it again: python evaluate.py "
                f"{self.folder} --json {path}"
            ) from None
        distance: float | None = found.get("distance_at_end")
        score: float | None = found.get("time_in_goal", None if distance is None else -distance)
        return score


def cells_of(points: Sequence[Point], out: Path, recipe: Callable[[Point], Recipe]) -> list[Cell]:
    """Return the cells of a grid.

    Args:
        points: of the grid.
        out: folder of the sweep.
        recipe: returns the recipe of a point; called once for points that differ only in seed.
    """
    recipes: dict[object, Recipe] = {}
    for point in points:
        if point.values not in recipes:
            recipes[point.values] = recipe(point)
    return [
        Cell(point, replace(recipes[point.values], seed=point.seed), out / point.folder)
        for point in points
    ]


def begin(out: Path, axes: Sequence[Axis], cells: Sequence[Cell]) -> None:
    """Make the folder of a sweep, or check that it holds this sweep; values may have been added.

    Args:
        out: folder of the sweep, which this process has locked.
        axes: of the grid.
        cells: of the sweep; the folder of each gets its ``config.yaml``.

    Raises:
        E2CError: when the folder holds another sweep, or a cell's the run of another recipe.
    """
    asked = {axis.name: list(axis.values) for axis in axes}
    if (out / GRID).exists():
        _check_same(out, asked)
    elif others := [path.name for path in out.iterdir() if path.name != runs.LOCK]:
        raise E2CError(f"{out} holds other files ({shown(others[0])}); choose another --out.")
    write_json(out / GRID, asked)
    for cell in cells:
        if not (cell.folder / runs.CONFIG).exists():
            cell.folder.mkdir(parents=True, exist_ok=True)
            runs.write_recipe(cell.folder, cell.recipe)
        elif told := runs.differences(cell.folder, cell.recipe):
            raise E2CError(
                f"{cell.folder} holds the run of another recipe ({', '.join(told[:3])}); choose "
                "another --out, or remove it."
            )


def _read(path: Path, shape: Shape) -> Mapping[str, Any]:
    """Read JSON of this shape.

    Raises:
        ValueError: when the file holds something else.
    """
    found: Mapping[str, Any] = conform(parse_json(read_bytes(path, MAX_BYTES)), shape)
    return found


def _check_same(out: Path, asked: Mapping[str, Sequence[str]]) -> None:
    """Refuse a folder whose grid has other options, or values that are not asked for."""
    try:
        there: Mapping[str, Sequence[str]] = _read(out / GRID, SHAPE)
    except ValueError as error:
        raise E2CError(
            f"{out / GRID} is damaged ({shown(error)}); choose another --out, or remove the sweep."
        ) from None
    for name in there.keys() | asked.keys():
        before, now = (list(grid.get(name, ())) for grid in (there, asked))
        grown = len(before) == 1 < len(now) and name not in (*ALWAYS_TOLD, SEED)
        if not before or not set(before) <= set(now) or grown:
            raise E2CError(
                f"{out} holds another sweep (--{shown(name)} is {brief(before)} there, not "
                f"{brief(now)}); choose another --out, or give its options with all their values; "
                "where there are several, more may be added."
            )


def compute(cells: Sequence[Cell], engine: Engine, asked: Asked) -> dict[str, str]:
    """Let the cells that have not ended go on, and print the progress of the sweep.

    Args:
        cells: of the sweep.
        engine: the engine that computes them.
        asked: resources and settings of each cell.

    Returns:
        The names of the cells that failed, each with its reason.
    """
    waiting = {cell.folder: cell for cell in cells if not runs.finished(cell.folder)}
    ended = {cell.name: cell.score() for cell in cells if cell.folder not in waiting}
    failed: dict[str, str] = {}
    if not waiting:
        return failed
    with Progress("sweep", len(cells), "cells", begun=len(ended), compiles=False) as progress:
        for folder, reason in engine.run(list(waiting), asked):
            cell = waiting[folder]
            if reason:
                failed[cell.name] = reason
                tell(f"{cell.name} failed: {reason}")
            else:
                ended[cell.name] = cell.score()
            progress(len(ended) + len(failed), _so_far(ended, len(failed)))
    return failed


def _so_far(ended: Mapping[str, float | None], failed: int) -> str:
    """Name the best and the worst of the cells that have ended, with their scores."""
    scores = {name: score for name, score in ended.items() if score is not None}
    told = [f"{failed} failed"] if failed else []
    if scores:
        best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        told += [f"best {scores[best]:.3g} {best}", f"worst {scores[worst]:.3g} {worst}"]
    return "  ".join(told)


def scores(cells: Sequence[Cell]) -> dict[str, dict[str, list[float]]]:
    """Return the scores of the cells that have ended: method -> task -> one for each seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        score = cell.score() if runs.finished(cell.folder) else None
        if score is not None:
            tasks = found.setdefault(cell.point.method, {})
            tasks.setdefault(cell.point.task or cell.recipe.config.env, []).append(score)
    return found
