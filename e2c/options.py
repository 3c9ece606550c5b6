"""Dataclasses of options: frozen, with a sentence and a range on every field.

An algorithm's options stand beside the algorithm. A field is declared with `option`, which keeps
its range; the sentence under it is the help of the command line. The functions below work on any
such dataclass, also where one holds another; `checked` does the same for a function's arguments.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import sys
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar

from e2c.errors import E2CError
from e2c.files.untrusted import brief, shown

P = ParamSpec("P")
T = TypeVar("T")

MAX_LAYERS = 16
"""Most hidden layers of a network."""
WIDTHS = (1, 4096)
"""Range of the width of a layer."""
SEEDS = (0, 2**63 - 1)
"""Range of a seed."""
KIND = "kind"
"""Key of the metadata of a field whose class depends on the fields before it. The value is a
function that returns this class, given the fields built so far by their names."""
_CUTOFF = 0.75
"""Least similarity to an unknown name at which a known name is suggested, from 0 to 1."""


class UnknownNameError(E2CError):
    """A name that a registry does not have, and that the user's own program may add to it."""


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
    """Return how a command line calls an option of a named group: --camera.size."""
    return "--" + name.replace("_", "-")


def leaves(options: Any) -> list[tuple[str, Any]]:
    """List ``(dotted name, value)`` of every field that does not hold options itself."""
    return [(name, value) for name, value, _ in _walk(options)]


def check_ranges(options: T, called: Callable[[str], str] = str) -> T:
    """Return ``options`` if every number is finite and in its range.

    Args:
        options: any options dataclass.
        called: turns a dotted name into the name that the user knows, such as `flag`.

    Raises:
        E2CError: naming the first option out of its range, its value and its limit.
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


class Range(NamedTuple):
    """The range of an argument that is a number: ``Annotated[int, Range(1, 9)]``."""

    low: float
    high: float


def range_of(kind: type, name: str) -> Range:
    """Return the range of the field ``name`` of an options dataclass, for an argument like it."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return Range(*field.metadata["range"])


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function refuse arguments that its signature does not allow, in one sentence.

    Numbers, texts, truth values and choices are checked as options are. NumPy's numbers become
    Python's, and an iterable becomes a list where the signature says ``Sequence``. Where it says a
    class, the argument must be an object of this class. ``Annotated`` may add a `Range`, or words
    for the message: ``Annotated[Agent, "an agent, as load_agent returns it"]``. Arguments with any
    other annotation are left to the function.

    Raises:
        E2CError: naming the first argument that is not allowed, what was got and what is allowed.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check(*args: P.args, **kwargs: P.kwargs) -> T:
        call = signature.bind(*args, **kwargs)
        for name, hint in _hints(function).items():
            if name in call.arguments:
                call.arguments[name] = _argument(call.arguments[name], hint, name)
        return function(*call.args, **call.kwargs)

    return check


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
    hints = _types(typing.cast(Hashable, kind))
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


def check_declared(kind: Any, base: type, owner: str) -> None:
    """Raise an E2CError unless ``kind`` inherits ``base`` and all its options are fields.

    A subclass of a dataclass counts as a dataclass. But without a decorator of its own, the options
    that it adds are no fields, and their values would be ignored.

    Args:
        kind: the class of some options.
        base: the class that it must be or inherit.
        owner: whose options they are, for the message.
    """
    name = getattr(kind, "__name__", brief(kind))
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise E2CError(
            f"The options of {owner} are {brief(kind)}; let them be a subclass of {base.__name__} "
            "with @dataclass(frozen=True)."
        )
    hints = _types(typing.cast(Hashable, kind))
    said = {key for key, hint in hints.items() if typing.get_origin(hint) is not typing.ClassVar}
    if lost := sorted(said - {field.name for field in dataclasses.fields(typing.cast(Any, kind))}):
        raise E2CError(
            f"{name}, the options of {owner}, would ignore {', '.join(lost)}; write "
            f"@dataclass(frozen=True) above class {name}."
        )


def look_up(registry: Mapping[str, T], name: str, option: str) -> T:
    """Return the part that is registered under ``name``.

    Args:
        registry: the parts by their names.
        name: as the user gave it.
        option: dotted name of the option that holds it, such as ``model.encoder``.

    Raises:
        UnknownNameError: when there is no such name; the message names the nearest.
    """
    if not isinstance(name, str) or name not in registry:
        thing = option.rpartition(".")[2]
        own = "; or import the module that registers it (--import in a command)"
        known = suggestion(str(name), registry, otherwise=own)
        raise UnknownNameError(f"There is no {thing} {shown(repr(name))} ({option}); {known}")
    return registry[name]


def suggestion(name: str, known: Iterable[str], prefix: str = "", otherwise: str = "") -> str:
    """Return the end of a sentence about an unknown name: the nearest known name, or all."""
    near = difflib.get_close_matches(name, known, 1, _CUTOFF)
    return f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}{otherwise}."


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
    if origin is Literal and isinstance(value, str) and value in allowed:
        return value
    listed = origin is tuple and isinstance(value, list | tuple)
    listed = listed and (Ellipsis in allowed or len(value) == len(allowed))
    if listed and all(_is(item, allowed[0]) for item in value):
        return tuple(map(allowed[0], value))
    if _is(value, hint):
        return hint(value)
    wanted = " or ".join(map(repr, allowed)) if origin is Literal else _type_name(hint)
    raise E2CError(f"{name} is {brief(value)}; it must be {wanted}.")


def _is(value: Any, kind: Any) -> bool:
    """Say whether ``value`` is of a plain type, Python's or NumPy's; a bool is not a number."""
    if kind is int:
        return isinstance(value, numbers.Integral) and type(value) is not bool
    if kind is float:
        whole = _is(value, int)
        real = whole or (isinstance(value, numbers.Real) and type(value) is not bool)
        return real and not abs(int(value) if whole else float(value)) > sys.float_info.max
    return kind in (str, bool) and type(value) is kind


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each argument, read when all names in the signature exist."""
    return typing.get_type_hints(function, include_extras=True)


@functools.cache
def _types(kind: Hashable) -> dict[str, Any]:
    """Return the type of each field of a class."""
    return typing.get_type_hints(kind)


def _argument(value: Any, hint: Any, name: str) -> Any:
    """Return an argument, checked and converted as `checked` says."""
    hint, *more = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    allowed = typing.get_args(hint) if union else (hint,)
    if value is None and types.NoneType in allowed:
        return None
    kinds = tuple(kind for kind in allowed if kind is not types.NoneType)
    origin = typing.get_origin(kinds[0])
    if origin is Literal or (kinds[0] in _PLAIN and len(kinds) == 1):
        value = _typed(value, kinds[0], name)
        for bounds in more:
            _check_number(name, value, bounds)
        return value
    if origin is Sequence:
        if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
            (kind,) = typing.get_args(kinds[0])
            return [_argument(item, kind, f"{name}[{i}]") for i, item in enumerate(value)]
    elif not _is_refused(value, kinds):
        return value
    words = next((told for told in more if isinstance(told, str)), None)
    wanted = words or " or ".join(map(_type_name, kinds))
    raise E2CError(f"{name} is {brief(value)}; it must be {wanted}.")


def _is_refused(value: Any, kinds: tuple[Any, ...]) -> bool:
    """Say whether ``value`` is of none of the ``kinds``, where all of these are classes."""
    if Any in kinds or not all(isinstance(kind, type) for kind in kinds):
        return False
    return isinstance(value, type) or not isinstance(value, kinds)


_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
"""Types of a single value, and words for them in a sentence."""


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.GenericAlias):
        allowed = typing.get_args(hint)
        many = "a list of " if allowed[1:] in ((), (...,)) else f"a list of {len(allowed)} "
        return many + {int: "whole numbers", float: "numbers", str: "texts"}[allowed[0]]
    return {**_PLAIN, Path: "a path"}.get(hint) or hint.__name__


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
