"""Cells as jobs of SLURM: each is told as it ended, and no job is left behind."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny import CONFIG

from benchmarks.kills import untimed
from e2c.config import EvaluationConfig, Recipe
from e2c.errors import E2CError, Terminated
from e2c.files import runs
from e2c.learning.run import train
from e2c.sweep import cell, command, engines
from e2c.sweep.cell import Asked
from e2c.sweep.engines import Slurm

TIME = ("time=30",)


@dataclass(eq=False)
class Job:
    """A job of the fake submitit: done at the second look, lost where its call says so."""

    job_id: str
    call: Any
    looks: int = 0
    cancelled: bool = False
    state: str = "NODE_FAIL"

    def done(self) -> bool:
        self.looks += 1
        return self.looks > 1 and self.call.folder.name != "endless"

    def result(self) -> str:
        if self.call.folder.name == "lost":
            raise RuntimeError("has not produced any output")
        return str(self.call())

    def stderr(self) -> str | None:
        return "a line\nslurmstepd: error: *** JOB 7 ON node3 FAILED ***\n"

    def cancel(self, check: bool = True) -> None:
        self.cancelled = True


@dataclass
class Executor:
    """The fake submitit's `AutoExecutor`."""

    folder: Path
    cluster: str
    asked: dict[str, Any] = field(default_factory=dict)
    arrays: list[list[Job]] = field(default_factory=list)

    def __post_init__(self) -> None:
        Executor.last = self

    def update_parameters(self, **asked: Any) -> None:
        if "slurm_partion" in asked:
            raise NameError("Unknown argument 'partion'. Valid arguments: partition, qos\nMore.")
        self.asked |= asked

    def submit_array(self, calls: Sequence[Any]) -> list[Job]:
        if self.asked.get("slurm_partition") == "none":
            raise RuntimeError("sbatch: error: Invalid partition name specified")
        jobs = [Job(f"7_{number}", call) for number, call in enumerate(calls)]
        self.arrays.append(jobs)
        return jobs

    @property
    def jobs(self) -> dict[str, Job]:
        return {job.call.folder.name: job for array in self.arrays for job in array}

    last: Any = None


@dataclass
class Submission:
    """The fake submitit's `DelayedSubmission`."""

    function: Any


def compute(folder: Path, asked: Asked, began: Any) -> str:
    """Stand in for the computation of a cell, whose folder's name says what becomes of it."""
    status = {"refused": 2, "stopped": 143}.get(folder.name, 0)
    began(types.SimpleNamespace(returncode=status))
    return "There is no such thing." if status else ""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submitit and a SLURM that are fakes."""
    fake: Any = types.ModuleType("submitit")
    helpers: Any = types.ModuleType("submitit.helpers")
    fake.AutoExecutor, helpers.DelayedSubmission = Executor, Submission
    monkeypatch.setitem(sys.modules, "submitit", fake)
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(engines, "PAUSE", 0.001)
    monkeypatch.setattr(engines, "compute", compute)


def folders(*names: str) -> list[Path]:
    return [Path("sweep", "default", name) for name in names]


@pytest.mark.usefixtures("slurm")
def test_results_arrive_and_a_lost_job_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ARRAY", 2)
    engine = Slurm(Path("sweep", "slurm"), ("time=30", "partition=long", "gres=gpu:a100:1"))
    ended = dict(engine.run(folders("good", "lost", "refused"), Asked(threads=3, gpus=2.0)))
    assert {folder.name: reason for folder, reason in ended.items()} == {
        "good": "",
        "lost": "SLURM lost it (job 7_1, NODE_FAIL: "
        "slurmstepd: error: *** JOB 7 ON node3 FAILED ***).",
        "refused": "There is no such thing.",
    }
    executor = Executor.last
    assert (executor.folder, executor.cluster) == (Path("sweep", "slurm"), "slurm")
    assert executor.asked == {
        **{"name": "e2c", "cpus_per_task": 3, "gpus_per_node": 2},
        **{"slurm_time": 30, "slurm_partition": "long", "slurm_gres": "gpu:a100:1"},
        "slurm_srun_args": ["--cpus-per-task=3"],
    }
    assert [len(array) for array in executor.arrays] == [2, 1]
    assert not any(job.cancelled for job in executor.jobs.values())


@pytest.mark.usefixtures("slurm")
def test_jobs_that_are_not_done_are_cancelled_when_the_sweep_is_stopped() -> None:
    ended = Slurm(Path("slurm"), TIME).run(folders("good", "endless"), Asked())
    assert next(ended) == (*folders("good"), "")
    with pytest.raises(KeyboardInterrupt):
        ended.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    jobs = Executor.last.jobs
    assert (jobs["good"].cancelled, jobs["endless"].cancelled) == (False, True)


@pytest.mark.usefixtures("slurm")
def test_a_job_that_slurm_stops_leaves_no_result_and_is_called_again() -> None:
    (stopped,) = folders("stopped")
    ended = Slurm(Path("slurm"), TIME).run([stopped], Asked(threads=3))
    with pytest.raises(Terminated):  # in the process of the job, which is this one here
        next(ended)
    (job,) = Executor.last.jobs.values()
    assert job.call.checkpoint() == Submission(job.call)


@pytest.mark.usefixtures("slurm")
def test_a_job_calls_the_process_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "compute", cell.compute)
    ((_, reason),) = Slurm(tmp_path, TIME).run([tmp_path / "default" / "nothing"], Asked())
    assert reason.startswith("There is no configuration file")
    assert engines.STOPPED == 128 + signal.SIGTERM


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "--slurm needs the time of a cell, in whole minutes; give it: --slurm time=60[.]"),
        ("time=1:30:00", "--slurm needs the time of a cell, in whole minutes"),
        ("time=30 long", "--slurm says 'long'; give NAME=VALUE, such as time=60[.]"),
        ("time=30 qos=", "--slurm says 'qos='; give NAME=VALUE"),
        ("time=30 nodes=2", "--slurm says nodes, but a cell is one task; leave it out, and give"),
    ],
)
def test_an_option_that_is_none_is_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(E2CError, match=sentence):
        Slurm(Path("slurm"), words.split())


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("words", "gpus", "sentence"),
    [
        ("time=30", 0.5, "--gpus is 0.5; SLURM gives whole GPUs: give a whole number, or use"),
        ("time=30 partion=a", 0, r"what --slurm says \(.*'partion'; Valid arguments: partition, "),
        ("time=30 partition=none", 0, r"SLURM took no jobs \(sbatch: error: Invalid partition na"),
    ],
)
def test_what_slurm_or_submitit_refuses_is_one_sentence(
    words: str, gpus: float, sentence: str
) -> None:
    with pytest.raises(E2CError, match=sentence) as told:
        list(Slurm(Path("slurm"), words.split()).run(folders("good"), Asked(gpus=gpus)))
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("slurm")
def test_a_machine_without_slurm_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(E2CError, match=r"There is no SLURM on this machine \(no sbatch\); give"):
        Slurm(Path("slurm"), TIME)


def test_without_submitit_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(E2CError, match=r'Submitit is not installed; .* pip install "e2c\[slurm\]"'):
        Slurm(Path("slurm"), TIME)


@pytest.mark.usefixtures("slurm")
def test_the_command_gives_its_options_to_the_engine(tmp_path: Path) -> None:
    asked = command.Sweep(tmp_path, engine="slurm", slurm=TIME)
    assert command._engine(asked) == Slurm(tmp_path / "slurm", TIME)
    with pytest.raises(E2CError, match="--slurm is for the jobs of SLURM; give --engine slurm"):
        command._engine(command.Sweep(tmp_path, slurm=TIME))


def test_submitit_computes_the_same_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own jobs on this machine stand in for those of SLURM."""
    submitit = pytest.importorskip("submitit", reason="needs submitit")
    local = partial(submitit.AutoExecutor, cluster="local")
    monkeypatch.setattr(submitit, "AutoExecutor", lambda folder, cluster: local(folder))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    recipe = Recipe(dataclasses.replace(CONFIG, evaluation=EvaluationConfig(0)))
    folder = tmp_path / "sweep" / "default" / "seed_0"
    folder.mkdir(parents=True)
    runs.write_recipe(folder, recipe)
    engine = Slurm(tmp_path / "sweep" / "slurm", TIME)
    assert dict(engine.run([folder], Asked())) == {folder: ""}
    train(recipe, tmp_path / "calm")
    assert untimed(folder) == untimed(tmp_path / "calm")
    unknown = Slurm(tmp_path / "sweep" / "slurm", (*TIME, "partion=long"))
    with pytest.raises(E2CError, match=r"Unknown argument 'partion' .* Valid arguments: .*qos"):
        list(unknown.run([folder], Asked()))
