"""Where results lie, and which of them count.

Every benchmark measures: into ``runs/benchmarks``, which no repository holds, or into the folder of
``--results``. With ``--committed`` it measures nothing, and prints what the repository holds.

A result is a JSON file. It holds the figures, the options that decided them, the commit, the
versions and the machine. Its long lists of numbers are arrays of an ``.npz`` file of the same name
beside it (`benchmarks.compact`); `read` puts them back. A benchmark of several cells goes on where
it was: a cell is measured once for its options, and again for others. What it has not measured
itself, it tells.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compact import WORD, Arrays, apart, kinds, together
from e2c.errors import E2CError
from e2c.files import arrays
from e2c.files.provenance import provenance
from e2c.files.whole import write_json, write_whole

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
MEASURED = ROOT / "runs" / "benchmarks"
DECIDES_NOTHING = {"results", "committed", "out", "alone"}
"""Options that do not decide what a result is."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """What every benchmark takes."""

    results: Path | None = None
    """Folder to measure into; left out, runs/benchmarks."""
    committed: bool = False
    """Measure nothing; print what the repository holds."""

    @property
    def folder(self) -> Path:
        """The folder of the results of all benchmarks.

        Raises:
            E2CError: when both places are asked for.
        """
        if self.committed and self.results is not None:
            raise E2CError(
                f"--committed prints what the repository holds, and --results {self.results} is "
                "where to measure; give one of them."
            )
        return COMMITTED if self.committed else (self.results or MEASURED).absolute()

    @property
    def pictures(self) -> Path:
        """The folder of their pictures: beside the results, or in the documentation."""
        return DOCS if self.committed else self.folder

    def result(self, name: str, measure: Callable[[], Result]) -> Result:
        """Measure and keep what was found, or return what the repository holds.

        Args:
            name: of the benchmark, and of its file.
            measure: returns the figures.

        Raises:
            E2CError: when the repository holds nothing.
        """
        path = self.folder / f"{name}.json"
        if not self.committed:
            keep(path, self._options(), measure())
        return read(path)

    def found(self, cells: Mapping[str, Cell]) -> dict[str, Result]:
        """Return the results of cells: those of their options, or all that the repository holds.

        Of the latter it is told which were measured with others.
        """
        if self.committed:
            held = {name: read(cell.path) for name, cell in cells.items() if cell.path.exists()}
            if others := [name for name, result in held.items() if cells[name].differs(result)]:
                told = f"{len(others)} of {len(held)} cells tell of other options than today's"
                print(f"{told}, or of none: {', '.join(others)}.", file=sys.stderr)
            return held
        results = {name: cell.found() for name, cell in cells.items()}
        return {name: result for name, result in results.items() if result is not None}

    def tell(self, name: str, table: str) -> None:
        """Print a table; where cells were measured, write it beside those of ``name``."""
        text = table.rstrip("\n")
        print(text)
        if not self.committed:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            path = self.folder / name / "table.md"
            write_whole(path, lambda aside: aside.write_text(text + "\n", "utf-8"))

    def _options(self) -> Result:
        """Return the options that decide the figures."""
        fields = {item.name for item in dataclasses.fields(self)} - DECIDES_NOTHING
        values = {name: getattr(self, name) for name in sorted(fields)}
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


@dataclass(frozen=True)
class Cell:
    """A cell of a benchmark.

    Attributes:
        path: of its result.
        options: that decide its figures.
    """

    path: Path
    options: Mapping[str, Any]

    def found(self) -> Result | None:
        """Return its result, if there is one that was measured with its options."""
        result = read(self.path) if self.path.exists() else {}
        same = result.get("options") == json.loads(json.dumps(self.options))
        return result if same else None

    def differs(self, result: Mapping[str, Any]) -> bool:
        """Tell whether an option of a result has another value here; those that are new count not.

        A result that tells no options is taken to differ.
        """
        told = result.get("options")
        return told is None or _differ(told, json.loads(json.dumps(self.options)))

    def keep(self, figures: Mapping[str, Any]) -> None:
        """Write its result."""
        keep(self.path, self.options, figures)


def _differ(before: Any, now: Any) -> bool:
    """Tell whether values differ; of mappings, those that both have."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return any(_differ(before[key], now[key]) for key in before.keys() & now.keys())
    return bool(before != now)


def missing(cells: Mapping[str, Cell]) -> list[str]:
    """Name the cells that have no result, and tell of those that have one."""
    found = {name: result for name, cell in cells.items() if (result := cell.found()) is not None}
    if found:
        commits = ", ".join(sorted({result["commit"] for result in found.values()}))
        print(
            f"{len(found)} of {len(cells)} cells were measured before, at {commits}; remove their "
            "files to measure them again.",
            file=sys.stderr,
        )
    return [name for name in cells if name not in found]


def keep(path: Path, options: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write a result, with what made it."""
    write(path, {"options": options, **figures, **provenance()})


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result and the file of its lists; where that fails, what was there stays.

    Both are written aside, then put in their places.

    Raises:
        OSError: when the disk is full or the folder cannot be written.
        ValueError: for a number that is not finite, or a key that `benchmarks.compact` needs.
    """
    rest, lists = apart(json.loads(json.dumps(result, allow_nan=False)))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".npz")
    if not lists:
        write_json(path, rest)
        beside.unlink(missing_ok=True)
        return

    def both(aside: Path) -> None:
        staged = aside.with_suffix(".npz")
        try:
            arrays.write(staged, lists, {})
            write_json(aside, {WORD: _digest(staged), **rest})
            os.replace(staged, beside)
        finally:
            staged.unlink(missing_ok=True)

    write_whole(path, both)


def read(path: Path) -> Result:
    """Read a result.

    Raises:
        E2CError: when there is none, or the file of its lists is not there or not its own.
    """
    if not path.exists():
        raise E2CError(
            f"There is no result {path}; measure it: the same command without --committed."
        )
    rest: Result = json.loads(path.read_text("utf-8"))
    digest = rest.pop(WORD, None)
    result: Result = rest if digest is None else together(rest, _lists(path, digest, rest))
    return result


def _lists(path: Path, digest: str, rest: Result) -> Arrays:
    """Read the lists of a result, of whose file it tells the digest."""
    beside = path.with_suffix(".npz")
    remedy = f"restore it, or remove {path.name} and measure it again"
    if not beside.is_file():
        raise E2CError(f"{beside} is not there, and {path.name} has lists in it; {remedy}.")
    if _digest(beside) != digest:
        raise E2CError(f"{beside} is not the file that {path.name} was written with; {remedy}.")
    return arrays.read(beside, kinds(rest), remedy)[1]


def _digest(path: Path) -> str:
    return f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
