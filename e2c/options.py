"""What an options dataclass is: frozen, with a sentence and a range on every field.

An algorithm's options stand beside the algorithm. A field is declared with `option`, which keeps
its range; the sentence under it is the help of the command line. The functions below work on any
such dataclass, also where one holds another.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown

T = TypeVar("T")

MAX_LAYERS = 16
"""Hidden layers of a network."""
WIDTHS = (1, 4096)
"""Range of the width of a layer."""
SEEDS = (0, 2**63 - 1)
"""Range of a seed."""
KIND = "kind"
"""Key of a field's metadata, where the class of the options in it depends on the fields before it:
a function that returns the class, given those fields that were built, by their names."""
_CUTOFF = 0.75
"""How alike two names must be for one to be suggested in place of the other."""


def option(default: Any, low: float = 0, high: float = 1e9) -> Any:
    """Declare a field of an options dataclass with its range.

    Args:
        default: a number, None for an option that may be left out, or a tuple: the widths of a
            network's layers, each in the range.
        low: least value.
        high: greatest value; it keeps mistakes from taking all memory and time.
    """
    return dataclasses.field(default=default, metadata={"range": (low, high)})


def flag(name: str) -> str:
    """Return how a command line calls an option: ``disturbance.frame_noise`` is --frame-noise."""
    return grouped_flag(name.rpartition(".")[2])


def grouped_flag(name: str) -> str:
    """Return how it calls an option of a named group: ``camera.size`` is --camera.size."""
    return "--" + name.replace("_", "-")


def leaves(options: Any) -> list[tuple[str, Any]]:
    """List ``(dotted name, value)`` of every field that does not hold options itself."""
    return [(name, value) for name, value, _ in _walk(options)]


def check_ranges(options: T, called: Callable[[str], str] = str) -> T:
    """Return ``options`` if every number is finite and in its range.

    Args:
        options: any options dataclass.
        called: turns a dotted name into what the user knows the option by, such as `flag`.

    Raises:
        E2CError: naming the first that is not, its value and its range.
    """
    for name, value, field in _walk(options):
        numbers = value if isinstance(value, tuple) else (value,)
        if "range" in field.metadata and len(numbers) > MAX_LAYERS:
            raise E2CError(
                f"{called(name)} has {len(numbers)} layers; it may have at most {MAX_LAYERS}."
            )
        for number in numbers:
            if isinstance(number, int | float):
                _check_number(called(name), number, field.metadata.get("range"))
    return options


def to_dict(options: Any) -> dict[str, Any]:
    """Return options as nested plain dictionaries, lists, numbers and strings."""
    return {
        item.name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for item in dataclasses.fields(options)
        for value in [getattr(options, item.name)]
    }


def from_dict(values: Any, kind: type[T], prefix: str = "") -> T:
    """Build options from nested dictionaries, as `to_dict` returns them.

    Args:
        values: any parsed YAML or JSON; fields left out keep their defaults.
        kind: the dataclass to build.
        prefix: dotted name of where ``values`` stands, for messages.

    Raises:
        E2CError: for a key that does not exist, naming the nearest that does, or a wrong type.
    """
    if not isinstance(values, dict):
        name = prefix.removesuffix(".") or "The configuration"
        raise E2CError(f"{name} must be a mapping; got {brief(values)}.")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            known = suggestion(shown(key), hints, prefix)
            raise E2CError(f"Unknown configuration key {prefix}{shown(key)}; {known}")
    built: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, kind)):
        choose = field.metadata.get(KIND)
        if choose or field.name in values:
            hint = choose(built) if choose else hints[field.name]
            built[field.name] = _typed(values.get(field.name, {}), hint, prefix + field.name)
    return kind(**built)


def look_up(registry: Mapping[str, T], name: str, option: str) -> T:
    """Return what is registered under ``name``.

    Args:
        registry: the things by their names.
        name: as the user gave it.
        option: dotted name of the option that says it, such as ``model.encoder``.

    Raises:
        E2CError: when there is no such name, with the nearest that there is.
    """
    if name not in registry:
        thing = option.rpartition(".")[2]
        known = suggestion(name, registry)
        raise E2CError(f"There is no {thing} {shown(repr(name))} ({option}); {known}")
    return registry[name]


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """End a sentence about an unknown name: with the nearest that is known, or all of them."""
    near = difflib.get_close_matches(name, known, 1, _CUTOFF)
    return f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}."


def _walk(options: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield dotted name, value and field of every leaf."""
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from _walk(value, name + ".")
        else:
            yield name, value, field


def _check_number(name: str, number: float, bounds: tuple[float, float] | None) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        raise E2CError(f"{name} is {number}; it must be a finite number.")
    low, high = bounds or (number, number)
    if number < low:
        raise E2CError(f"{name} is {number}; it must be at least {low:g}.")
    if number > high:
        raise E2CError(f"{name} is {number}; it must be at most {high:g}.")


def _typed(value: Any, hint: Any, name: str) -> Any:
    """Return ``value`` as the type ``hint``, or say what was expected."""
    if dataclasses.is_dataclass(hint):
        return from_dict(value, typing.cast(type, hint), name + ".")
    origin, allowed = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # with None
        inner = next(kind for kind in allowed if kind is not types.NoneType)
        return None if value is None else _typed(value, inner, name)
    if origin is Literal and value in allowed:
        return value
    listed = origin is tuple and isinstance(value, list | tuple)
    listed = listed and (Ellipsis in allowed or len(value) == len(allowed))
    kinds = (int, float) if allowed[:1] == (float,) else allowed[:1]
    if listed and all(type(item) in kinds for item in value):
        return tuple(map(allowed[0], value))
    if hint is float and type(value) in (int, float) and not abs(value) > sys.float_info.max:
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    wanted = " or ".join(map(repr, allowed)) if origin is Literal else _type_name(hint)
    raise E2CError(f"{name} is {brief(value)}; it must be {wanted}.")


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.GenericAlias):
        allowed = typing.get_args(hint)
        many = "a list of " if Ellipsis in allowed else f"a list of {len(allowed)} "
        return many + {int: "whole numbers", float: "numbers", str: "texts"}[allowed[0]]
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
