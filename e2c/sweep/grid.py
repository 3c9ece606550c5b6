"""The grid of a sweep: options with several values each, typed as training takes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.options import SEEDS

SEED = "seed"
MOST = 100_000
"""Most cells of a sweep; more are a mistake."""
LONGEST = 200
"""Most letters in the name of a cell's folder."""
ALWAYS_TOLD = ("preset", "env")
_LIST = re.compile(r"-?[\d.]+(,-?[\d.]+)+")
"""A value that is a list of numbers."""
_RANGE = re.compile(r"(\d{1,19}):(\d{1,19})")
_STRANGE = re.compile(r"[^\w.=+,-]+")
"""Characters that do not go into names of folders."""


@dataclass(frozen=True)
class Axis:
    """An option and its values.

    Attributes:
        name: without the dashes, such as ``optimiser.steps``.
        values: as typed, at least one, no two alike.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One place in the grid.

    Attributes:
        values: name and value of every axis but the seed.
        seed: of its run.
        told: the values that tell cells apart: preset, task, and axes with several values.
    """

    values: tuple[tuple[str, str], ...]
    seed: int
    told: tuple[tuple[str, str], ...]

    @property
    def method(self) -> str:
        """Its name without task and seed."""
        told = [_told(name, value) for name, value in self.told if name != "env"]
        return ",".join(told) or "default"

    @property
    def task(self) -> str:
        """The environment that was asked for; empty for the default's."""
        return dict(self.values).get("env", "")

    @property
    def folder(self) -> str:
        """Name of its run folder in the sweep's folder."""
        group = ",".join(_told(name, value) for name, value in self.told)
        return f"{_STRANGE.sub('_', group) or 'default'}/seed_{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command that trains it, without seed and folder."""
        return [
            word
            for name, value in self.values
            for word in (f"--{name}", *(value.split(",") if _LIST.fullmatch(value) else (value,)))
        ]


def parse(words: Sequence[str]) -> list[Axis]:
    """Read ``--preset default pcc --seed 0:10`` as the axes of a grid.

    A value that training takes as a list is joined by commas: ``--model.encoder-hidden 64,64``.

    Raises:
        E2CError: for a word before the first option; for an option without values, with two equal
            values, given twice, or that decides the folder of a run; or for wrong seeds.
    """
    axes: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].replace("_", "-").partition("=")
            if name in axes:
                raise E2CError(f"--{shown(name)} was given twice; give all its values at once.")
            axes[name] = [value] if value else []
        elif not axes:
            raise E2CError(f"{shown(repr(word))} stands before any option; give --OPTION VALUES.")
        else:
            axes[name].append(word)
    return [Axis(name, _checked(name, values)) for name, values in axes.items()]


def points(axes: Sequence[Axis]) -> list[Point]:
    """List the grid seed by seed, so that a sweep that is stopped has run all methods alike.

    Raises:
        E2CError: for an empty grid, one with too many cells, or cells that share a folder.
    """
    others = [axis for axis in axes if axis.name != SEED]
    seeds = next((axis.values for axis in axes if axis.name == SEED), ("0",))
    if not axes:
        raise E2CError("The grid is empty; give options with values, such as --seed 0:10.")
    count = len(seeds)
    for axis in others:
        count *= len(axis.values)
    if count > MOST:
        raise E2CError(f"The grid has {count:,} cells; it may have at most {MOST:,}.")
    named = [[(axis.name, value) for value in axis.values] for axis in others]
    apart = {axis.name for axis in others if axis.name in ALWAYS_TOLD or len(axis.values) > 1}
    found = [
        Point(each, int(seed), tuple(pair for pair in each if pair[0] in apart))
        for seed in seeds
        for each in itertools.product(*named)
    ]
    folders = {point.folder for point in found}
    if len(folders) < count:
        raise E2CError("Two cells would have one folder; give values that differ in letters.")
    if (longest := max(map(len, folders))) > LONGEST:
        raise E2CError(
            f"The name of a cell's folder has {longest} letters; it may have {LONGEST}: give "
            "several values to fewer options."
        )
    return found


def _checked(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if name in ("seeds", "out"):
        remedy = "give --seed 0:10" if name == "seeds" else "each cell has a folder of its own"
        raise E2CError(f"--{name} is no option of a grid; {remedy}.")
    found = tuple(_seeds(values)) if name == SEED else tuple(values)
    if not found:
        raise E2CError(f"--{shown(name)} names no value; give at least one.")
    if len(set(found)) < len(found):
        raise E2CError(f"--{shown(name)} names a value twice; give each once.")
    return found


def _seeds(values: Sequence[str]) -> Iterator[str]:
    """Yield seeds, where ``0:10`` stands for 0 to 9."""
    for value in values:
        ends = _RANGE.fullmatch(value)
        low, high = (int(ends[1]), int(ends[2])) if ends else (0, 0)
        if ends and 0 < high - low <= MOST:
            yield from map(str, range(low, high))
        elif value.isdecimal() and int(value) <= SEEDS[1]:
            yield str(int(value))
        else:
            raise E2CError(f"--seed is {shown(repr(value))}; give numbers, or FROM:TO like 0:10.")


def _told(name: str, value: str) -> str:
    return value if name in ALWAYS_TOLD else f"{name}={value}"
