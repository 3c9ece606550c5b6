"""What is told as measured has a result file; results are measured where and when it is said."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_words import README, without_blocks_and_targets
from tiny import ROOT

from benchmarks import readme, store
from benchmarks.__main__ import BENCHMARKS, All, age, committed
from benchmarks.store import COMMITTED, Benchmark, Cell, missing
from e2c.errors import E2CError
from e2c.files.whole import write_json

DOCS = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
TOLD = {
    *("Python 3.11 or newer", "last 50 of 200 steps", "NIPS 2015"),
}
"""What README says in numbers that nobody measures."""
QUOTED = {
    "swing_up": r"(default|500|1000|5000):\d+",
    "tables": r"arm:default:\d+",
    **dict.fromkeys(("any_pixels", "films", "dmc", "kills"), r"\d+"),
}
"""Benchmarks of several cells that README quotes, and the names of these cells."""


# ------------------------------------------------------------------------------------ what is told


def test_every_measured_row_of_the_readme_is_what_its_results_say() -> None:
    rows = list(readme.rows())
    assert not [row for row in rows if row not in README.splitlines()]


def test_no_result_tells_a_path_of_a_machine() -> None:
    results = COMMITTED.rglob("*.json")
    assert not [path.name for path in results if re.search(r'"/\w', path.read_text("utf-8"))]


@pytest.mark.parametrize("name", QUOTED)
def test_every_measured_row_of_the_readme_has_today_s_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that its command measures what it tells."""
    benchmark = committed(name)
    _ = benchmark.finished() if name == "tables" else benchmark()
    lists = re.findall(r"today's, or of none: (.*)\.", capsys.readouterr().err)
    others = [cell for told in lists for cell in told.split(", ")]
    assert not [cell for cell in others if re.fullmatch(QUOTED[name], cell)]


def test_every_number_of_the_readme_is_in_such_a_row_or_was_not_measured() -> None:
    rest = README
    for row in readme.rows():
        rest = rest.replace(row, "")
    rest = re.sub(r"`[^`]*`", "", without_blocks_and_targets(rest))
    for told in TOLD:
        assert told in rest
        rest = rest.replace(told, "")
    assert re.findall(r".*\b\d.*", rest) == []


def test_the_table_of_reliability_is_what_its_results_say() -> None:
    assert not [cell for cell in readme.reliability() if cell not in DOCS]


@pytest.mark.parametrize(
    "name",
    [
        *("swing_up", "exploration", "any_pixels", "mujoco_camera", "films", "dmc"),
        *("gym_mujoco", "robustness", "growth", "peers", "sweeps", "goals"),
    ],
)
def test_the_tables_of_the_documentation_are_those_of_the_results(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.growth.draw", lambda *axis: None)
    monkeypatch.setattr("benchmarks.growth.save_figure", lambda *figure: None)
    committed(name)()
    printed = capsys.readouterr().out
    assert not [line for line in printed.splitlines() if line[:1] == "|" and line not in DOCS]
    kept = COMMITTED / name / "table.md"
    assert not kept.exists() or kept.read_text("utf-8") == printed


def test_the_table_of_speed_is_what_its_results_say() -> None:
    found, demo = (store.read(COMMITTED / f"{name}.json") for name in ("speed", "demo"))
    together, step, once = (found[key] for key in ("evaluate", "control_step", "control_step_once"))
    oracle = together["seconds_with_oracle"] - together["seconds"]
    told = (
        f"{demo['seconds']:.0f} s on two cores, {demo['peak_memory_GiB']:.2f} GiB |",
        f"{together['seconds']:.1f} s on one core, and the oracle's {oracle:.1f} s;",
        f"{within(step)}; all of its arithmetic would take {step['floor_ms']:.2f} ms at",
        f"{within(once)}; arithmetic {once['floor_ms']:.2f} ms |",
        f"| {round(found['collect']['frames_per_second'], -3):,.0f} a second |",
        f"The belief takes {found['belief_share']:.0%} of a control step",
    )
    assert not [cell for cell in told if cell not in DOCS]


def within(step: Mapping[str, float]) -> str:
    return f"| median {step['median_ms']:.2f} ms, 99% within {step['p99_ms']:.2f} ms"


def test_every_committed_result_tells_its_commit_versions_and_machine() -> None:
    paths = [path for path in COMMITTED.rglob("*.json") if "before_the_sweep" not in path.parts]
    assert len(paths) > 100
    for path in paths:
        assert {"commit", "versions", "machine"} <= store.read(path).keys(), path


def test_every_benchmark_with_results_is_printed_and_measured_again() -> None:
    assert {path.stem for path in COMMITTED.iterdir()} == set(BENCHMARKS)


# ------------------------------------------------------------------------------ where results lie


@dataclass(frozen=True)
class Counted(Benchmark):
    """Counts how often it measures."""

    size: int = 3
    seeds: tuple[int, ...] = (0, 1)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "COMMITTED", tmp_path / "committed")
    monkeypatch.setattr(store, "MEASURED", tmp_path / "measured")
    return tmp_path


def measured(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*.json"))


def test_without_options_it_measures_and_leaves_the_committed_alone(places: Path) -> None:
    store.keep(places / "committed" / "counted.json", {}, {"figure": 1})
    calls = iter((2, 3, 4))

    def figure() -> dict[str, Any]:
        return {"figure": next(calls)}

    assert Counted(committed=True).result("counted", figure)["figure"] == 1
    assert Counted().result("counted", figure)["figure"] == 2
    assert Counted().result("counted", figure)["figure"] == 3
    assert Counted(results=places / "own").result("counted", figure)["figure"] == 4
    assert Counted(committed=True).result("counted", figure)["figure"] == 1
    files = ("committed/counted.json", "measured/counted.json", "own/counted.json")
    assert measured(places) == list(files)


def test_a_result_holds_the_options_that_decided_it_and_what_made_it(places: Path) -> None:
    Counted(results=places, size=7).result("counted", lambda: {"figure": 2})
    found = json.loads((places / "counted.json").read_text())
    assert found["options"] == {"seeds": [0, 1], "size": 7}
    assert found.keys() == {"options", "figure", "commit", "versions", "machine"}


def test_a_cell_of_other_options_is_measured_again(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cells(options: Mapping[str, Any]) -> dict[str, Cell]:
        return {name: Cell(places / f"{name}.json", options) for name in ("a", "b")}

    assert missing(cells({"seed": 0})) == ["a", "b"]
    assert capsys.readouterr().err == ""
    cells({"seed": 0})["a"].keep({"figure": 1})
    assert missing(cells({"seed": 0})) == ["b"]
    assert re.match(r"1 of 2 cells were measured before, at \w+", capsys.readouterr().err)
    assert missing(cells({"seed": 1})) == ["a", "b"]
    old = json.loads((places / "a.json").read_text())
    del old["options"]
    (places / "a.json").write_text(json.dumps(old))
    assert missing(cells({"seed": 0})) == ["a", "b"]
    assert list(Counted(results=places).found(cells({"seed": 0}))) == []
    assert list(Counted(committed=True).found(cells({"seed": 0}))) == ["a"]


def test_mistakes_are_one_sentence(places: Path) -> None:
    with pytest.raises(E2CError, match=r"give one of them[.]"):
        _ = Counted(results=places, committed=True).folder
    with pytest.raises(E2CError, match=r"There is no result .*counted.json; measure it: "):
        Counted(committed=True).result("counted", dict)
    with pytest.raises(E2CError, match=r"There is no benchmark 'swingup'; choose among: demo, "):
        All(rows=("swingup",))()


def test_the_age_of_results_counts_changes_of_what_they_measure(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.__main__.COMMITTED", places)
    for number, commit in enumerate(("HEAD", "HEAD+", "none")):
        write_json(places / "kills" / f"{number}.json", {"commit": commit})
        told = age("kills")
    assert told == "3 results, some of commits that are not in this repository"
    (places / "kills" / "2.json").unlink()
    assert age("kills") in (
        "2 results; as new as the code they measure",
        "2 results, some of commits that are not in this repository",  # not a checkout
    )


def test_the_age_of_results_counts_commits_that_changed_what_they_measure(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(file: str) -> str:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(file)
        git("add", file)
        git("-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", file)
        return git("rev-parse", "HEAD").strip()

    def git(*line: str) -> str:
        done = subprocess.run(["git", *line], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode()

    git("init", "-q")
    monkeypatch.setattr("benchmarks.__main__.ROOT", tmp_path)
    monkeypatch.setattr("benchmarks.__main__.COMMITTED", places)
    commits = [commit(file) for file in ("e2c/a.py", "benchmarks/kills.py", "planners/b.py")]
    for name in ("kills", "killer"):
        for number, made in enumerate(commits[:2]):
            write_json(places / name / f"{number}.json", {"commit": made})
    assert age("kills") == "2 results; the oldest are 2 commits older than the code they measure"
    assert age("killer") == "2 results; the oldest are 1 commit older than the code they measure"
    commit("benchmarks/kills_of.py")
    commit("docs/kills.md")
    assert age("kills").startswith("2 results; the oldest are 3 commits")
    assert age("killer").startswith("2 results; the oldest are 1 commit ")


def test_what_is_measured_again_goes_into_one_folder_with_the_seeds_asked_for(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[list[str]] = []

    def run(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        lines.append(line[2:])
        return subprocess.CompletedProcess(line, int("benchmarks.goals" in line))

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(E2CError, match=r"These cells failed: goals; run the command again[.]"):
        All(remeasure=True, rows=("swing_up", "goals"), seeds=(0, 3), results=places)()
    assert lines == [
        [
            *("benchmarks.swing_up", "--results", str(places)),
            *("--rows", "all", "--seeds", "0", "3"),
        ],
        ["benchmarks.goals", "--results", str(places)],
    ]


@pytest.mark.parametrize(
    "name", ["any_pixels", "mujoco_camera", "films", "dmc", "gym_mujoco", "local"]
)
def test_a_cell_that_there_is_not_is_refused(name: str, tmp_path: Path) -> None:
    kind: Any = BENCHMARKS[name]
    benchmark = kind(cell="nobody", results=tmp_path)
    with pytest.raises(E2CError, match=r"There is no cell 'nobody'; choose a seed"):
        benchmark()
    assert list(tmp_path.iterdir()) == []
