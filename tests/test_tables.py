"""The comparison goes on where it was, computes nothing twice, and tells what it found."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import Script
from tiny import CONFIG, ROOT, shorten_runs

from benchmarks import cells, figures, policies, published, store, tables, tables_cells, tables_text
from benchmarks.causes import Read
from benchmarks.policies import POLICIES
from benchmarks.published import Share
from benchmarks.tables import Tables
from benchmarks.tables_cells import NOISE, START_SEED, TASKS, UNTRAINED, Cell
from benchmarks.tables_text import SCORED, markdown
from e2c.config import Config, Recipe
from e2c.control.agent import Agent
from e2c.control.base import make_world, problem_spec, rollout
from e2c.control.simple import Zero
from e2c.data.episodes import Episodes
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.files import runs
from e2c.learning import drawings, run
from e2c.lecture.imitation import ImitationOptions
from e2c.models.methods import METHODS
from e2c.presets import PRESETS

STEPS = 6
MODEL = "paper"
"""A preset; here all of them are `small_preset`."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results, runs and pictures go to a temporary folder."""
    monkeypatch.setattr(tables_cells, "RUNS", tmp_path / "runs")
    for name in ("COMMITTED", "MEASURED", "DOCS"):
        monkeypatch.setattr(store, name, tmp_path / name.lower())
    store.DOCS.mkdir()
    return tmp_path


@pytest.fixture
def compared(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five presets, three of them of methods with published figures."""
    presets: dict[str, Any] = {name: {} for name in (MODEL, "e2c", "rce", "pcc", "ae")}
    learned = (*presets, *POLICIES)
    for place in (tables, tables_text):
        monkeypatch.setattr(place, "LEARNED", learned)
        monkeypatch.setattr(place, "METHODS", (*UNTRAINED, *learned))
    for place in (tables, tables_text, figures):
        monkeypatch.setattr(place, "PRESETS", presets)


@pytest.fixture
def small(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of a second or two, computed in this process."""
    shorten_runs(monkeypatch, STEPS)
    monkeypatch.setattr(drawings, "draw", lambda *run: np.array([0.5, 0.75]))
    monkeypatch.setattr(tables, "save_figure", lambda figure, path: path.touch())
    monkeypatch.setattr(tables_cells, "preset", small_preset)
    monkeypatch.setattr(tables_cells, "EPISODES", 3)
    monkeypatch.setattr(tables_cells, "NOISY_EPISODES", 2)
    monkeypatch.setattr(policies, "ROUNDS", 2)
    monkeypatch.setattr(policies, "DEMONSTRATIONS", 3)
    monkeypatch.setattr(policies, "IMITATION", ImitationOptions(2, steps=4, batch=5))
    monkeypatch.setattr(tables, "compute", Computer())


def small_preset(name: str, env: str) -> Config:
    """`CONFIG`; of MODEL with another step size, and so not the default."""
    rate = CONFIG.optimiser.learning_rate * (0.9 if name == MODEL else 1.0)
    optimiser = dataclasses.replace(CONFIG.optimiser, learning_rate=rate)
    return dataclasses.replace(CONFIG, env=env, optimiser=optimiser)


class Computer:
    """Computes cells here, one after the other, in place of `cells.compute`."""

    def __init__(self, stopped_after: int | None = None) -> None:
        self.names: list[str] = []
        self.stopped_after = stopped_after

    def __call__(self, module: str, names: Sequence[str], jobs: int, *options: str) -> list[str]:
        assert module == "benchmarks.tables"
        for name in names:
            if len(self.names) == self.stopped_after:
                raise KeyboardInterrupt
            self.names.append(name)
            Tables(cell=name, keep_runs="--keep-runs" in options)()
        return []


def measure(monkeypatch: pytest.MonkeyPatch, computer: Computer, **options: Any) -> list[str]:
    monkeypatch.setattr(tables, "compute", computer)
    Tables(**options)()
    return computer.names


def content(cell: Cell) -> dict[str, Any]:
    return store.read(path_of(cell))


def path_of(cell: Cell) -> Path:
    return cell.stored(store.MEASURED).path


# --------------------------------------------------------------------------------------- measure


def test_where_a_preset_is_the_default_its_cells_are_the_default_s() -> None:
    asked = Tables(
        tasks=("swing_up", "planar"), methods=("default", "ordinary"), seeds=(5,)
    ).asked()
    own = Cell("planar", "ordinary", 5)
    assert asked == [Cell("swing_up", "default", 5), Cell("planar", "default", 5), own]
    assert Cell.named("swing_up:ordinary:5") == asked[0]
    finished = Tables(committed=True).finished()
    assert finished["swing_up", "ordinary"] == finished["swing_up", "default"]
    assert finished["planar", "ordinary"] != finished["planar", "default"]


@pytest.mark.usefixtures("small")
def test_a_cell_holds_all_that_was_measured_and_its_run_is_gone() -> None:
    cell = Cell("planar", MODEL, 0)
    Tables(cell=cell.name)()
    found = content(cell)
    assert [found[key] for key in ("task", "method", "seed")] == ["planar", MODEL, 0]
    assert found["env"] == "E2C/Planar-v0"
    assert found["config"]["optimiser.steps"] == 6
    assert found["config"]["env"] == "E2C/Planar-v0"
    assert "evaluation.seed" not in found["config"]
    assert found["transitions"] == 50 + 2 * STEPS
    assert found["steps"] == 6 + 4
    assert found["open_loop_error"] == [0.5, 0.75]
    assert len(found["episodes"]) == 3
    assert found["time_in_goal"] == pytest.approx(np.mean(found["episodes"]))
    assert set(found["noise"]) == {"1", "2", "5"}
    assert all(len(noisy["episodes"]) == 2 for noisy in found["noise"].values())
    assert {"collect", "train", "own", "evaluate", "total"} <= set(found["seconds"])
    assert {"commit", "versions", "machine"} <= set(found)
    assert found["horizon"] == CONFIG.planner.horizon
    assert found["read"]["places"] <= 1
    assert found["read"]["velocities"] is None
    assert np.shape(found["latent_map"]["points"]) == (400, 3)
    assert np.shape(found["latent_map"]["states"]) == (400, 2)
    assert not cell.folder.exists()


@pytest.mark.usefixtures("small")
def test_latent_maps_are_of_the_first_seed_and_perturbed_starts_of_balance() -> None:
    cell = Cell("balance", MODEL, 1)
    Tables(cell=cell.name, keep_runs=True)()
    found = content(cell)
    assert "latent_map" not in found
    assert "noise" not in found
    assert len(found["perturbed"]["episodes"]) == 3
    assert runs.finished(cell.folder)


@pytest.mark.parametrize(
    ("method", "played", "stepped"), [("local", 3 * 3 * 4 * STEPS, 0), ("cvae", 3 * STEPS, 4)]
)
@pytest.mark.usefixtures("small")
def test_a_policy_is_a_row_like_any_other(method: str, played: int, stepped: int) -> None:
    cell = Cell("planar", method, 1)
    Tables(cell=cell.name)()
    found = content(cell)
    assert found["transitions"] == 50 + 2 * STEPS + played, "three goals, or three demonstrations"
    assert found["steps"] == 6 + 4 + stepped
    assert len(found["episodes"]) == 3
    assert all(len(found["noise"][std]["episodes"]) == 2 for std in ("1", "2", "5"))
    assert np.isfinite(found["cost"])
    assert {"policy", "train", "evaluate", "total"} <= set(found["seconds"])
    assert not {"open_loop_error", "latent_map"} & set(found)
    assert found["config"]["optimiser.steps"] == 6
    assert found["options"]["policy"] == json.loads(json.dumps(POLICIES[method]))
    assert not cell.folder.exists()


@pytest.mark.usefixtures("small")
def test_a_policy_stands_on_the_model_of_the_default_and_plays_its_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A policy that is the agent itself scores as the default does."""
    stood: list[Agent] = []

    def agent_itself(method: str, agent: Agent, seed: int) -> policies.Made:
        stood.append(agent)
        assert (method, seed) == ("cvae", 3)
        return policies.Made(agent, 0, 0)

    monkeypatch.setattr(policies, "make", agent_itself)
    one, other = Cell("planar", "default", 3), Cell("planar", "cvae", 3)
    Tables(cell=one.name, keep_runs=True)()
    Tables(cell=other.name)()
    ours, theirs = content(one), content(other)
    for key in ("time_in_goal", "success_rate", "episodes", "cost", "noise", "transitions"):
        assert ours[key] == theirs[key], key
    trained = load_agent(one.folder).model.state_dict()
    for name, weights in stood[0].model.state_dict().items():
        assert torch.equal(weights, trained[name]), name


@pytest.mark.usefixtures("small")
def test_where_runs_are_kept_policies_take_the_default_s_if_it_is_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trains(cell: Cell, keep: bool) -> bool:
        begun: list[Path] = []
        train = run.train

        def counted(recipe: Recipe, folder: Path) -> Any:
            begun.append(folder)
            return train(recipe, folder)

        with monkeypatch.context() as patch:
            patch.setattr(run, "train", counted)
            Tables(cell=cell.name, keep_runs=keep)()
        return begun == [cell.folder]

    assert trains(Cell("reach", "default", 0), keep=True)
    assert not trains(Cell("reach", "cvae", 0), keep=True)
    assert trains(Cell("reach", "cvae", 0), keep=False), "which nobody is to keep"
    assert Cell("reach", "default", 0).folder.exists()
    monkeypatch.setattr(tables_cells, "preset", lambda name, env: other_steps(env))
    assert trains(Cell("reach", "local", 0), keep=True), "the kept one has another recipe"


def other_steps(env: str) -> Config:
    return dataclasses.replace(
        CONFIG, env=env, optimiser=dataclasses.replace(CONFIG.optimiser, steps=5)
    )


def test_a_file_of_other_options_is_no_result_of_a_policy(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("planar", "local", 0)
    cell.stored(places).keep({"seed": 0})
    assert cell.stored(places).found() is not None
    monkeypatch.setitem(POLICIES, "local", POLICIES["local"] | {"rounds": (9, 9)})
    assert cell.stored(places).found() is None
    assert "policy" not in Cell("planar", "default", 0).stored(places).options


def test_a_task_is_played_as_it_is_and_as_its_tables_ask() -> None:
    played: list[tuple[Disturbance, int]] = []

    def play(disturbance: Disturbance, count: int) -> dict[str, Any]:
        played.append((disturbance, count))
        return {}

    for task in ("balance", "swing_up", "arm"):
        tables_cells._scores(task, play)
    assert played == [
        *((Disturbance(), 10), (Disturbance(perturbed=True), 10)),
        (Disturbance(), 10),
        *((Disturbance(state_noise=std), 20) for std in (1, 2)),
        (Disturbance(), 10),
    ]


@pytest.mark.usefixtures("small")
def test_rows_without_training_play_the_models_starts() -> None:
    for method, episodes in (("random", 30), ("zero", 3), ("oracle", 3)):
        Tables(cell=f"balance:{method}:0")()
        found = content(Cell("balance", method, 0))
        assert len(found["episodes"]) == episodes
        assert len(found["perturbed"]["episodes"]) == episodes
    zero = content(Cell("balance", "zero", 0))
    assert zero["time_in_goal"] == 1.0, "it starts upright"


@pytest.mark.usefixtures("small")
def test_repeats_have_the_models_starts_and_the_first_has_their_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Zero controls, so that only starts and noise can differ."""
    played: list[Episodes] = []
    play = rollout

    def keep(*arguments: Any, **options: Any) -> Episodes:
        played.append(play(*arguments, **options))
        return played[-1]

    monkeypatch.setattr(tables_cells, "rollout", keep)
    monkeypatch.setattr(tables_cells, "UNTRAINED", {"zero": 2})
    disturbance = Disturbance(state_noise=5)
    tables_cells._played_untrained(Cell("planar", "zero", 0), disturbance, 3)
    world = disturbance.world(problem_spec(make_world("E2C/Planar-v0")), 3, START_SEED)
    model = evaluate(world, Zero(world), START_SEED).episodes
    first, second = (episodes.states for episodes in played)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, model.states)
    same = (first == second).all(1).reshape(3, STEPS + 1)
    assert same[:, 0].all()
    assert not same[:, 1:].any()


@pytest.mark.usefixtures("small")
def test_a_stopped_benchmark_goes_on_and_computes_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {
        "tasks": ("planar", "reach"),
        "methods": ("zero", MODEL),
        "seeds": (0, 1),
    }
    with pytest.raises(KeyboardInterrupt):
        measure(monkeypatch, Computer(stopped_after=3), **options)
    first = path_of(Cell("planar", MODEL, 0)).read_bytes()
    again = measure(monkeypatch, Computer(), **options)
    assert again == [f"reach:{MODEL}:0", f"planar:{MODEL}:1", f"reach:{MODEL}:1"]
    assert path_of(Cell("planar", MODEL, 0)).read_bytes() == first
    assert measure(monkeypatch, Computer(), **options) == []
    assert measure(monkeypatch, Computer(), committed=True) == []


@pytest.mark.usefixtures("small")
def test_a_cell_that_was_killed_while_it_was_evaluated_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell("reach", MODEL, 0)
    with monkeypatch.context() as patch:
        patch.setattr(tables_cells, "_scores", lambda task, play: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Tables(cell=cell.name)()
    assert not path_of(cell).exists()
    monkeypatch.setattr(run, "train", lambda *recipe: pytest.fail("trained again"))
    Tables(cell=cell.name)()
    assert content(cell)["steps"] == 6 + 4


@pytest.mark.usefixtures("places")
def test_cells_are_taken_seed_by_seed_and_rows_without_training_once() -> None:
    asked = Tables(tasks=("arm", "planar"), methods=("oracle", MODEL), seeds=(0, 1)).asked()
    assert [cell.name for cell in asked] == [
        *("arm:oracle:0", f"arm:{MODEL}:0", "planar:oracle:0", f"planar:{MODEL}:0"),
        *(f"arm:{MODEL}:1", f"planar:{MODEL}:1"),
    ]
    everything = len(TASKS) * (len(UNTRAINED) + 10 * (len(PRESETS) + len(POLICIES)))
    twice = 10  # `ordinary` is the default on swing-up
    assert len(Tables().asked()) == everything - twice


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tasks": ("planr",)}, "There is no task 'planr'; did you mean planar[?]"),
        ({"methods": ("orakel",)}, "There is no method 'orakel'; did you mean oracle[?]"),
        ({"methods": ("cave",)}, "There is no method 'cave'; did you mean cvae[?]"),
        ({"tasks": ("chess",)}, "There is no task 'chess'; known: swing_up, .*, all[.]"),
        ({"cell": "planar:orakel:0"}, "There is no method 'orakel'; did you mean oracle[?]"),
        ({"cell": "planar:default"}, "--cell is 'planar:default'; it must be TASK:METHOD:SEED"),
        ({"cell": "planar:default:-1"}, "it must be TASK:METHOD:SEED, like planar:default:0[.]"),
        ({"seeds": ()}, "--seeds names none; give at least one[.]"),
        ({"jobs": 0, "methods": ("zero",)}, "--jobs is 0; it must be at least 1[.]"),
    ],
)
@pytest.mark.usefixtures("places")
def test_what_there_is_not_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(E2CError, match=sentence):
        Tables(**options)()


# ----------------------------------------------------------------------------------------- cells


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a benchmark whose cells do what ``body`` says."""
    (folder / "some_cells.py").write_text(f"import os, signal, sys, time\n{body}")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "some_cells"


def test_cells_are_computed_apart_and_those_that_fail_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name = module(
        tmp_path,
        monkeypatch,
        f"open({str(tmp_path)!r} + '/' + sys.argv[2], 'w').write(' '.join(sys.argv[3:]))\n"
        "if sys.argv[2] == 'b': raise ValueError('what b met')\n",
    )
    assert cells.compute(name, ["a", "b", "c"], 2, "--option") == ["b"]
    assert (tmp_path / "c").read_text() == "--option"
    told = capfd.readouterr().err
    assert told.count(" begun\n") == 3
    assert told.count(" finished after ") == 2
    assert "b failed with status 1" in told
    assert "what b met" in told
    with pytest.raises(E2CError, match="These cells failed: b; run the command again"):
        cells.complain(["b"])
    cells.complain([])


def test_whoever_stops_the_benchmark_stops_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(
        tmp_path,
        monkeypatch,
        "def stop(*_):\n"
        f"    open({str(tmp_path)!r} + '/stopped_' + sys.argv[2], 'w').close()\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n",
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom benchmarks.cells import compute\nfrom e2c.errors import run_command\n"
        f"os.environ['PYTHONPATH'] = '{tmp_path}:{ROOT}'\n"
        f"run_command(lambda: compute({name!r}, ['first', 'second'], 1))"
    )
    done = Script(str(script)).wait()
    assert done.returncode == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.glob("stopped_*")] == ["stopped_first"]
    assert "second begun" not in done.stderr


def test_a_cell_that_begins_while_others_are_stopped_is_stopped(
    monkeypatch: pytest.MonkeyPatch, press_ctrl_c: Callable[[], None]
) -> None:
    told, ended = list[str](), threading.Event()

    class Beginning(contextlib.nullcontext[None]):
        """A process during whose start Ctrl-C is pressed."""

        returncode = 1

        def __init__(self, *_: Any, **__: Any) -> None:
            press_ctrl_c()
            time.sleep(0.2)

        def __enter__(self) -> Any:
            return self

        def terminate(self) -> None:
            told.append("terminated")

        def communicate(self) -> tuple[str, str]:
            told.append("waited for")
            ended.set()
            return "", ""

    monkeypatch.setattr(subprocess, "Popen", Beginning)
    with pytest.raises(KeyboardInterrupt):
        cells.compute("none", ["first", "second"], 1)
    assert ended.wait(10)  # where it was pressed while the thread began, nobody waits for that
    assert told == ["terminated", "waited for"]


# ------------------------------------------------------------------------------------------ tell


def synthetic(task: str, method: str, seed: int, share: float) -> None:
    """Write a cell as one that was computed would be."""
    scores: dict[str, Any] = {
        "success_rate": share / 2,
        "cost": 3 / share,
        "time_in_goal": share,
        "episodes": [share, 0],
    }
    found = {"task": task, "method": method, "seed": seed, **scores}
    if task == "balance":
        found["perturbed"] = {**scores, "time_in_goal": share / 4}
    if task in NOISE:
        found["noise"] = {
            str(std): {**scores, "success_rate": share / (2 + std)} for std in NOISE[task]
        }
    if method in POLICIES:
        found |= {"seconds": {"train": 90.0, "policy": 7.0}, "transitions": 4321, "steps": 8765}
    if method in PRESETS:
        states = np.random.default_rng(7).uniform(-3, 3, (11, 2))
        found |= {
            "seconds": {"collect": 1.0, "train": 90.0 + seed, "own": 2.0, "evaluate": 999.0},
            "transitions": 1234,
            "steps": 5678,
            "open_loop_error": [0.125 * (seed + 1) ** 2, 0.25, 0.5],
            "horizon": 6,
            "read": Read(1.0 if method == "default" else 0.8, None, 0.9)._asdict(),
            "latent_map": {"points": np.hypot(states, 1).tolist(), "states": states.tolist()},
        }
    store.write(Cell(task, method, seed).stored(store.COMMITTED).path, found)


def rows(text: str) -> dict[str, dict[str, list[str]]]:
    """Parse tables: heading -> row -> its cells."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            found[line[2:]] = table = {}
        elif line.startswith("| "):
            name, *texts = (part.strip() for part in line[1:-1].split("|"))
            table[name] = texts
    return found


def test_a_share_is_summarised_over_models() -> None:
    shares = [0.5, 0.75, 0.625, 0.25]
    found = Share.of(shares)
    assert found.mean == pytest.approx(100 * np.mean(shares))
    assert found.error == pytest.approx(100 * np.std(shares, ddof=1) / np.sqrt(4))
    assert (found.models, found.best) == (4, 75.0)
    assert Share.of([0.25]) == Share(25.0, None, 1, 25.0)


@pytest.mark.usefixtures("places")
def test_the_tables_say_what_was_measured_and_leave_the_rest_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, share in enumerate((0.5, 0.7)):
        synthetic("balance", MODEL, seed, share)
    synthetic("planar", "random", 0, 0.125)
    Tables(committed=True)()
    text = capsys.readouterr().out
    scored, reached, settled, _, failed, costs = rows(text).values()
    names = list(SCORED)
    assert scored[""] == names
    model = dict(zip(names, scored[MODEL], strict=True))
    assert model["balance"] == "**60.0** ± 10.0 (2, best 70.0)"
    assert model["balance, perturbed"] == "**15.0** ± 2.5 (2, best 17.5)"
    assert set(scored[MODEL]) == {"", model["balance"], model["balance, perturbed"]}
    assert scored["random"][names.index("planar")] == "**12.5**"
    assert "zero" not in scored
    assert scored["solar"][names.index("reach")] == "PCC/PC3: 35.4 ± 1.9"
    for noisy, none, two in ((settled, "**6.2**", "**3.1**"), (reached, "**50.0**", "**50.0**")):
        noise = dict(zip(noisy[""], noisy["random"], strict=True))
        assert (noise["planar, 0"], noise["planar, 2"], noise["arm, 0"]) == (none, two, "")
    assert dict(zip(costs[""], costs[MODEL], strict=True))["balance"] == "94 s, 1,234, 5,678"
    assert set(failed) == {""}
    synthetic("reach", "local", 0, 0.25)
    scored, *_, costs = rows(markdown(Tables(committed=True).finished())).values()
    assert scored["local"][names.index("reach")] == "**25.0**"
    assert dict(zip(costs[""], costs["local"], strict=True))["reach"] == "97 s, 4,321, 8,765"


@pytest.mark.usefixtures("places")
def test_models_that_failed_are_told() -> None:
    synthetic("balance", "default", 0, 1.0)
    synthetic("balance", MODEL, 0, 0.5)
    synthetic("balance", MODEL, 1, 1.0)
    failed = rows(markdown(Tables(committed=True).finished()))["Models that failed, and why"]
    assert set(failed["default"]) == {"", "0 of 1"}
    assert set(failed[MODEL]) == {"", "1 of 2: 1 folded"}


@pytest.mark.usefixtures("compared")
def test_published_figures_stand_beside_the_measured() -> None:
    synthetic("planar", "pcc", 0, 0.5)
    synthetic("cart_pole", "oracle", 0, 1.0)
    synthetic("cart_pole", "e2c", 0, 0.5)
    synthetic("cart_pole", "e2c", 1, 0.25)
    scored, noisy, _, trials, *_ = rows(markdown(Tables(committed=True).finished())).values()
    assert "**50.0**<br>PCC/PC3: 56.6 ± 3.15 (10, best 75.5)" in scored["pcc"]
    assert "**50.0** ± 0.0 (2, best 50.0)<br>RCE: 85" in noisy["e2c"]
    tried = dict(zip(trials[""], trials["e2c"], strict=True))
    assert tried["cart_pole, cost"] == "**300.0** ± 100.0 (2, best 200.0)<br>E2C: 145"
    assert tried["cart_pole, success"] == "**18.8** ± 6.2 (2, best 25.0)<br>E2C: 93"
    assert tried["arm, cost"] == "E2C: 152"
    assert trials["oracle"][:2] == ["**100.0**<br>E2C: 100", "**50.0**<br>E2C: 100"]


def test_published_figures_are_typed_once_and_of_tasks_there_are() -> None:
    tables_of_success = [entry[:3] for entry in published.SUCCESS]
    assert len(set(tables_of_success)) == len(tables_of_success)
    assert {task for _, task, _ in tables_of_success} <= set(TASKS)
    assert {task for task, _ in published.TIME_IN_GOAL} <= set(SCORED)
    assert {task for task, _ in published.TRIALS} <= set(TASKS)
    assert {method for _, method in published.TRIALS} <= {*METHODS, published.TRUE_MODEL}
    methods = {method for _, _, method in tables_of_success}
    methods |= {method for _, method in published.TIME_IN_GOAL}
    assert methods - {"solar"} <= set(METHODS)
    sources = {source for source, *_ in published.SUCCESS}
    sources |= {share.source for share in published.TIME_IN_GOAL.values()}
    sources |= {share.source for share in published.trial("arm", "e2c").values()}
    assert sources == set(published.SOURCES)


# ------------------------------------------------------------------------------------------ draw


@pytest.mark.usefixtures("compared")
def test_what_was_measured_is_drawn() -> None:
    for task in ("planar", "balance", "swing_up"):
        synthetic(task, "oracle", 0, 0.9)
        synthetic(task, "cvae", 0, 0.75)
        for method in ("e2c", "pcc", MODEL):
            for seed in range(1 if method == MODEL else 3):
                synthetic(task, method, seed, 0.25 * (seed + 1))
    Tables(committed=True)()
    assert {path.name for path in store.DOCS.iterdir()} == {
        f"tables_{name}.png" for name in ("scores", "noise", "open_loop", "latents")
    }
    drawn = tables.draw(Tables(committed=True).finished())
    scores = {axes.get_title("left"): axes for axes in drawn["tables_scores"].axes}
    assert set(scores) == {"planar", "balance", "balance, perturbed", "swing_up", ""}
    ticks = [label.get_text() for label in scores["swing_up"].get_yticklabels()]
    assert ticks == [MODEL, "e2c", "pcc", "cvae"]
    noisy = drawn["tables_noise"].axes[0].get_legend_handles_labels()[1]
    assert "cvae" in noisy
    assert "cvae" not in drawn["tables_open_loop"].axes[0].get_legend_handles_labels()[1]
    curve = next(
        line
        for line in drawn["tables_open_loop"].axes[0].lines
        if line.get_color() == figures._look("e2c")["color"]
    )
    np.testing.assert_array_equal(curve.get_ydata(), [0.5, 0.25, 0.5])


@pytest.mark.usefixtures("places")
def test_nothing_is_drawn_of_nothing() -> None:
    assert tables.draw({}) == {}


def test_methods_are_told_apart() -> None:
    looks = [tuple(figures._look(method).values()) for method in (*PRESETS, *POLICIES)]
    assert len(set(looks)) == len(looks)
