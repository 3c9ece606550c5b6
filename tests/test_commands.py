"""The command lines: what is typed wrongly ends with status 2 and one clear message."""

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from processes import LIGHT, python
from tiny import CONFIG, ENV, ROOT, SPEC, leave_undrawn, noise_data, shorten_runs

from e2c import commands, errors, presets
from e2c.config import Recipe
from e2c.control.goals import from_state, read_goal
from e2c.data import episodes as dataset
from e2c.evaluation.disturbances import Disturbance
from e2c.files import runs
from e2c.learning.collect import collect_transitions
from e2c.learning.run import train
from e2c.models import checkpoint
from e2c.options import to_dict
from envs.pendulum import PendulumSwingUp

Command = Callable[[], NoReturn]
COMMANDS: dict[str, Command] = {
    "collect": commands.collect_command,
    "train": commands.train_command,
    "evaluate": commands.evaluate_command,
    "demo": commands.demo_command,
    "report": commands.report_command,
}
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
TINY = [
    *("--model.encoder-hidden", "16", "--model.decoder-hidden", "16"),
    *("--objective.horizon", "3", "--objective.targets", "2", "--optimiser.steps", "2"),
    *("--optimiser.dynamics-steps", "2", "--optimiser.sight-steps", "2"),
    *("--optimiser.batch-size", "5", "--data.transitions", "20", "--data.episode-length", "5"),
    *("--data.restarts", "True", "--data.rounds", "0"),
    *("--planner.horizon", "2", "--planner.first-iterations", "1"),
    *("--evaluation.episodes", "0"),
]


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shorten_runs(patch, 6)
        leave_undrawn(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(Recipe(CONFIG, seed=3), folder / "run")
    collect_transitions(ENV, 20, 5, 0).save(folder / "data.npz")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path) -> Path:
    """An empty working folder, but for a trained ``run`` and a dataset ``data.npz``."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Outcome:
    """What a command left: its status, and what it told."""

    def __init__(self, status: object, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def command(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run a command line in this process, as a shell would."""

    def call(name: str, *arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            COMMANDS[name]()
        return Outcome(caught.value.code, *capfd.readouterr())

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


OWN = [
    ("train", ["--out", "new", "--preset", "papr"], "no preset 'papr'; choose one of: default, o"),
    ("train", ["--out", "run"], "run holds the run of another recipe (config.model.latent_dim is"),
    (
        "train",
        ["--out", "new", "--config", "none.yaml"],
        "There is no configuration file none.yaml",
    ),
    ("train", ["--out", "new", "--config", "run/config.yaml", "--preset", "paper"], "both given"),
    ("train", ["--out", "new", "--optimiser.steps", "0"], "optimiser.steps is 0; it must be at le"),
    ("train", ["--out", "new", "--optimiser.beta2", "1"], "optimiser.beta2 is 1.0; it must be at "),
    ("train", ["--out", "new", "--optimiser.clip", "nan"], "optimiser.clip is nan; it must be a f"),
    ("train", ["--out", "new", "--objective.targets", "9"], "objective.targets is 9; a roll-out"),
    ("train", ["--out", "new", "--model.pool", "5"], "model.pool is 5; it must divide the image"),
    ("train", ["--out", "new", "--model.lattices", "7"], "model.lattices is 7; it must divide"),
    ("train", ["--out", "new", "--model.decoder-hidden"], "model.decoder_hidden is empty; it mu"),
    ("train", ["--out", "new", "--seed", "-1"], "seed is -1; it must be at least 0."),
    ("train", ["--out", "new", "--seeds", "0", "-1"], "seed is -1; it must be at least 0."),
    ("train", ["--out", "new", "--threads", "-1"], "threads is -1; it must be at least 1."),
    ("train", ["--out", "new", "--device", "abacus"], "no device 'abacus' here; available: cpu"),
    ("train", ["--out", "new", "--env", "E2C/Pendulum"], "valid are: E2C/Pendulum"),
    ("train", ["--out", "new", "--data", "none.npz"], "none.npz; e2c-collect --out "),
    ("train", ["--out", "new", "--data", "run/run.json"], "run/run.json was refused: it cannot b"),
    ("train", ["--out", "new", "--data", "foreign.npz"], "foreign.npz was recorded where the env"),
    ("train", ["--out", "new", "--data", "data.npz", "foreign.npz"], "foreign.npz was record"),
    ("train", ["--out", "new", "--data", "controls.npz"], "controls.npz was recorded where the n"),
    ("train", ["--out", "new", "--data", "data.npz"], "longest has 5 steps and objective.horizo"),
    ("train", ["--out", "data.npz/run", *TINY], "data.npz"),
    ("collect", ["--out", "new.csv"], "--out is new.csv; its name must end in .npz."),
    ("collect", ["--out", "new.npz", "--transitions", "0"], "--transitions is 0; it must be at l"),
    ("collect", ["--out", "new.npz", "--episode-length", "0"], "--episode-length is 0; it must"),
    ("collect", ["--out", "new.npz", "--seed", "-3"], "--seed is -3; it must be at least 0."),
    ("collect", ["--out", "new.npz", "--exploration", "-1"], "--exploration is -1.0; it must be"),
    ("collect", ["--out", "new.npz", "--exploration", "inf"], "--exploration is inf; it must be"),
    ("collect", ["--out", "new.npz", "--env", "Pendulum-v9"], "valid are: E2C/Pendulum"),
    ("collect", ["--out", "new.npz", "--agent", "none"], "The run folder none does not exist"),
    ("evaluate", ["none"], "The run folder none does not exist (checkpoint.safetensors); train o"),
    ("evaluate", ["run/data"], "The run folder run/data holds no checkpoint"),
    ("evaluate", ["run/run.json"], "run/run.json is a file; name the folder of a run"),
    ("evaluate", ["run", "--goal-state", "1"], "numbers: angle [rad], velocity [rad/s]; got 1."),
    ("evaluate", ["broken"], "checkpoint.safetensors was refused: "),
    ("evaluate", ["run", "--episodes", "0"], "--episodes is 0; it must be at least 1."),
    ("evaluate", ["run", "--seed", "-1"], "--seed is -1; it must be at least 0."),
    ("evaluate", ["run", "--video", "new.avi"], "--video is new.avi; its name must end in .mp4."),
    ("evaluate", ["run", "--picture", "p.jpg"], "--picture is p.jpg; its name must end in .png."),
    ("evaluate", ["run", "--trajectories", "t"], "--trajectories is t; its name must end in .npz."),
    ("evaluate", ["run", "--mass", "-1"], "The rod's mass must be a positive number; got -1.0."),
    ("evaluate", ["run", "--mass", "nan"], "--mass is nan; it must be a finite number."),
    ("evaluate", ["run", "--length", "0"], "The rod's length must be a positive number; got 0"),
    ("evaluate", ["run", "--frame-noise", "-1"], "--frame-noise is -1.0; it must be at least 0."),
    ("evaluate", ["run", "--frame-noise", "inf"], "--frame-noise is inf; it must be a finite"),
    ("evaluate", ["run", "--kick", "nan"], "--kick is nan; it must be a finite number."),
    ("evaluate", ["run", "--kick", "inf"], "--kick is inf; it must be a finite number."),
    ("evaluate", ["run", "--device", "cuda:77"], "There is no device 'cuda:77' here; available"),
    ("evaluate", ["run", "--episodes", "10001"], "--episodes is 10001; it must be at most 10000."),
    ("evaluate", ["run", "--json", "r.txt"], "--json is r.txt; its name must end in .json."),
    ("evaluate", ["a\nb"], "The run folder a b does not exist"),
    ("train", ["--out", "new", "--data", "loop"], "There is no file"),
    ("train", ["--out", "new", "--threads", "257"], "threads is 257; it must be at most 256."),
    ("evaluate", ["run", "--json", "data.npz/new.json"], "data.npz"),
    ("evaluate", ["run", "--json", "run"], "run"),
    ("evaluate", ["run", "--video", "data.npz/new.mp4"], "data.npz"),
]
"""Mistakes that the project words itself, in one line."""


@pytest.mark.parametrize(("name", "arguments", "message"), OWN, ids=lambda value: str(value)[:60])
def test_a_mistake_ends_in_one_sentence_and_changes_nothing(
    here: Path, command: Callable[..., Outcome], name: str, arguments: list[str], message: str
) -> None:
    noise_data((9,)).save(here / "foreign.npz")
    data = dataset.load(here / "data.npz")
    two = np.repeat(data.actions, 2, axis=1)
    dataclasses.replace(data, actions=two).save(here / "controls.npz")
    (here / "loop").symlink_to("loop")
    (here / "broken").mkdir()
    (here / "broken" / checkpoint.NAME).write_bytes(b"not a checkpoint")
    before = contents(here)
    outcome = command(name, *arguments)
    told = [line for line in outcome.err.splitlines() if line.startswith("e2c: ")]
    assert outcome.status == 2, outcome.err
    assert len(told) == 1, outcome.err
    assert message in told[0]
    assert "Traceback" not in outcome.err
    assert contents(here) == before


PARSED = [
    ("train", [], "--out"),
    ("train", ["--out", "new", "--optimiser.step", "3"], "--optimiser.steps"),
    ("train", ["--out", "new", "--model.latnt-dim", "3"], "--model.latent-dim"),
    ("train", ["--out", "new", "--model.latent-dim", "many"], "latent-dim"),
    ("train", ["--out", "new", "--model.activation", "tanh"], "relu"),
    ("train", ["--out", "new", "--preset"], "--preset"),
    ("train", ["--out", "new", "--config"], "--config"),
    ("train", ["--out", "new", "--wandb", "maybe"], "offline"),
    ("collect", [], "--out"),
    ("collect", ["--out", "new.npz", "--transition", "5"], "--transitions"),
    ("evaluate", [], "PATH"),
    ("evaluate", ["run", "--episode", "5"], "--episodes"),
    ("evaluate", ["run", "--episodes", "five"], "episodes"),
]
"""Mistakes in the command line itself, told by its parser."""


@pytest.mark.parametrize(("name", "arguments", "named"), PARSED, ids=lambda value: str(value)[:60])
def test_a_mistyped_option_names_the_right_one(
    here: Path, command: Callable[..., Outcome], name: str, arguments: list[str], named: str
) -> None:
    before = contents(here)
    outcome = command(name, *arguments)
    assert outcome.status == 2
    assert named in outcome.err
    assert "Traceback" not in outcome.err
    assert contents(here) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("name", "arguments"), [("train", ["--out", "new"]), ("evaluate", ["run"])]
)
def test_cuda_without_a_gpu(
    command: Callable[..., Outcome], name: str, arguments: list[str]
) -> None:
    outcome = command(name, *arguments, "--device", "cuda")
    assert outcome.status == 2
    assert outcome.err == "e2c: There is no device 'cuda' here; available: cpu.\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(command: Callable[..., Outcome], name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.status == 0
    assert "Example: " in outcome.out
    options = re.findall(r"^│ (--[a-z.0-9-]+)", outcome.out, re.MULTILINE)
    assert options
    if "--planner" in options:
        told = " ".join(re.sub("[│\n]", " ", outcome.out).split())
        assert "mppi, or one that a module of yours registers (--import)" in told
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize("env", [ENV, "E2C/Planar-v0"])
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_presets_are_where_other_options_start(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Outcome],
    preset: str,
    env: str,
) -> None:
    asked: list[Any] = []

    def train_side_by_side(recipes: Any, *rest: Any) -> Any:
        asked.extend(recipe.config for recipe in recipes)
        raise errors.E2CError("that is enough")

    monkeypatch.setattr(commands, "train_side_by_side", train_side_by_side)
    command("train", "--preset", preset, "--env", env, "--out", "new", "--planner.horizon", "7")
    command("train", f"--env={env}", "--out=new", f"--preset={preset}", "--planner.horizon=7")
    for config in asked:
        assert config.planner.horizon == 7
        assert config.model == presets.preset(preset, env).model
    assert len(asked) == 2


# --------------------------------------------------------------------------- the outside world


def full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere")


def half_written(path: Path, content: Any, *_: Any) -> NoReturn:
    with open(path, "w", encoding="utf-8") as file:
        file.write("half")
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def half_archive(path: Path, **_: Any) -> NoReturn:
    half_written(path, b"")


WRITES: dict[str, Callable[..., NoReturn]] = {
    "os.replace": full,
    "pathlib.Path.write_text": half_written,
    "pathlib.Path.write_bytes": half_written,
    "numpy.savez_compressed": half_archive,
}
JOBS = {
    "collect": ["--out", "new/data.npz", "--transitions", "10"],
    "train": ["--out", "new/run", *TINY],
    "evaluate": ["run", "--json", "new/r.json", "--video", "new/film.mp4", "--episodes", "1"],
}


WRITTEN_WITH = [
    *(("collect", function) for function in ("os.replace", "numpy.savez_compressed")),
    *(("train", function) for function in WRITES),
    *(("evaluate", function) for function in ("os.replace", "pathlib.Path.write_text")),
]


@pytest.mark.parametrize(("name", "function"), WRITTEN_WITH)
def test_a_full_disk_is_told_and_nothing_is_left_half_written(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Outcome],
    name: str,
    function: str,
) -> None:
    before = contents(here)
    with monkeypatch.context() as patch:
        patch.setattr(function, WRITES[function])
        outcome = command(name, *JOBS[name])
    assert outcome.status == 2, outcome.err
    assert "Traceback" not in outcome.err
    told = [line for line in outcome.err.splitlines() if line.startswith("e2c: ")]
    assert len(told) == 1
    assert "No space left on device" in told[0]
    left = {path: data for path, data in contents(here).items() if path not in before}
    empty = {path for path, data in left.items() if data in (b"half", b"")}
    assert empty <= {"new/run/metrics.jsonl"}, "no row was logged yet"
    assert not [path for path in left if ".tmp" in path]
    assert {path: data for path, data in contents(here).items() if path in before} == before


@pytest.mark.skipif(AS_ROOT, reason="root may write anywhere")
@pytest.mark.parametrize("name", JOBS)
def test_a_folder_that_cannot_be_written_is_told(
    here: Path, command: Callable[..., Outcome], name: str
) -> None:
    (here / "new").mkdir()
    (here / "new").chmod(0o500)
    outcome = command(name, *JOBS[name])
    (here / "new").chmod(0o700)
    assert outcome.status == 2
    assert "Permission denied" in outcome.err
    assert "Traceback" not in outcome.err
    assert list((here / "new").iterdir()) == []


@pytest.mark.parametrize("name", JOBS)
def test_the_jobs_above_succeed_on_a_healthy_disk(
    here: Path, command: Callable[..., Outcome], name: str
) -> None:
    before = contents(here)
    outcome = command(name, *JOBS[name])
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.err
    new = contents(here).keys() - before.keys()
    expected = {
        "collect": {"new/data.npz"},
        "train": {"new/run/checkpoint.safetensors", "new/run/run.json", "new/run/data/first.npz"},
        "evaluate": {"new/r.json", "new/film.mp4"},
    }
    assert new >= expected[name]
    assert not [path for path in new if ".tmp" in path]


def test_training_that_failed_can_be_started_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome]
) -> None:
    """A run that never began, since its data did not fit, must not block its folder."""
    outcome = command("train", "--out", "new", "--data", "data.npz")
    assert outcome.status == 2
    assert command("train", "--out", "new", "--data", "data.npz", *TINY).status == 0


def test_seeds_are_trained_side_by_side_in_folders_of_their_own(
    here: Path, command: Callable[..., Outcome]
) -> None:
    outcome = command("train", "--out", "new", "--seeds", "4", "2", *TINY)
    assert outcome.status == 0, outcome.err
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == ["new/seed_4", "new/seed_2"]
    for seed in (4, 2):
        assert runs.read_recipe(here / f"new/seed_{seed}/config.yaml").seed == seed
    more = command("train", "--out", "new", "--seeds", "2", "7", *TINY)
    assert "new/seed_2: this run has ended" in more.out
    assert "new/seed_7: trained on 20 transitions" in more.out


def test_stopping_is_told_with_its_own_status(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome]
) -> None:
    def stop(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "collect", stop)
    outcome = command("collect", "--out", "new.npz")
    assert outcome.status == 130
    assert outcome.err == "e2c: Stopped; files already written are whole.\n"


@pytest.mark.parametrize(
    ("script", "is_command"),
    [(ROOT / "train.py", True), (Path("/bin/e2c-collect"), True), (Path("/bin/mine.py"), False)],
)
def test_ctrl_c_ends_a_command_that_still_imports(
    monkeypatch: pytest.MonkeyPatch, script: Path, is_command: bool
) -> None:
    """At once, since some packages take it for a fault of theirs; a program is left alone."""
    monkeypatch.setitem(sys.modules, "__main__", Mock(__file__=str(script)))
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        errors.check_surroundings()
        assert (signal.getsignal(signal.SIGINT) is signal.SIG_DFL) == is_command
        later: list[object] = []
        with pytest.raises(SystemExit):
            errors.run_command(lambda: later.append(signal.getsignal(signal.SIGINT)))
        assert later == [signal.default_int_handler]
    finally:
        signal.signal(signal.SIGINT, earlier)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_comes_while_a_library_calls_back_is_not_lost(number: signal.Signals) -> None:
    program = LIGHT + (
        "import ctypes, os, signal, threading, time\n"
        "from e2c.errors import run_command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@ctypes.CFUNCTYPE(None)\n"
        "def call_back():\n"
        f"    os.kill(os.getpid(), {number:d})\n"
        "    time.sleep(0.01)\n"
        "def work():\n"
        "    call_back()\n"
        "    print('goes on', flush=True)\n"
        "    threading.Event().wait(60)\n"
        "run_command(work)"
    )
    done = python("-c", program)
    assert done.stdout == "goes on\n", "Python did not ignore the stop"
    assert done.stderr == "e2c: Stopped; files already written are whole.\n"
    assert done.returncode == 128 + number


def test_output_that_nobody_reads_any_more_ends_the_command_quietly() -> None:
    told = f"{LIGHT}from e2c.errors import run_command; run_command(lambda: print('x' * 100_000))"
    process = subprocess.Popen(
        [sys.executable, "-c", told], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize("allocate", [np.empty, torch.empty])
def test_a_lack_of_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome], allocate: Any
) -> None:
    monkeypatch.setattr(commands, "collect", lambda *_: allocate(10**14))
    outcome = command("collect", "--out", "new.npz")
    assert outcome.status == 2
    assert outcome.err.startswith("e2c: Memory does not suffice for this: choose smaller numbers")


def test_a_fault_of_the_program_is_not_hidden(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only mistakes and mishaps become sentences; a defect shows its traceback."""

    def defect(*_: Any) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "collect", defect)
    monkeypatch.setattr("sys.argv", ["collect", "--out", "new.npz"])
    with pytest.raises(ZeroDivisionError):
        commands.collect_command()


def test_results_are_printed_for_people(here: Path, command: Callable[..., Outcome]) -> None:
    outcome = command("evaluate", "run", "--json", "r.json", "--episodes", "2", "--oracle", "False")
    assert outcome.status == 0
    found = json.loads((here / "r.json").read_text())
    assert f"success                    {found['success_rate']:.1%}\n" in outcome.out
    assert f"control step, median       {found['plan_ms_median']:.1f} ms\n" in outcome.out
    assert "oracle" not in outcome.out
    assert "written: r.json" in outcome.out


def test_disturbances_are_options(here: Path, command: Callable[..., Outcome]) -> None:
    options = ["--mass", "1.1", "--length", "0.9", "--frame-noise", "10", "--state-noise", "2"]
    outcome = command("evaluate", "run", "--json", "r.json", "--episodes", "2", *options)
    assert outcome.status == 0, outcome.err
    found = json.loads((here / "r.json").read_text())["disturbance"]
    asked = {"mass": 1.1, "length": 0.9, "frame_noise": 10.0, "state_noise": 2.0}
    assert found == {**to_dict(Disturbance()), **asked}


def test_a_kick_that_would_not_come_is_refused(here: Path, command: Callable[..., Outcome]) -> None:
    outcome = command("evaluate", "run", "--kick", "2")
    assert outcome.status == 2
    assert "--kick comes 6 s into an episode" in outcome.err


def test_an_agent_collects_by_command(here: Path, command: Callable[..., Outcome]) -> None:
    options = ["--transitions", "10", "--episode-length", "5", "--agent", "run"]
    outcome = command("collect", "--out", "own.npz", *options)
    assert outcome.status == 0, outcome.err
    own = dataset.load(here / "own.npz")
    assert own.provenance["controller"] == "agent"
    assert own.content_hash[:16] in outcome.out


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""The environment of a system that knows no letters but these."""


HELP = """
import contextlib, sys
from e2c import commands
run, *names = sys.argv[1:]
for name, what in [("report", run), *[(name, "--help") for name in names]]:
    sys.argv = [name, what]
    with contextlib.suppress(SystemExit):
        getattr(commands, f"{name}_command")()
    print(f"{name} {what} done")
"""


def test_in_an_ascii_locale_every_command_works_and_a_run_is_read(here: Path) -> None:
    done = python("-c", HELP, str(here / "run"), *COMMANDS, **ASCII)
    assert done.returncode == 0, done.stderr
    assert [name for name in COMMANDS if f"{name} --help done" in done.stdout] == list(COMMANDS)
    assert "written: " in done.stdout


def test_a_graphics_library_that_is_not_there_is_one_sentence() -> None:
    done = python("evaluate.py", "e2c/trained/pendulum", "--episodes", "1", MUJOCO_GL="foo")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unset the environment variable MUJOCO_GL" in done.stderr


@pytest.mark.parametrize("door", ["train.py", "evaluate.py"])
def test_a_python_without_the_packages_is_told_to_activate_the_environment(door: str) -> None:
    done = python("-S", door, "run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has no package numpy: activate the environment that `make demo` made" in done.stderr
    imported = python("-S", "-c", "import e2c")
    assert imported.returncode == 1
    assert imported.stderr.splitlines()[-1].startswith("e2c.errors.E2CError: ")


@pytest.mark.parametrize("name", ["envs", "planners"])
def test_a_folder_that_hides_a_package_of_ours_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "script.py").write_text("import e2c")
    done = python(str(tmp_path / "script.py"), PYTHONPATH=str(ROOT))
    told = f"{tmp_path / name} hides the package {name} that comes with e2c; rename it"
    assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("door", "told"), [("train.py", "python evaluate.py"), ("x", "e2c-evaluate")]
)
def test_the_next_command_can_be_typed_as_it_is_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, door: str, told: str
) -> None:
    monkeypatch.setattr("sys.argv", [door])
    run, ours = here / "a run", Recipe()
    typed = commands.Train(run, ours.config)
    assert typed._next(run, ours) == f"{told} '{run}'"
    with_own = dataclasses.replace(typed, modules=("mine", "lab.yours"))
    assert with_own._next(run, ours) == f"{told} '{run}' --import mine --import lab.yours"
    own_env = Recipe(dataclasses.replace(ours.config, env="lab.worlds:Mine-v0"))
    assert typed._next(run, own_env) == f"{told} '{run}' --import lab.worlds"
    recorded = Recipe(dataclasses.replace(ours.config, env=dataset.RECORDING))
    assert typed._next(run, recorded).startswith(
        f"e2c.LiveAgent(e2c.load_agent({str(run)!r})) acts on "
    )


def test_a_goal_may_be_a_picture_an_array_or_a_moment(
    here: Path, command: Callable[..., Outcome]
) -> None:
    """Whichever it is, the agent plans towards that observation."""
    task = PendulumSwingUp()
    wanted = task.observe(np.array([[0.5, 0.0]]))[0]
    cv2.imwrite(str(here / "goal.png"), wanted[0])
    np.save(here / "goal.npy", wanted)
    moment = dataset.load(here / "data.npz")
    spec = checkpoint.load(here / "run")[2]
    for text in ("goal.png", "goal.npy"):
        np.testing.assert_array_equal(read_goal(text, spec), wanted)
    np.testing.assert_array_equal(read_goal("data.npz:1:3", spec), moment.planes()[6 + 3])
    np.testing.assert_array_equal(from_state((0.5, 0.0), spec), wanted)
    outcome = command(
        "evaluate", "run", "--episodes", "1", "--goal", "goal.png", "--video", "g.mp4"
    )
    assert outcome.status == 0, outcome.err
    assert (here / "g.mp4").exists()
    outcome = command("evaluate", "run", "--episodes", "1", "--goal-state", "0.5", "0")
    assert outcome.status == 0, outcome.err
    outcome = command("evaluate", "run", "--goal-state", "0.5", "0", "--goal", "goal.png")
    assert outcome.err == "e2c: --goal and --goal-state were both given; give one of them.\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("goal.mp4", "is not of a known kind; give a picture"),
        ("none.png", "cannot be read (there is no such file); give the path of a picture"),
        ("torn.png", "is not a picture that can be read"),
        ("data.npz:9:0", "no step 0 of episode 9"),
        ("data.npz:0:99", "no step 99 of episode 0"),
        ("wide.npz:0:1", "shows observations of shape [2, 24, 96], and a goal of"),
        ("flat.npz:0:1", "shows observations of shape [1, 48, 96], and a goal of"),
        ("none.NPY", "cannot be read"),
        ("none.npy", "cannot be read"),
        ("pipe.png", "cannot be read (it is not an ordinary file); give the path of a picture"),
        ("pipe.npy", "cannot be read (it is not an ordinary file); give the path of a picture"),
        ("red.png", "red.png shows nothing: each of its frames is of one colour alone; give"),
        ("float.npy", "A goal is a picture, uint8 of [height, width, 3], or an observation"),
    ],
)
def test_what_is_no_goal_is_one_sentence(
    here: Path, command: Callable[..., Outcome], text: str, told: str
) -> None:
    (here / "torn.png").write_bytes(b"\x89PNG\r\n")
    for name, shape in {"wide": (2, 24, 96), "flat": (1, 48, 96)}.items():
        spec = dataclasses.replace(SPEC, observation_shape=shape)
        noise_data((3,), spec).save(here / f"{name}.npz")
    np.save(here / "float.npy", np.zeros((2, 48, 48)))
    cv2.imwrite(str(here / "red.png"), np.full((48, 48, 3), (0, 0, 255), np.uint8))
    if text.startswith("pipe"):
        os.mkfifo(here / text)
    for name, arguments in (("train", ["--out", "new"]), ("evaluate", ["run"])):
        outcome = command(name, *arguments, "--goal", text)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert told in outcome.err
