"""A sweep is its cells: told apart by their options, each computed once, whatever is killed."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from processes import LIGHT, Script
from tiny import CONFIG, TYPED, leave_undrawn, shorten_runs

from benchmarks.kills import untimed
from e2c.config import EvaluationConfig, Recipe
from e2c.errors import E2CError
from e2c.files import runs
from e2c.learning.run import train
from e2c.sweep import command, engines
from e2c.sweep.cell import Asked
from e2c.sweep.engines import Processes, Ray
from e2c.sweep.grid import Axis, parse, points
from e2c.sweep.run import begin, cells_of, compute, scores

SMALL = [word for word in TYPED[:-2]]
"""`CONFIG` as it is typed, without its seed."""
UNSCORED = Recipe(dataclasses.replace(CONFIG, evaluation=EvaluationConfig(0)))


def grid_of(*words: str) -> list[str]:
    """The words of `SMALL` as one value each, and more."""
    joined: list[str] = []
    for word in SMALL:
        if word.startswith("--") or joined[-1].startswith("--"):
            joined.append(word)
        else:
            joined[-1] += f",{word}"
    return [*joined, *words]


# -------------------------------------------------------------------------------------------- grid


def test_a_grid_is_every_combination_seed_by_seed() -> None:
    axes = parse(
        [
            "--preset",
            "e2c",
            "pcc",
            "--env",
            "E2C/Planar-v0",
            "--seed",
            "3:5",
            "7",
            "--a.b-c",
            "1",
            "-2",
            "--d",
            "64,32",
        ]
    )
    assert axes[2] == Axis("seed", ("3", "4", "7"))
    found = points(axes)
    assert [point.seed for point in found] == [3] * 4 + [4] * 4 + [7] * 4
    assert found[1].folder == "e2c,E2C_Planar-v0,a.b-c=-2/seed_3"
    assert found[1].method == "e2c,a.b-c=-2"
    assert found[1].task == "E2C/Planar-v0"
    assert found[1].arguments == [
        *("--preset", "e2c", "--env", "E2C/Planar-v0", "--a.b-c", "-2", "--d", "64", "32")
    ]
    assert len({point.folder for point in found}) == 12


def test_one_cell_has_a_name_too() -> None:
    (point,) = points(parse(["--optimiser.steps=5"]))
    assert (point.folder, point.method, point.task) == ("default/seed_0", "default", "")
    assert point.arguments == ["--optimiser.steps", "5"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "The grid is empty; give options with values, such as --seed 0:10[.]"),
        ("pcc --seed 1", "'pcc' stands before any option; give --OPTION VALUES[.]"),
        ("--preset", "--preset names no value; give at least one[.]"),
        ("--preset a a", "--preset names a value twice; give each once[.]"),
        ("--preset a --seed 1 --preset b", "--preset was given twice; give all its values at once"),
        ("--seed 0:3 2", "--seed names a value twice"),
        ("--seed 5:5", "--seed is '5:5'; give numbers, or FROM:TO like 0:10[.]"),
        ("--seed -1", "--seed is '-1'; give numbers"),
        ("--seeds 0 1", "--seeds is no option of a grid; give --seed 0:10[.]"),
        ("--a x/y x|y", "Two cells would have one folder"),
        (f"--a {'x' * 200} y", "The name of a cell's folder has 209 letters; it may have 200: "),
        ("--seed 0:1000 --a " + " ".join(map(str, range(101))), "The grid has 101,000 cells"),
    ],
)
def test_a_grid_that_is_none_is_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(E2CError, match=sentence):
        points(parse(words.split()))


def test_what_training_does_not_know_is_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "sweep")
    for words, told in (
        (["--optimizer.steps", "5"], "optimiser.steps"),
        (["--preset", "default", "pccc"], "pccc"),
        (["--optimiser.steps", "5", "-6"], "optimiser.steps is -6; it must be at least"),
        (["--env", "E2C/Plane-v0"], "E2C/Plane-v0"),
        (["--seed", "0", "--address", "auto"], "--address is of a Ray cluster; give --engine ray"),
        (["--seed", "0", "--jobs", "0"], "jobs is 0; it must be at least 1"),
        (
            ["--seed", "0", "--import", "json", "wave", "--preset", "e2c"],
            "--import takes one module, and 'wave' follows it; repeat it: --import json --import ",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["e2c-sweep", "--out", out, *words])
        with pytest.raises(SystemExit) as end:
            command.sweep_command()
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert told in said
        assert "Traceback" not in said
    assert not list(tmp_path.rglob("config.yaml"))


# ------------------------------------------------------------------------------------------- sweep


@dataclass
class Here:
    """An engine that trains in this process, and fails where it is told to."""

    fails: Sequence[str] = ()
    computed: list[str] = field(default_factory=list)

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        for folder in folders:
            self.computed.append(folder.parent.name[-4:] + folder.name[-2:])
            if self.computed[-1] in self.fails:
                yield folder, "It ran into a wall."
            else:
                train(runs.read_recipe(folder / runs.CONFIG), folder)
                yield folder, ""


def test_a_sweep_goes_on_grows_tells_what_failed_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten_runs(monkeypatch, 6)
    leave_undrawn(monkeypatch)
    out = tmp_path / "sweep"
    typed = grid_of()[:-2]
    rate = typed.index("--optimiser.learning-rate")
    typed[rate : rate + 2] = ["--optimiser.learning-rate", "1e-3", "2e-3"]
    words = [*typed, "--evaluation.episodes", "2"]
    engine = Here(fails=["2e-3_0"])
    monkeypatch.setattr(command, "_engine", lambda sweep: engine)

    def sweep(*more: str) -> tuple[int, str, str]:
        engine.computed.clear()
        monkeypatch.setattr(sys, "argv", ["e2c-sweep", "--out", str(out), *words, *more])
        with pytest.raises(SystemExit) as end:
            command.sweep_command()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    code, told, said = sweep("--seed", "0:1")
    assert (code, engine.computed) == (2, ["1e-3_0", "2e-3_0"])
    assert "optimiser.learning-rate=2e-3/seed_0 failed: It ran into a wall." in said
    assert "1 of 2 cells failed, told above and in" in said
    assert "optimiser.learning-rate=1e-3: interquartile mean" in told
    assert "It ran into a wall." in (out / "report.html").read_text()
    engine.fails = ()
    code, told, _ = sweep("--seed", "0:2")
    assert (code, engine.computed) == (0, ["2e-3_0", "1e-3_1", "2e-3_1"])
    assert "of 2 runs" in told
    page = (out / "report.html").read_text()
    assert all(title in page for title in ("Scores", "Which is better", "Performance profiles"))
    assert "4 of 4 runs have ended." in page
    assert "Where no success is told, it is minus the distance" in page
    assert sweep("--seed", "0:2")[0] == 0
    assert engine.computed == []
    code, _, said = sweep("--seed", "1:2")
    assert code == 2
    assert "holds another sweep (--seed is ['0', '1'] there, not ['1'])" in said
    cell = out / "optimiser.learning-rate=2e-3" / "seed_1"
    alone = tmp_path / "alone"
    train(runs.read_recipe(cell / runs.CONFIG), alone)
    assert untimed(alone) == untimed(cell), "a cell is an ordinary run"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    axes = parse(["--seed", "0:2"])
    cells = cells_of(points(axes), tmp_path, lambda point: Recipe(CONFIG))
    assert [cell.recipe.seed for cell in cells] == [0, 1]
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(E2CError, match=r"holds other files \(thesis.tex\); choose another --out"):
        begin(tmp_path, axes, cells)
    (tmp_path / "thesis.tex").unlink()
    begin(tmp_path, axes, cells)
    for words in ("--seed 0:2 --a 1", "--seed 1:3"):
        with pytest.raises(E2CError, match="holds another sweep"):
            begin(tmp_path, parse(words.split()), [])
    other = cells_of(points(axes), tmp_path, lambda point: Recipe(CONFIG, threads=2))
    with pytest.raises(E2CError, match=r"holds the run of another recipe \(threads is 1, not 2\)"):
        begin(tmp_path, axes, other)
    (tmp_path / "grid.json").write_text('{"seed": 7}')
    with pytest.raises(E2CError, match=r"grid.json is damaged .*; choose another --out"):
        begin(tmp_path, axes, cells)
    (tmp_path / "grid.json").unlink()
    os.mkfifo(tmp_path / "grid.json")
    with pytest.raises(
        E2CError, match=r"grid.json is damaged \(it is not an ordinary file\); choose"
    ):
        begin(tmp_path, axes, cells)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"time_in_goal": "much"}', '{"distance_at_end": NaN}']
)
def test_an_evaluation_that_is_damaged_is_told_with_what_writes_it_again(
    tmp_path: Path, content: str
) -> None:
    (cell,) = cells_of(points(parse(["--seed", "3"])), tmp_path, lambda point: Recipe(CONFIG))
    cell.folder.mkdir(parents=True)
    path = cell.folder / runs.EVALUATION
    path.write_text(content)
    told = (
        rf"{runs.EVALUATION} is damaged \(.*\); write it again: python evaluate.py {cell.folder} "
    )
    with pytest.raises(E2CError, match=told):
        cell.score()


@pytest.mark.parametrize(
    ("content", "score"),
    [
        ('{"time_in_goal": 0.4, "distance_at_end": 0.2, "return_mean": -3.5}', 0.4),
        ('{"distance_at_end": 0.2, "return_mean": -3.5}', -0.2),
        ('{"time_in_goal": null, "return_mean": -3.5}', None),
        ('{"return_mean": -3.5}', None),
    ],
)
def test_a_score_is_the_time_in_the_goal_or_else_how_near_it_ended(
    tmp_path: Path, content: str, score: float | None
) -> None:
    (cell,) = cells_of(points(parse(["--seed", "3"])), tmp_path, lambda point: Recipe(CONFIG))
    cell.folder.mkdir(parents=True)
    (cell.folder / runs.EVALUATION).write_text(content)
    assert cell.score() == score


@pytest.mark.parametrize(("score", "told"), [(0.4, False), (-0.2, True)])
def test_what_scores_below_0_are_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], score: float, told: bool
) -> None:
    monkeypatch.setattr(command, "scores", lambda cells: {"own": {"Mine-v0": [score, score]}})
    monkeypatch.setattr(command, "write_sweep_report", lambda *told: None)
    command._tell(Path("report.html"), [], {})
    assert ("Scores below 0 are minus the distance to the goal" in capsys.readouterr().out) == told


def test_only_one_process_works_on_a_sweep(tmp_path: Path) -> None:
    with runs.locked(tmp_path):
        script = tmp_path / "sweep.py"
        script.write_text("from e2c.sweep.command import sweep_command; sweep_command()")
        done = Script(str(script), "--out", str(tmp_path), "--seed", "0").wait()
    assert done.returncode == 2
    assert f"Another process is working on {tmp_path} (number {os.getpid()})" in done.stderr


# ----------------------------------------------------------------------------------------- engines


CHILD = (
    LIGHT
    + """
import os, signal, time
from pathlib import Path
from e2c.files.meanwhile import end_with_the_first
import threading
threading.Thread(target=end_with_the_first, daemon=True).start()
folder = Path(sys.argv[1])
begun = len(list(folder.glob("begun*")))
(folder / f"begun{begun}").write_text(str(os.getpid()))
what = folder.name
if what == "killed" and begun == 0 or what == "cursed":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "refused":
    print("a line\\ne2c: There is no such thing.", file=sys.stderr)
    sys.exit(2)
if what == "broken" and begun == 0:
    [][1]
if what == "own":
    (folder / "words").write_text(" ".join(sys.argv[2:]))
if what == "slow":
    time.sleep(60)
"""
)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cells that are a program of a moment."""
    (tmp_path / "fake_cell.py").write_text(CHILD)
    monkeypatch.setattr("e2c.sweep.cell.__name__", "fake_cell")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_killed_process_goes_on_and_a_failing_cell_stops_no_other(child: Path) -> None:
    names = ("good", "killed", "cursed", "refused")
    for name in names:
        (child / name).mkdir()
    ended = dict(Processes(2).run([child / name for name in names], Asked()))
    assert {folder.name: reason for folder, reason in ended.items()} == {
        "good": "",
        "killed": "",
        "cursed": "Its process ended with status -9.",
        "refused": "There is no such thing.",
    }
    begun = {name: len(list((child / name).glob("begun*"))) for name in names}
    assert begun == {"good": 1, "killed": 2, "cursed": 3, "refused": 1}


def test_a_cell_that_fails_by_a_fault_keeps_where_it_was(child: Path) -> None:
    (folder := child / "broken").mkdir()
    kept = folder / "traceback.txt"
    reason = "IndexError: list index out of range"
    ended = list(Processes(1).run([folder], Asked()))
    assert ended == [(folder, f"{reason} ({kept} says where).")]
    lines = kept.read_text().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == reason
    assert any("fake_cell.py" in line for line in lines)
    assert list(Processes(1).run([folder], Asked())) == [(folder, "")]
    assert not kept.exists(), "it is of a run that failed"


def test_a_cell_is_told_which_modules_to_import(child: Path) -> None:
    (child / "own").mkdir()
    asked = Asked(modules=("mine", "lab.yours"))
    assert list(Processes(1).run([child / "own"], asked)) == [(child / "own", "")]
    assert (child / "own" / "words").read_text() == "off mine lab.yours"


def test_a_cell_that_begins_while_others_are_stopped_is_stopped(
    monkeypatch: pytest.MonkeyPatch, press_ctrl_c: Callable[[], None]
) -> None:
    terminated = threading.Event()

    def compute(folder: Path, asked: Asked, began: Any) -> str:
        press_ctrl_c()
        time.sleep(0.2)
        began(Mock(terminate=terminated.set))
        return ""

    monkeypatch.setattr(engines, "compute", compute)
    with pytest.raises(KeyboardInterrupt):
        list(Processes(1).run([Path("cell")], Asked()))
    assert terminated.wait(10)


def test_processes_serve_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Mock()

    def compute(folder: Path, asked: Asked, began: Any) -> str:
        began(process)
        return ""

    monkeypatch.setattr(engines, "compute", compute)
    engine = Processes(1)
    assert list(engine.run([Path("first")], Asked())) == [(Path("first"), "")]
    process.terminate.reset_mock()
    folders = engine.run([Path("second"), Path("third")], Asked())
    assert next(folders) == (Path("second"), "")
    process.terminate.assert_not_called()
    assert next(folders) == (Path("third"), "")


def test_cells_end_with_the_driver_even_if_it_is_killed(child: Path) -> None:
    (child / "slow").mkdir()
    (child / "driver.py").write_text(
        "from pathlib import Path\nimport e2c.sweep.cell as cell\n"
        "cell.__name__ = 'fake_cell'\nfrom e2c.sweep.engines import Processes\n"
        f"list(Processes(1).run([Path({str(child / 'slow')!r})], cell.Asked()))\n"
    )
    driver = Script(str(child / "driver.py"))
    pid = wait_for(child / "slow" / "begun0")
    driver.process.kill()
    driver.wait()
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the cell outlived its driver")


def wait_for(path: Path) -> int:
    """Return the number that a file holds, once it is there."""
    for _ in range(1200):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise TimeoutError(path)


UNDRAWN = """
import pytest
from tiny import leave_undrawn, shorten_runs
from e2c.sweep import cell
with pytest.MonkeyPatch.context() as patch:
    shorten_runs(patch, 12)
    leave_undrawn(patch)
    cell.main()
"""
"""A real cell, but for its pictures and the length of its episodes."""


def test_a_run_that_was_killed_in_a_sweep_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, killed once its first data lie there."""
    (tmp_path / "undrawn_cell.py").write_text(UNDRAWN)
    monkeypatch.setattr("e2c.sweep.cell.__name__", "undrawn_cell")
    monkeypatch.syspath_prepend(str(tmp_path))
    shorten_runs(monkeypatch, 12)
    leave_undrawn(monkeypatch)
    axes = parse(["--seed", "3"])
    (cell,) = cells_of(points(axes), tmp_path / "sweep", lambda point: UNSCORED)
    calm = tmp_path / "calm"
    train(cell.recipe, calm)
    cell.folder.mkdir(parents=True)
    runs.write_recipe(cell.folder, cell.recipe)
    kill = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import os, signal, sys, time\n"
            f"folder = {str(cell.folder)!r}\n"
            "while not os.path.exists(folder + '/data/first.npz'): time.sleep(0.01)\n"
            "os.kill(int(open(folder + '/.lock').read()), signal.SIGKILL)\n",
        ]
    )
    failed = compute([cell], Processes(1), Asked())
    assert kill.wait() == 0
    assert failed == {}
    assert untimed(cell.folder) == untimed(calm)
    assert scores([cell]) == {}, "it was not evaluated"


# --------------------------------------------------------------------------------------------- ray


def test_without_ray_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(E2CError, match=r'Ray is not installed; install it with: pip install "e2c'):
        Ray("auto")


with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


@with_ray
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:9", "nowhere"])
def test_an_address_that_does_not_answer_is_one_sentence(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PATIENCE", 2.0)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(E2CError, match=f"No Ray cluster answers at --address {address} "):
        Ray(address)


@with_ray
def test_the_cluster_of_this_machine_may_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(E2CError, match="No Ray cluster answers at --address auto "):
        Ray("auto")


@with_ray
def test_a_cluster_that_asks_for_a_token_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect") from RuntimeError("AuthenticationError: token")

    monkeypatch.setattr(importlib.import_module("ray"), "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "")
    with pytest.raises(E2CError, match="it asks for a token: set RAY_AUTH_MODE=token"):
        Ray("auto")


@with_ray
def test_ray_computes_the_same_cells_and_tells_the_same_reasons(tmp_path: Path) -> None:
    axes = parse(["--seed", "3"])
    (cell,) = cells_of(points(axes), tmp_path / "sweep", lambda point: UNSCORED)
    with runs.locked(tmp_path / "sweep"):
        begin(tmp_path / "sweep", axes, [cell])
    with pytest.raises(E2CError, match=r"A cell asks for 7 GPUs, and the cluster has 0; ask for"):
        list(Ray().run([cell.folder], Asked(gpus=7)))
    ended = dict(Ray().run([cell.folder, tmp_path / "nothing"], Asked()))
    assert ended[cell.folder] == ""
    assert ended[tmp_path / "nothing"].startswith("There is no configuration file")
    train(cell.recipe, tmp_path / "calm")
    assert untimed(cell.folder) == untimed(tmp_path / "calm")
