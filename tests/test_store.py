"""A result reads back exactly as it was measured; its long lists are arrays beside it."""

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import store
from benchmarks.compact import SHORT, apart, together
from benchmarks.store import Benchmark, Cell, keep, read, write
from e2c.errors import E2CError
from e2c.files import arrays

RNG = np.random.default_rng(5)
LONG = SHORT + 1
FLOATS = [*RNG.normal(size=LONG).tolist(), -0.0, 5e-324, 1.7976931348623157e308, 0.1]
INTEGERS = [*range(LONG), 2**63 - 1, -(2**63)]
POINTS = RNG.normal(size=(7, 3, 2)).tolist()
TRUTHS = (RNG.random(LONG) < 0.5).tolist()
EPISODES = [
    {
        "steps": k,
        "start": [0.5 * k, -1.0],
        "success": k % 3 == 0,
        "faults": {"lost": k} if k else {},
    }
    for k in range(LONG)
]

APART: dict[str, tuple[Any, dict[str, str]]] = {
    "floats": (FLOATS, {"figure": f"float64 {len(FLOATS)}"}),
    "integers": (INTEGERS, {"figure": f"int64 {len(INTEGERS)}"}),
    "truths": (TRUTHS, {"figure": f"bool {LONG}"}),
    "nested": (POINTS, {"figure": "float64 7x3x2"}),
    "in tables": ({"a": {"b": FLOATS}, "c": 1}, {"figure.a.b": f"float64 {len(FLOATS)}"}),
    "ragged": (
        [INTEGERS, [], [1, 2], TRUTHS],
        {"figure.0": f"int64 {len(INTEGERS)}", "figure.3": f"bool {LONG}"},
    ),
    "rows": (
        EPISODES,
        {
            "figure.steps": f"int64 {LONG}",
            "figure.start": f"float64 {LONG}x2",
            "figure.success": f"bool {LONG}",
        },
    ),
    "rows of a row": (
        [{"a": {"b": 0.5 * k}} for k in range(LONG)],
        {"figure.a.b": f"float64 {LONG}"},
    ),
    "one name for two": (
        {"a.b": INTEGERS, "a": {"b": TRUTHS}},
        {"figure.a.b": f"int64 {len(INTEGERS)}", "figure.a.b_": f"bool {LONG}"},
    ),
}
"""Figures -> the arrays that are made of them."""
WHOLE = {
    "short": FLOATS[:SHORT],
    "short, nested": [[1, 2], [3, 4]],
    "empty": [],
    "empties": [[] for _ in range(LONG)],
    "of two types": [*INTEGERS, 0.5],
    "with truths": [*INTEGERS, True],
    "with a gap": [*FLOATS, None],
    "large integers": [2**63 + k for k in range(LONG)],
    "larger integers": [2**70 + k for k in range(LONG)],
    "texts": [str(k) for k in range(LONG)],
    "short rows": [{"a": k, "b": 0.5} for k in range(SHORT)],
    "empty rows": [{} for _ in range(LONG)],
    "other rows": [{"a": k} if k % 2 else {"b": k} for k in range(LONG)],
    "mixed": [1, "two", [3.0, None], {"four": [5]}],
}
"""Figures that stay in the JSON."""


def exact(value: Any) -> str:
    """Tell a value with its types, the order of its keys and every bit of its numbers."""
    return repr(value)


def kept(folder: Path, figure: Any) -> Path:
    path = folder / "cell.json"
    write(path, {"figure": copy.deepcopy(figure)})
    return path


@pytest.mark.parametrize("name", APART)
def test_long_lists_are_arrays_and_read_back_exactly(name: str, tmp_path: Path) -> None:
    figure, expected = APART[name]
    path = kept(tmp_path, figure)
    assert exact(read(path)) == exact({"figure": figure})
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        shapes = {key: (file[key].dtype, "x".join(map(str, file[key].shape))) for key in file}
    del shapes["header"]
    assert {key: f"{dtype} {shape}" for key, (dtype, shape) in shapes.items()} == expected
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["cell.json", "cell.npz"]


@pytest.mark.parametrize("name", WHOLE)
def test_everything_else_stays_in_the_json(name: str, tmp_path: Path) -> None:
    path = kept(tmp_path, WHOLE[name])
    assert json.loads(path.read_text("utf-8")) == {"figure": WHOLE[name]}
    assert exact(read(path)) == exact({"figure": WHOLE[name]})
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_of_everything_is_small_and_equal_results_are_equal_files(tmp_path: Path) -> None:
    figure = {name: figure for name, (figure, _) in APART.items()} | WHOLE
    one, two = (kept(tmp_path / name, figure) for name in ("one", "two"))
    assert exact(read(one)) == exact({"figure": figure})
    for suffix in (".json", ".npz"):
        assert one.with_suffix(suffix).read_bytes() == two.with_suffix(suffix).read_bytes()
    rest, found = apart(figure)
    assert exact(together(rest, found)) == exact(figure)


@pytest.mark.parametrize("name", ["header", "file", "allow_pickle"])
def test_a_list_may_have_any_name(name: str, tmp_path: Path) -> None:
    write(tmp_path / "cell.json", {name: FLOATS, "a b/c": INTEGERS})
    assert read(tmp_path / "cell.json") == {name: FLOATS, "a b/c": INTEGERS}


def test_what_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    for wrong in ({"b": math.nan}, {"b": [*FLOATS, math.inf]}, {"b": [{"npz": 1}]}):
        with pytest.raises(ValueError, match=r"not JSON compliant|figure.b has the key 'npz'"):
            kept(tmp_path, {"a": FLOATS, **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [".tmp.npz", ".tmp.json", "cell.npz"])
def test_where_writing_fails_the_older_result_stays(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = kept(tmp_path, FLOATS), os.replace
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def fail(source: Path, target: Path) -> None:
        if Path(target).name.endswith(broken):
            raise OSError("the disk is full")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="the disk is full"):
            kept(tmp_path, INTEGERS)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    assert read(path) == {"figure": FLOATS}
    assert read(kept(tmp_path, TRUTHS)) == {"figure": TRUTHS}


def test_a_result_without_long_lists_takes_older_ones_away(tmp_path: Path) -> None:
    kept(tmp_path, FLOATS)
    path = kept(tmp_path, 1)
    assert list(tmp_path.iterdir()) == [path]


def test_lists_that_are_missing_or_of_another_result_are_one_sentence(tmp_path: Path) -> None:
    path, other = kept(tmp_path, FLOATS), kept(tmp_path / "other", FLOATS[::-1])
    beside = path.with_suffix(".npz")
    beside.write_bytes(other.with_suffix(".npz").read_bytes())
    with pytest.raises(E2CError, match=r"cell.npz is not the file that cell.json was .* again[.]$"):
        read(path)
    beside.unlink()
    with pytest.raises(E2CError, match=r"cell.npz is not there, and cell.json has .* again[.]$"):
        read(path)


def test_lists_that_the_result_does_not_tell_of_are_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, FLOATS)
    beside = path.with_suffix(".npz")
    content = json.loads(path.read_text("utf-8"))
    for members in ({"other": np.zeros(3)}, {"figure": np.zeros((3, 3))}):
        arrays.write(beside, members, {})
        content["npz"] = store._digest(beside)
        path.write_text(json.dumps(content), "utf-8")
        with pytest.raises(E2CError, match=r"cell.npz was refused: .*; restore it, or remove"):
            read(path)
    beside.write_bytes(b"no archive")
    content["npz"] = store._digest(beside)
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(E2CError, match=r"cell.npz was refused: it cannot be read .*; restore it"):
        read(path)


def test_of_what_the_repository_holds_it_is_told_what_has_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that were not known then count not."""
    monkeypatch.setattr(store, "COMMITTED", tmp_path)
    now = {"config": {"steps": 3, "layers": (2, 4)}, "seed": 0}
    held = {
        "same": now,
        "older": {"config": {"layers": (2, 4)}, "seed": 0},
        "other": {"config": {"steps": 4, "layers": (2, 4)}, "seed": 0},
        "longer": {"config": {"steps": 3, "layers": (2, 4, 4)}, "seed": 0},
    }
    for name, options in held.items():
        keep(tmp_path / f"{name}.json", options, {"figure": 1})
    write(tmp_path / "silent.json", {"figure": 1})
    cells = {name: Cell(tmp_path / f"{name}.json", now) for name in (*held, "silent", "absent")}
    assert list(Benchmark(committed=True).found(cells)) == [*held, "silent"]
    told = "3 of 5 cells tell of other options than today's, or of none: other, longer, silent.\n"
    assert capsys.readouterr().err == told
    assert list(Benchmark(results=tmp_path).found(cells)) == ["same"]
