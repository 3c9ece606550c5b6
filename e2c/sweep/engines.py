"""Engines that compute the cells of a sweep: processes of this machine; on many, Ray or SLURM.

An engine gets the folders of cells, and yields the result of each cell when it has ended. Queues,
schedules and retries after the loss of a machine are the engine's own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from e2c.errors import E2CError, Terminated
from e2c.files.untrusted import one_line, shown
from e2c.sweep.cell import ATTEMPTS, Asked, Process, compute

PATIENCE = 10.0
"""Longest wait for an address to answer [s]."""
INSTALL = 'pip install "e2c[ray]"'
INSTALL_SUBMITIT = 'pip install "e2c[slurm]"'
STOPPED = 143
"""Status of a command that SIGTERM ended."""
PAUSE = 1.0
"""Time between two looks at the jobs of SLURM [s]; submitit asks SLURM itself less often."""
ARRAY = 1000
"""Most jobs in one array; SLURM accepts this many, unless its administrator chose otherwise."""
DECIDED = (
    *("nodes", "tasks_per_node", "ntasks_per_node", "cpus_per_task", "gpus_per_node"),
    *("gpus_per_task", "srun_args"),
)
"""Options of SLURM that the sweep decides itself."""


class Engine(Protocol):
    """Computes cells."""

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed; empty if it did not."""
        ...


@dataclass
class Processes:
    """Processes on this machine.

    Attributes:
        jobs: cells computed at the same time.
    """

    jobs: int

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed; empty if it did not."""
        if asked.gpus:
            raise E2CError("--gpus is for --engine ray or slurm; leave it out here.")
        running: set[subprocess.Popen[bytes]] = set()
        stopped = threading.Event()

        def began(process: subprocess.Popen[bytes]) -> None:
            running.add(process)
            if stopped.is_set():  # it began while the others were stopped
                process.terminate()

        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = {pool.submit(compute, folder, asked, began): folder for folder in folders}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(running):
                process.terminate()


@dataclass
class Ray:
    """A Ray cluster, or one that is started here.

    Attributes:
        address: of the cluster; ``auto`` for the cluster of this machine; empty to start one.

    Raises:
        E2CError: when Ray is not installed, or the address does not answer.
    """

    address: str = ""

    def __post_init__(self) -> None:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        self.ray: Any = _imported("ray", INSTALL)
        host, _, port = _known(self.address).rpartition("//")[2].rpartition(":")
        try:
            if host:
                socket.create_connection((host, int(port)), PATIENCE).close()
            self.ray.init(
                address=self.address or "local", log_to_driver=False, logging_level="ERROR"
            )
        except Exception as error:  # Ray raises plain ones too, such as for a node that is slow
            reason = shown(str(error).split(". ")[0] or type(error).__name__)
            place = f"answers at --address {self.address}" if self.address else "started here"
            remedy = "start one with: ray start --head, or use --engine processes"
            if "AuthenticationError" in str(error.__cause__):
                remedy = "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to it"
            raise E2CError(f"No Ray cluster {place} ({reason}); {remedy}.") from None

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed; empty if it did not."""
        try:
            self._check_there_is_room(asked)
            options = {"num_cpus": asked.threads, "num_gpus": asked.gpus, "max_retries": ATTEMPTS}
            # by value, since a worker that imports the module would import torch, without need
            self.ray.cloudpickle.register_pickle_by_value(sys.modules[compute.__module__])
            work = self.ray.remote(**options)(compute)
            waiting = {work.remote(each, asked): each for each in folders}
            while waiting:
                (done,), _ = self.ray.wait(list(waiting), num_returns=1)
                yield waiting.pop(done), self._result(done)
        finally:
            self.ray.shutdown()

    def _check_there_is_room(self, asked: Asked) -> None:
        there = self.ray.cluster_resources()
        for name, wanted in (("CPU", asked.threads), ("GPU", asked.gpus)):
            if wanted > there.get(name, 0):
                raise E2CError(
                    f"A cell asks for {wanted:g} {name}s, and the cluster has "
                    f"{there.get(name, 0):g}; ask for fewer (--threads, --gpus), or add a node."
                )

    def _result(self, reference: Any) -> str:
        """Return the result of a cell; its machine may be lost for good."""
        try:
            return str(self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            return f"Ray lost it ({shown(str(error).strip().splitlines()[-1])})."


def _known(address: str) -> str:
    """Return the address behind ``auto``: Ray notes a machine's last cluster, which may be gone."""
    if address != "auto":
        return address
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    noted = note.read_text("utf-8").strip() if note.exists() else ""
    return os.environ.get("RAY_ADDRESS", noted)


@dataclass(frozen=True)
class _Job:
    """The function that a job of SLURM calls, again if SLURM queues the job again."""

    folder: Path
    asked: Asked

    def __call__(self) -> str:
        """Compute the cell; if SLURM stops it, end without a result: it may be called again."""
        begun: list[Process] = []
        reason = compute(self.folder, self.asked, begun.append)
        if begun[-1].returncode == STOPPED:
            raise Terminated
        return reason

    def checkpoint(self) -> Any:
        """Return the call after time is up: the same, since a cell goes on from its files."""
        return importlib.import_module("submitit.helpers").DelayedSubmission(self)


@dataclass
class Slurm:
    """Jobs of a SLURM cluster, by submitit.

    A job that is preempted, or whose time is up, is queued again and goes on. If this process is
    killed with SIGKILL, its jobs go on without it.

    Attributes:
        folder: for the scripts, pickles and logs of submitit; all nodes share it.
        options: NAME=VALUE of sbatch, by the names of submitit: ``time=60`` [min] is needed.

    Raises:
        E2CError: when submitit or SLURM is not installed, or an option is refused.
    """

    folder: Path
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.submitit: Any = _imported("submitit", INSTALL_SUBMITIT)
        if missing := [name for name in ("sbatch", "srun") if shutil.which(name) is None]:
            raise E2CError(
                f"There is no SLURM on this machine (no {missing[0]}); give the command on a "
                "machine of the cluster, or use --engine processes or ray."
            )
        self._given = dict(map(_named, self.options))
        if not isinstance(self._given.get("time"), int):
            raise E2CError(
                "--slurm needs the time of a cell, in whole minutes; give it: --slurm time=60."
            )

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed; empty if it did not."""
        executor = self._executor(asked)
        waiting: dict[Any, Path] = {}
        try:
            for first in range(0, len(folders), ARRAY):
                some = folders[first : first + ARRAY]
                calls = [_Job(each, asked) for each in some]
                waiting.update(zip(_submitted(executor, calls), some, strict=True))
            while waiting:
                time.sleep(PAUSE)
                for job in [job for job in waiting if job.done()]:
                    yield waiting.pop(job), _result(job)
        finally:
            for job in waiting:
                job.cancel(check=False)

    def _executor(self, asked: Asked) -> Any:
        """Return submitit's executor, which submits one job for each cell."""
        if asked.gpus != int(asked.gpus):
            raise E2CError(
                f"--gpus is {asked.gpus:g}; SLURM gives whole GPUs: give a whole number, or use "
                "--engine ray, where cells share one."
            )
        executor = self.submitit.AutoExecutor(self.folder, cluster="slurm")
        try:
            executor.update_parameters(
                name="e2c",
                cpus_per_task=asked.threads,
                gpus_per_node=int(asked.gpus) or None,
                slurm_srun_args=[f"--cpus-per-task={asked.threads}"],  # SLURM 22.05 needs it again
                **{f"slurm_{name}": value for name, value in self._given.items()},
            )
        except (NameError, TypeError, ValueError) as error:
            reason = one_line(str(error).partition("\n")[0].replace(". ", "; "))
            raise E2CError(f"submitit refuses what --slurm says ({reason}); correct it.") from None
        return executor


def _submitted(executor: Any, calls: Sequence[_Job]) -> list[Any]:
    """Return the job of each call."""
    try:
        return list(executor.submit_array(calls))
    except RuntimeError as error:
        raise E2CError(
            f"SLURM took no jobs ({shown(error)}); correct --slurm, or ask for less."
        ) from None


def _result(job: Any) -> str:
    """Return the result of a cell; its job may have ended without a result."""
    try:
        return str(job.result())
    except RuntimeError:
        last = (job.stderr() or "").strip().splitlines()[-1:]
        told = ": ".join(map(shown, (job.state, *last)))
        return f"SLURM lost it (job {job.job_id}, {told})."


def _named(word: str) -> tuple[str, int | str]:
    """Return name and value of an option of SLURM; a whole number becomes an int."""
    name, _, value = word.partition("=")
    if not (name and value):
        raise E2CError(f"--slurm says {shown(repr(word))}; give NAME=VALUE, such as time=60.")
    if name in DECIDED:
        raise E2CError(
            f"--slurm says {name}, but a cell is one task; leave it out, and give its cores by "
            "--threads and its GPUs by --gpus."
        )
    return name, int(value) if value.isdecimal() else value


def _imported(name: str, install: str) -> Any:
    """Import a module that comes with an optional extra of e2c."""
    with contextlib.suppress(ImportError):
        return importlib.import_module(name)
    title = name.capitalize()
    raise E2CError(
        f"{title} is not installed; install it with: {install}, or use --engine processes."
    )
