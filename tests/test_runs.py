"""A run that is interrupted anywhere ends as if it had not been; nobody disturbs a run at work."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import STEPS, Script
from tiny import CONFIG, ENV, TYPED, leave_undrawn, shorten_runs

from benchmarks.kills import untimed
from e2c.commands import train_command
from e2c.config import Config, DataConfig, EvaluationConfig, Recipe, with_method
from e2c.control.agent import Agent
from e2c.control.goals import content_hash
from e2c.data import episodes as dataset
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation import evaluate
from e2c.files import runs
from e2c.files.tensors import read_tensors, write_tensors
from e2c.learning import begin, own, state
from e2c.learning import run as learning
from e2c.learning.collect import collect_transitions
from e2c.learning.trainer import Trainer
from e2c.models import checkpoint
from e2c.options import from_dict
from envs.pendulum import PendulumSwingUp

RECIPE = Recipe(CONFIG, seed=3)


@pytest.fixture(scope="module", autouse=True)
def _short() -> Any:
    """Short episodes, no drawing; a state is kept and written at every second step.

    A model has one round to show the goal.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(begin, "PATIENCE", 1)
        shorten_runs(patch, STEPS)
        leave_undrawn(patch)
        patch.setattr(learning, "KEEP_EVERY", 2)
        patch.setattr(learning, "LOG_EVERY", 2)
        patch.setattr(learning, "SAVE_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    learning.train(RECIPE, folder)
    return folder


def interrupt_and_go_on(
    recipe: Recipe, folder: Path, owner: Any, name: str, call: int, late: bool
) -> None:
    calls, original = itertools.count(1), getattr(owner, name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        stop = next(calls) == call
        if stop and not late:
            raise KeyboardInterrupt
        found = original(*arguments, **options)
        if stop:
            raise KeyboardInterrupt
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            learning.train(recipe, folder)
    if not runs.finished(folder):
        assert not learning.train(recipe, folder).model.training


DATA = dataclasses.replace(CONFIG.data, rounds=2, keep="best")
CHOOSY = Recipe(dataclasses.replace(CONFIG, data=DATA), seed=4)
"""A run that keeps the best of three models."""


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a run, whose candidates are left where they are."""
    folder = tmp_path_factory.mktemp("chosen") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "end", lambda folder: (folder / runs.STATE).unlink())
        learning.train(CHOOSY, folder)
    return folder


def test_the_model_that_came_nearest_to_the_goal_without_noise_is_kept(chosen: Path) -> None:
    """Nearest as the last one sees them; it is judged by a round that it plays at the end."""
    kept = json.loads((chosen / runs.SUMMARY).read_text())["kept"]
    played = [dataset.load(chosen / "data" / f"round_{k}.npz") for k in (1, 2, 3)]
    models = [checkpoint.load(chosen / runs.CANDIDATES / f"round_{k}")[0] for k in (1, 2, 3)]
    last = models[-1]
    goal = last.encode(PendulumSwingUp().goal_observation()).mean
    for episodes, told in zip(played, kept["distances_to_goal"], strict=True):
        episodes = next(episodes.split())
        away = last.encode(episodes.planes()).mean - goal
        distance = away.square().sum(-1).mean() / last.latent_variance
        assert told == pytest.approx(distance.item(), rel=1e-5)
    assert kept["after_round"] == int(np.argmin(kept["distances_to_goal"])) < 2, "choose a seed"
    found, wanted = checkpoint.load(chosen)[0], models[kept["after_round"]]
    for name, value in wanted.encoder.state_dict().items():
        assert torch.equal(found.encoder.state_dict()[name], value)
    summary = json.loads((chosen / runs.SUMMARY).read_text())
    assert summary["transitions"] == sum(d.transitions for d in played) + 50


def test_the_first_own_episode_has_no_noise_where_the_best_model_is_kept(chosen: Path) -> None:
    model, config, spec = checkpoint.load(chosen)
    agent = Agent(model, spec, config.planner)
    still, noisy = (
        list(own.play(agent, dataclasses.replace(DATA, exploration=noise), 4, 1).split())
        for noise in (0.0, 0.5)
    )
    apart = [abs(a.actions - b.actions).max() for a, b in zip(still, noisy, strict=True)]
    assert apart[0] == 0 < min(apart[1:])


def test_a_candidate_that_is_gone_is_told_with_the_run_to_remove(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "distance_to_goal", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(CHOOSY, folder)
    shutil.rmtree(folder / runs.CANDIDATES / "round_2")
    with pytest.raises(E2CError, match=r"round_2, one of the models .* remove \S+run and train"):
        learning.train(CHOOSY, folder)


LOST = Recipe(
    dataclasses.replace(
        CONFIG,
        data=DataConfig(20, noise="white", rounds=4, own_length=10),
        optimiser=dataclasses.replace(CONFIG.optimiser, dynamics_steps_per_round=0),
    ),
    seed=3,
)
"""A run whose agent never shows the goal: it begins anew in the first of the two rounds left."""


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost") / "whole"
    learning.train(LOST, folder)
    return folder


def test_where_no_own_episode_shows_the_goal_training_begins_anew(lost: Path) -> None:
    told, options = json.loads((lost / runs.SUMMARY).read_text()), CONFIG.optimiser
    assert told["began_anew_in_round"] == 1
    assert told["steps"] == 2 * options.steps + options.steps_per_round


def test_but_not_before_a_model_has_had_its_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begin, "PATIENCE", 2)
    assert learning.train(LOST, tmp_path / "run").anew_round is None


PLACES = [
    *(("ended", Trainer, "_update", call, False) for call in (1, 4, 10)),
    *(("ended", begin, "save_state", call, late) for call in (1, 3) for late in (False, True)),
    ("ended", own, "rollout", 1, False),
    *(("ended", evaluate, "rollout", call, False) for call in (1, 2)),
    ("ended", Episodes, "save", 2, True),
    ("ended", checkpoint, "save", 1, True),
    ("ended", runs, "write_recipe", 1, True),
    ("ended", learning, "write_json", 1, True),
    ("ended", learning, "write_report", 1, True),
    *(("chosen", checkpoint, "save", call, late) for call in (3, 4) for late in (False, True)),
    ("chosen", Episodes, "save", 4, True),
    ("chosen", own, "distance_to_goal", 2, False),
    ("chosen", learning, "write_report", 1, True),
    *(("lost", Trainer, "_update", call, False) for call in (7, 10, 13)),
    ("lost", learning, "begin_anew", 1, True),
    ("lost", begin, "save_state", 5, True),
]
"""Which run is interrupted where, at which of its calls, and whether when it is over."""


@pytest.mark.parametrize(("kind", "owner", "name", "call", "late"), PLACES)
def test_a_run_interrupted_anywhere_ends_as_if_it_had_not_been(
    kind: str, owner: Any, name: str, call: int, late: bool, tmp_path: Path, request: Any
) -> None:
    whole = untimed(request.getfixturevalue(kind))
    recipe = {"ended": RECIPE, "chosen": CHOOSY, "lost": LOST}[kind]
    interrupt_and_go_on(recipe, tmp_path / "run", owner, name, call, late)
    there = untimed(tmp_path / "run")
    assert there == {path: told for path, told in whole.items() if runs.CANDIDATES not in path}
    assert not (tmp_path / "run" / runs.STATE).exists()


def test_one_of_two_side_by_side_may_begin_anew(
    lost: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = own.missed

    def missed(played: list[Episodes], goal: Any) -> bool:
        return played[0].provenance["seed"] == LOST.seed and found(played, goal)

    monkeypatch.setattr(own, "missed", missed)
    folders = [tmp_path / "other", tmp_path / "run"]
    other, run = learning.train_side_by_side([dataclasses.replace(LOST, seed=4), LOST], folders)
    assert (other.anew_round, run.anew_round) == (None, 1)
    assert other.trainer.step == run.trainer.step - CONFIG.optimiser.steps + 4
    same = "checkpoint.safetensors"
    assert (tmp_path / "run" / same).read_bytes() == (lost / same).read_bytes()


def test_a_run_that_was_taken_up_says_so(ended: Path, tmp_path: Path) -> None:
    assert json.loads((ended / runs.SUMMARY).read_text())["resumed"] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_finish", lambda *_: exec("raise KeyboardInterrupt"))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                learning.train(RECIPE, tmp_path / "run")
    run = learning.train(RECIPE, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / runs.SUMMARY).read_text())
    assert summary["resumed"] == 2
    assert len(summary["sessions"]) == 3
    assert run.seconds["total"] > sum(run.seconds[part] for part in ("train", "own")) > 0


def test_data_that_changed_meanwhile_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_learn", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(RECIPE, folder)
    collect_transitions(ENV, 48, 5, 8).save(folder / "data" / "first.npz")
    with pytest.raises(E2CError, match=r"first.npz is not what this run was trained on; remove"):
        learning.train(RECIPE, folder)


def test_data_files_that_changed_since_are_refused_when_a_run_is_repeated(tmp_path: Path) -> None:
    """The configuration of a run knows the hashes of what it was trained on."""
    path, folder = tmp_path / "data.npz", tmp_path / "run"
    collect_transitions(ENV, 48, 5, 8).save(path)
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, rounds=0))
    recipe = Recipe(config, seed=3, data=(str(path),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_learn", lambda run: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(recipe, folder)
    repeated = runs.read_recipe(folder / runs.CONFIG)
    assert repeated.data_sha256 == (dataset.load(path).content_hash,)
    assert runs.differences(folder, recipe) == [], "the same command goes on with the run"
    collect_transitions(ENV, 48, 5, 9).save(path)
    with pytest.raises(E2CError, match="is not what this configuration was trained on: its hash"):
        learning.train(repeated, tmp_path / "again")


def test_a_goal_that_changed_since_is_refused_when_a_run_is_repeated(tmp_path: Path) -> None:
    path, folder = tmp_path / "goal.npy", tmp_path / "run"
    goal = np.arange(2 * 48 * 48).astype(np.uint8).reshape(2, 48, 48)
    np.save(path, goal)
    recipe = dataclasses.replace(RECIPE, goal=str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_learn", lambda run: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(recipe, folder)
    repeated = runs.read_recipe(folder / runs.CONFIG)
    assert repeated.goal_sha256 == content_hash(goal)
    assert runs.differences(folder, recipe) == [], "the same command goes on with the run"
    np.save(path, goal + 1)
    with pytest.raises(E2CError, match=r"goal\.npy is not what .*; put the file back, or give"):
        learning.train(repeated, tmp_path / "again")


def test_the_folder_of_another_recipe_is_refused(ended: Path) -> None:
    before = untimed(ended)
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, rounds=2))
    for recipe, told in (
        (dataclasses.replace(RECIPE, seed=4), "seed is 3, not 4"),
        (dataclasses.replace(RECIPE, threads=2), "threads is 1, not 2"),
        (dataclasses.replace(RECIPE, config=config), "config.data.rounds is 1, not 2"),
    ):
        with pytest.raises(E2CError, match=rf"another recipe \({told}\); choose another --out"):
            learning.train(recipe, ended)
    assert untimed(ended) == before


def test_a_run_that_has_ended_is_never_written_over(ended: Path) -> None:
    before = {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()}
    with pytest.raises(E2CError, match="has ended; choose another --out"):
        learning.train(RECIPE, ended)
    assert {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()} == before


def test_the_recipe_in_the_folder_is_the_run(ended: Path) -> None:
    assert runs.read_recipe(ended / runs.CONFIG) == RECIPE
    summary = json.loads((ended / runs.SUMMARY).read_text())
    assert from_dict(summary["config"], Config) == CONFIG


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with runs.claimed(folder, RECIPE):
        done = Script("train.py", "--out", str(folder), *TYPED).wait()
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"Another process is working on {folder}" in done.stderr
    assert not folder.exists(), "nothing was written, so nothing stays"


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "data").mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        f".film.{dead.pid}.tmp.mp4",
        f"data/.first.{dead.pid}.tmp.npz",
        f".state.{dead.pid}.tmp",
    ]
    kept = [f".film.{os.getpid()}.tmp.mp4", "notes.tmp", ".mine.tmp.txt"]
    for name in names + kept:
        (folder / name).write_text("half")
    with runs.claimed(folder, RECIPE):
        left = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert left == {*kept, "data", runs.LOCK}


def test_a_mistake_before_the_run_begins_leaves_no_folder(tmp_path: Path) -> None:
    """Nor are data collected before the model and its objective are known to be right."""
    unknown = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, method="pc4"))
    for config, told in ((unknown, "pc4"), (with_method(CONFIG, "pc3"), "one step; got 3")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(begin, "collect_transitions", None)
            with pytest.raises(E2CError, match=told):
                learning.train(Recipe(config), tmp_path / "run")
    with pytest.raises(E2CError, match="There is no file"):
        learning.train(dataclasses.replace(RECIPE, data=("none.npz",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be a mapping; got None"),
        ("seed: -1", "seed is -1; it must be at least 0"),
        ("sed: 1", "Unknown configuration key sed; did you mean seed?"),
        ("config: {data: {fresh: 0.5}}", "if an older version wrote the file, remove or rename th"),
        ("data: [3]", "data is [3]; it must be a list of texts."),
        ("data: a.npz", "data is 'a.npz'; it must be a list of texts."),
        ("config: {model: {latent_dim: many}}", "config.model.latent_dim is 'many'"),
        ("seed: [", "is not readable as YAML"),
        ("seed: " + "[" * 5000, "is not readable as YAML"),
        ("- " * 20000, "is not readable as YAML (it is nested too deeply); correct it."),
        ("!!python/object/apply:os.system ['true']", "is not readable as YAML"),
        ("#" * runs.MAX_CONFIG_BYTES + "\n", "a configuration has fewer"),
    ],
)
def test_a_configuration_file_is_checked(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(E2CError) as caught:
        runs.read_recipe(tmp_path / "config.yaml")
    assert told in str(caught.value)
    assert "config.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["seed: !!bool maybe", "seed: !!int ''", "seed: !!timestamp x", "seed: 0x" + "f" * 9999]
)
def test_what_the_reader_of_yaml_stumbles_over_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(E2CError, match=r"config\.yaml is not readable as YAML \(.*; correct it\.$"):
        runs.read_recipe(tmp_path / "config.yaml")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted when its first phase was done."""
    folder = tmp_path_factory.mktemp("runs") / "begun"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_play", lambda run: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(RECIPE, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("phase", -1),
        ("phase", 1.0),
        ("phase", True),
        ("rows", -1),
        ("rows", "7"),
        ("rows", 7),
        ("data", []),
        ("data", ["x"]),
        ("data", {"first": "x"}),
        ("seconds", {"total": "x"}),
        ("sessions", [3]),
        ("sessions", None),
        ("training", {}),
        ("more", 1),
        ("step", -1),
        ("done", -(10**9)),
        ("scale", 0),
        ("scale", 1.5),
        ("recoveries", [{}]),
    ],
)
def test_a_state_in_which_no_run_can_be_is_refused(
    begun: Path, tmp_path: Path, name: str, value: Any
) -> None:
    folder = shutil.copytree(begun, tmp_path / "run")
    tensors, about = read_tensors(folder / runs.STATE, state.SCHEMA, "")
    inner = {"training": {**about["training"], name: value}}
    changed = inner if name in about["training"] else {name: value}
    write_tensors(
        folder / runs.STATE,
        tensors,
        {**about, **changed},
        state.SCHEMA,
    )
    with pytest.raises(E2CError) as caught:
        learning.train(RECIPE, folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model/goal", None),
        ("model/latent_variance", torch.ones(3)),
        ("generator/normals", torch.zeros(7, dtype=torch.uint8)),
        ("generator/batches", torch.full((5056,), 255, dtype=torch.uint8)),
        ("adam/exp_avg/encoder.net.0.bias", torch.zeros(3)),
        ("adam/exp_avg_sq/encoder.net.0.bias", None),
        ("adam/step/encoder.net.0.bias", torch.zeros(())[None]),
        ("adam/step/nothing", torch.zeros(())),
        ("surplus", torch.zeros(2)),
    ],
)
def test_the_state_of_another_model_is_refused(
    begun: Path, tmp_path: Path, name: str, tensor: torch.Tensor | None
) -> None:
    folder = shutil.copytree(begun, tmp_path / "run")
    tensors, about = read_tensors(folder / runs.STATE, state.SCHEMA, "")
    changed = {**tensors, name: tensor}
    kept = {key: value for key, value in changed.items() if value is not None}
    write_tensors(folder / runs.STATE, kept, about, state.SCHEMA)
    with pytest.raises(E2CError, match=rf"{runs.STATE} is not the state of this run .*; remove"):
        learning.train(RECIPE, folder)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_a_damaged_state_is_refused(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "_learn", lambda run: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            learning.train(RECIPE, folder)
    path = folder / runs.STATE
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-10]
    elif damage == "flipped":
        content[-10] ^= 1
    else:
        write_tensors(path, {}, {"phase": 0}, state.SCHEMA)
        content = bytearray(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(E2CError, match=rf"{runs.STATE} .*; remove .*run and train again"):
        learning.train(RECIPE, folder)


# ------------------------------------------------------------------------------------ processes


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a command, in a process of its own that nobody disturbs."""
    folder = tmp_path_factory.mktemp("runs") / "typed"
    done = Script("train.py", "--out", str(folder), *TYPED).wait()
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr, "control codes in a log"
    assert f"next: python evaluate.py {folder}" in done.stdout
    return folder


def stopped(folder: Path, number: int) -> tuple[int, str]:
    """Send a signal to a process that has just played; return its status and what it told."""
    script = Script("train.py", "--out", str(folder), *TYPED)
    while not (folder / "data" / "round_1.npz").exists():
        assert script.process.is_alive()
        time.sleep(0.002)
    os.kill(script.process.pid or 0, number)
    done = script.wait()
    return done.returncode, done.stderr


def test_a_process_that_is_killed_goes_on(typed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert stopped(folder, signal.SIGKILL)[0] == -signal.SIGKILL
    assert Script("train.py", "--out", str(folder), *TYPED).wait().returncode == 0
    assert untimed(folder) == untimed(typed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_stopped_says_that_it_goes_on(number: int, tmp_path: Path) -> None:
    status, told = stopped(tmp_path / "run", number)
    assert status == 128 + number
    assert told.endswith("e2c: Stopped; the same command goes on from here.\n")
    assert (tmp_path / "run" / runs.STATE).exists()


def test_the_command_of_a_run_that_has_ended_says_so(
    typed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = dataclasses.replace(CONFIG, evaluation=EvaluationConfig(episodes=0))
    assert runs.read_recipe(typed / runs.CONFIG) == Recipe(recipe, seed=3)
    monkeypatch.setattr("sys.argv", ["train.py", "--out", str(typed), *TYPED])
    with pytest.raises(SystemExit) as ended:
        train_command()
    assert ended.value.code == 0
    assert "this run has ended" in capsys.readouterr().out
