"""What anybody may have written: plain, bounded, told in one line."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2c.files.untrusted import (
    brief,
    conform,
    one_line,
    ordinary_size,
    parse_json,
    read_bytes,
    shown,
)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"seven b")
    assert ordinary_size(path) == 7
    assert read_bytes(path, 7) == b"seven b"
    with pytest.raises(ValueError, match="it has 7 bytes, more than 6"):
        read_bytes(path, 6)


@pytest.mark.parametrize("path", ["/", "/dev/zero"])
def test_what_is_no_ordinary_file_is_not_opened(path: str) -> None:
    with pytest.raises(ValueError, match="it is not an ordinary file"):
        read_bytes(Path(path), 7)


@pytest.mark.parametrize("path", ["/nowhere", "no\0where"])
def test_what_is_not_there_is_told_so(path: str) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        read_bytes(Path(path), 7)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is not an ordinary file"):
        ordinary_size(tmp_path / "pipe")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_comes_back(value: Any) -> None:
    import json

    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", "-Infinity", "1e999", "[" * 10**5, "9" * 5000, b"\xff"]
)
def test_what_is_no_json_of_finite_numbers_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_json(text)


@given(st.binary() | st.text())
def test_any_text_is_json_or_refused(text: str | bytes) -> None:
    try:
        value = parse_json(text)
    except ValueError:
        return
    assert not isinstance(value, float) or math.isfinite(value)


SHAPE = {"count": int, "names?": [str], "times": {"total": float, str: float}, "any": {}}
RIGHT = {"count": 3, "names": ["a"], "times": {"total": 1, "more": 0.5}, "any": {"a": [1]}}


@pytest.mark.parametrize("more", [{}, {"names": None}, {"names": []}, {"surplus": "x"}])
def test_a_value_of_the_shape_is_returned(more: dict[str, Any]) -> None:
    value = {**RIGHT, **more}
    assert conform(value, SHAPE) is value


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"count": 3.0}, "its content / count is 3.0, not of type int"),
        ({"count": True}, "its content / count is True, not of type int"),
        ({"count": 10**101}, "its content / count is a number above 1e+100"),
        ({"count": None}, "its content has no 'count'"),
        ({"names": "a"}, "its content / names is a, not of type list"),
        ({"names": ["a", 3]}, "its content / names / 1 is 3, not of type str"),
        ({"times": {"more": 1.0}}, "its content / times has no 'total'"),
        ({"times": {"total": 1.0, "more": "x"}}, "times / more is x, not of type float"),
        ({"any": []}, r"its content / any is \[\], not of type dict"),
    ],
)
def test_where_a_value_is_of_another_shape_is_told(more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("+", r"\+")):
        conform({**RIGHT, **more}, SHAPE)


@given(st.text(st.characters()) | st.binary())
def test_whatever_is_told_is_one_short_printable_line(thing: Any) -> None:
    for text in (shown(thing), brief(thing), one_line(str(thing))):
        assert text.isprintable()
    assert len(shown(thing)) <= 303
    assert shown(thing)


def test_what_can_be_told_is_told_as_it_is() -> None:
    assert one_line("zwei  Wörter") == "zwei  Wörter"
    assert one_line("a\nb\x1b[2Jc\udcff") == "a b?[2Jc?"
    assert shown(" a\n  b.") == "a b"
    assert shown(ValueError()) == "ValueError()"
    assert shown("x" * 999) == "x" * 300 + "..."
    assert brief([[[[1]]], "y" * 99]).startswith("[[[...]], 'yyy")
