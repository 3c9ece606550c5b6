"""Options dataclasses: the range stands on the field, and messages name what the user typed."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2c.errors import E2CError
from e2c.options import (
    check_ranges,
    flag,
    from_dict,
    grouped_flag,
    leaves,
    look_up,
    option,
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


def test_registries_tell_the_nearest_or_all() -> None:
    registry = {"planar": 1, "pendulum": 2}
    assert look_up(registry, "planar", "world.task") == 1
    with pytest.raises(E2CError, match=r"no task 'planer' \(world\.task\); did you mean planar\?$"):
        look_up(registry, "planer", "world.task")
    with pytest.raises(E2CError, match=r"task 'arm' \(world\.task\); known: planar, pendulum\.$"):
        look_up(registry, "arm", "world.task")
