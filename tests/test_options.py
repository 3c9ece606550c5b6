"""Options dataclasses: the range stands on the field, and messages name what the user typed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from e2c.errors import E2CError
from e2c.options import (
    Range,
    check_ranges,
    checked,
    flag,
    from_dict,
    grouped_flag,
    leaves,
    look_up,
    option,
    range_of,
    to_dict,
)


@dataclass(frozen=True)
class Inner:
    """Some options."""

    frame_noise: float = option(0.0, 0, 10)
    """A number."""
    mass: float | None = option(None, 1, 2)
    """A number that may be left out."""


@dataclass(frozen=True)
class Outer:
    """Options that hold options."""

    widths: tuple[int, ...] = option((3, 4), 1, 9)
    """Numbers."""
    paths: tuple[Path, ...] = ()
    """No numbers."""
    oracle: bool = True
    """No number either."""
    free: float = 0.0
    """A number without a range."""
    inner: Inner = field(default_factory=Inner)


def test_options_within_their_ranges_are_returned() -> None:
    for options in (Outer(), Outer(free=-1e300, paths=(Path("x"),) * 99), Inner(10, 1.5)):
        assert check_ranges(options) is options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Inner(frame_noise=-1.0), "--frame-noise is -1.0; it must be at least 0."),
        (Inner(frame_noise=11), "--frame-noise is 11; it must be at most 10."),
        (Inner(frame_noise=float("nan")), "--frame-noise is nan; it must be a finite number."),
        (Inner(mass=3.0), "--mass is 3.0; it must be at most 2."),
        (Outer(inner=Inner(mass=0)), "--mass is 0; it must be at least 1."),
        (Outer(widths=(3, 0)), "--widths is 0; it must be at least 1."),
        (Outer(widths=(3,) * 17), "--widths has 17 layers; it may have at most 16."),
        (Outer(free=float("inf")), "--free is inf; it must be a finite number."),
    ],
)
def test_the_first_that_is_not_is_named_as_it_is_typed(options: object, told: str) -> None:
    with pytest.raises(E2CError) as caught:
        check_ranges(options, flag)
    assert str(caught.value) == told


def test_options_of_a_named_group_are_typed_with_its_name() -> None:
    with pytest.raises(E2CError, match=r"^--inner\.frame-noise is -1; it must be at least 0\.$"):
        check_ranges(Outer(inner=Inner(frame_noise=-1)), grouped_flag)


def test_dotted_names_are_those_of_files() -> None:
    with pytest.raises(E2CError, match=r"^inner\.frame_noise is -1; it must be at least 0\.$"):
        check_ranges(Outer(inner=Inner(frame_noise=-1)))
    assert [name for name, _ in leaves(Outer())] == [
        *("widths", "paths", "oracle", "free"),
        *("inner.frame_noise", "inner.mass"),
    ]


def test_options_survive_plain_values() -> None:
    @dataclass(frozen=True)
    class Plain:
        widths: tuple[int, ...] = option((3, 4), 1, 9)
        share: float = option(0.5)

    options = dataclasses.replace(Plain(), widths=(5,), share=1.0)
    assert to_dict(options) == {"widths": [5], "share": 1.0}
    assert from_dict({"widths": [5], "share": 1}, Plain) == options
    assert from_dict({"widths": [np.int64(5)], "share": np.float32(1)}, Plain) == options


def test_registries_tell_the_nearest_or_all() -> None:
    registry = {"planar": 1, "pendulum": 2}
    assert look_up(registry, "planar", "world.task") == 1
    with pytest.raises(E2CError, match=r"no task 'planer' \(world\.task\); did you mean planar\?$"):
        look_up(registry, "planer", "world.task")
    known = r"known: planar, pendulum; or import the module that registers it"
    with pytest.raises(E2CError, match=rf"no task 'arm' \(world\.task\); {known}"):
        look_up(registry, "arm", "world.task")
    with pytest.raises(E2CError, match=rf"no task 5 \(world\.task\); {known}"):
        look_up(registry, 5, "world.task")  # type: ignore[arg-type]


class Thing:
    """Whatever a door may be given."""


@checked
def door(
    count: Annotated[int, Range(1, 9)] = 1,
    share: Annotated[float | None, range_of(Inner, "frame_noise")] = None,
    place: str | Path = "",
    how: Literal["slow", "fast"] = "slow",
    thing: Annotated[Thing | None, "a thing, as Thing() makes one"] = None,
    steps: Sequence[int] = (),
    free: Any = None,
    **more: Any,
) -> dict[str, Any]:
    """What it was called with."""
    return locals()


def test_arguments_that_are_allowed_come_as_python_says_them() -> None:
    thing, numpys = Thing(), {"count": np.int64(3), "steps": np.arange(2)}
    given: dict[str, Any] = {**numpys, "place": Path("x"), "how": "fast", "thing": thing}
    found = door(share=1, free=..., other=7, **given)
    asked = {"count": 3, "share": 1.0, "place": Path("x"), "how": "fast", "thing": thing}
    assert found == {**asked, "steps": [0, 1], "free": ..., "more": {"other": 7}}
    assert [type(found[name]) for name in ("count", "share")] == [int, float]
    assert all(type(step) is int for step in found["steps"])
    assert (door.__name__, door.__doc__) == ("door", "What it was called with.")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"count": "3"}, "count is '3'; it must be a whole number."),
        ({"count": 1.5}, "count is 1.5; it must be a whole number."),
        ({"count": True}, "count is True; it must be a whole number."),
        ({"count": None}, "count is None; it must be a whole number."),
        ({"count": 0}, "count is 0; it must be at least 1."),
        ({"share": np.float32("nan")}, "share is nan; it must be a finite number."),
        ({"share": 11}, "share is 11.0; it must be at most 10."),
        ({"place": 3}, "place is 3; it must be a text or a path."),
        ({"how": "wild"}, "how is 'wild'; it must be 'slow' or 'fast'."),
        ({"how": np.arange(2)}, "how is array([0, 1]); it must be 'slow' or 'fast'."),
        ({"thing": 3}, "thing is 3; it must be a thing, as Thing() makes one."),
        ({"thing": int}, "thing is <class 'int'>; it must be a thing, as Thing() makes one."),
        ({"steps": 3}, "steps is 3; it must be a list of whole numbers."),
        ({"steps": [1, "2"]}, "steps[1] is '2'; it must be a whole number."),
    ],
)
def test_any_other_argument_is_one_sentence(given: Any, told: str) -> None:
    with pytest.raises(E2CError) as caught:
        door(**given)
    assert str(caught.value) == told
