"""Slopes are true, cells are measured once and alone, and what grows too fast is named."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth, store
from benchmarks.growth import AXES, MEMORY, Curve, Growth
from e2c.errors import E2CError

TINY = {
    "frames": (270, 540),
    "pixels": (8, 12),
    "latent": (3, 4),
    "horizon": (5, 7),
    "batch": (1, 3),
}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and pictures go to a temporary folder; sizes are tiny, and work is done once."""
    for name in ("COMMITTED", "MEASURED", "DOCS"):
        monkeypatch.setattr(store, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    tiny = {name: dataclasses.replace(axis, sizes=TINY[name]) for name, axis in AXES.items()}
    monkeypatch.setattr(growth, "AXES", tiny)
    monkeypatch.setattr(growth, "LEAST", 1)
    monkeypatch.setattr(growth, "MOST", 1)
    return tmp_path


def synthetic(axis: str, size: int, power: float, committed: bool = True) -> None:
    """Write a cell as one that was measured would be, with a step that grows so."""
    seconds = {"step": 0.003 * size**power, "load": 0.5}
    content = {"axis": axis, "size": size, "seconds": seconds, "MiB": 2.0 * size}
    Growth(committed=committed).cells()[f"{axis}:{size}"].keep(content)


# ----------------------------------------------------------------------------------------- measure


@pytest.mark.parametrize(
    ("axis", "parts"),
    [
        ("frames", ["collect", "save", "load", "cut into windows", "training step"]),
        ("pixels", ["encode 100 observations", "training step"]),
        ("latent", ["training step", "plan: iLQG"]),
        ("horizon", ["plan: iLQG", "plan: CEM", "plan: MPPI"]),
        ("batch", ["plan: iLQG"]),
    ],
)
def test_a_cell_holds_all_that_was_measured(axis: str, parts: list[str]) -> None:
    size = TINY[axis][1]
    Growth(cell=f"{axis}:{size}")()
    found = store.read(store.MEASURED / "growth" / axis / f"{size}.json")
    assert (found["axis"], found["size"]) == (axis, size)
    assert list(found["seconds"]) == parts
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["MiB"] >= 0 < found["MiB_before"]
    assert found["machine"]["torch_threads"] == 1
    assert {"commit", "versions"} <= set(found)


def test_work_is_repeated_as_time_allows_and_the_least_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, taken = 0.0, iter([0.3, 0.1, 0.4, 0.01])

    def work() -> None:
        nonlocal now
        now += next(taken)

    monkeypatch.setattr(growth, "LEAST", 2)
    monkeypatch.setattr(growth, "MOST", 50)
    assert growth.seconds_of(work, 0.5, lambda: now) == pytest.approx(0.1)
    assert next(taken) == 0.01  # three times were enough
    now, taken = 0.0, iter([0.2, 0.1, 0.01])
    monkeypatch.setattr(growth, "MOST", 2)
    assert growth.seconds_of(work, math.inf, lambda: now) == pytest.approx(0.1)
    assert next(taken) == 0.01
    now, taken = 0.0, iter([9.0, 2.0, 0.01])
    assert growth.seconds_of(work, 0.5, lambda: now) == pytest.approx(2.0)
    assert next(taken) == 0.01  # what is done for the first time is not judged alone


def test_a_finished_cell_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[str] = []

    def compute(module: str, names: Sequence[str], jobs: int, *place: str) -> list[str]:
        assert (module, jobs) == ("benchmarks.growth", 1)
        computed.extend(names)
        return []

    monkeypatch.setattr(growth, "compute", compute)
    synthetic("batch", 1, 1.0, committed=False)
    Growth(axes=("latent", "batch"))()
    assert computed == ["latent:3", "latent:4", "batch:3"]
    computed.clear()
    Growth(committed=True)()
    assert computed == []


def test_what_there_is_not_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(E2CError, match="There is no axis 'colour'; choose among: frames, pixels"):
        Growth(axes=("colour",))()
    with pytest.raises(E2CError, match="There is no cell 'batch:2'; choose AXIS:SIZE, like frames"):
        Growth(cell="batch:2")()
    monkeypatch.setattr(growth, "compute", lambda module, names, jobs, *place: ["batch:1"])
    with pytest.raises(E2CError, match="These cells failed: batch:1; run the command again"):
        Growth()()


# -------------------------------------------------------------------------------------------- tell


def test_slopes_are_exponents() -> None:
    x = (1.0, 2.0, 5.0, 30.0)
    cubic = Curve(x, tuple(7 * value**3 for value in x))
    assert (cubic.slope, cubic.last_slope) == (pytest.approx(3), pytest.approx(3))
    bent = Curve((1.0, 2.0, 4.0), (1.0, 1.0, 4.0))
    assert (bent.slope, bent.last_slope) == (pytest.approx(1), pytest.approx(2))


def test_what_grows_faster_than_linearly_is_named_but_for_the_latent_dimension(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for axis, power in {"frames": 1.0, "latent": 3.0, "horizon": 1.2, "pixels": 2.0}.items():
        for size in TINY[axis]:
            synthetic(axis, size, power)
    synthetic("batch", 1, 5.0)
    Growth(committed=True)()
    text = capsys.readouterr().out
    assert "Worse than linear, but for n: step by horizon T [steps].\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| pixels"))
    assert row == "| pixels in a frame | 64, 144 | step | 192 ms | 432 ms | 1.00 | 1.00 |"
    memory = next(line for line in text.splitlines() if f"| {MEMORY} |" in line)
    assert memory == "| frames in the data | 270, 540 | memory | 540 MiB | 1080 MiB | 1.00 | 1.00 |"
    assert "problems planned at once" not in text  # of which one cell is there
    drawn = sorted(file.name for file in store.DOCS.iterdir())
    names = ("frames", "horizon", "latent", "pixels")
    assert drawn == [f"growth_{name}.png" for name in names]


def test_a_picture_names_every_curve_with_its_slope() -> None:
    curves = {
        "step": Curve((1, 2), (1, 4)),
        "load": Curve((1, 2), (2, 2 * 2**0.5)),
        MEMORY: Curve((1, 2), (5, 10)),
    }
    time_axes, memory_axes = growth.draw(growth.AXES["batch"], curves).axes
    labels = [axes.get_legend_handles_labels()[1] for axes in (time_axes, memory_axes)]
    assert labels == [["step: 2.00", "load: 0.50", "linear: 1"], ["memory: 1.00", "linear: 1"]]
    assert time_axes.get_xscale() == time_axes.get_yscale() == memory_axes.get_xscale() == "log"
    assert memory_axes.get_yscale() == "linear"
    assert memory_axes.get_ylim()[0] == 0.0
    linear = time_axes.get_lines()[-1].get_xydata()
    np.testing.assert_array_equal(linear, [[1, 2], [2, 4]])
