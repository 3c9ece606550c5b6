"""What computes the cells of a sweep: processes of this machine, or Ray on many.

An engine is given work, a function of a module, and what to do it with; it yields results as they
come. Queues, retries of lost machines and schedules are the engine's own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from e2c.errors import E2CError
from e2c.files.tracking import WandbMode
from e2c.files.untrusted import shown
from e2c.sweep.cell import ATTEMPTS, compute

PATIENCE = 10.0
"""An address answers within this time [s]."""
INSTALL = 'pip install "e2c[ray]"'


@dataclass(frozen=True)
class Asked:
    """What every cell is computed with.

    Attributes:
        threads: cores of a cell.
        gpus: of a cell; a share, where several cells use one.
        wandb: whether it reports to wandb too.
    """

    threads: int = 1
    gpus: float = 0.0
    wandb: WandbMode = "off"


class Engine(Protocol):
    """Computes cells."""

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed, or nothing."""
        ...


@dataclass
class Processes:
    """Processes on this machine.

    Attributes:
        jobs: cells computed at the same time.
    """

    jobs: int
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def run(self, folders: Sequence[Path], asked: Asked) -> Iterator[tuple[Path, str]]:
        """Yield the folder of each cell that has ended, and why it failed, or nothing."""
        if asked.gpus:
            raise E2CError("--gpus shares GPUs among cells with --engine ray; leave it out here.")
        work = partial(compute, threads=asked.threads, wandb=asked.wandb, began=self._running.add)
        pool = ThreadPoolExecutor(self.jobs)
        futures = {pool.submit(work, folder): folder for folder in folders}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in self._running:
                process.terminate()


@dataclass
class Ray:
    """A Ray cluster, or one that is started here.

    Attributes:
        address: of the cluster, ``auto`` for that of this machine; nothing to start one.

    Raises:
        E2CError: when Ray is not installed, or the address does not answer.
    """

    address: str = ""

    def __post_init__(self) -> None:
        self.ray: Any = _imported()
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
        """Yield the folder of each cell that has ended, and why it failed, or nothing."""
        try:
            self._check_there_is_room(asked)
            options = {"num_cpus": asked.threads, "num_gpus": asked.gpus, "max_retries": ATTEMPTS}
            work = self.ray.remote(**options)(compute)
            waiting = {work.remote(each, asked.threads, asked.wandb): each for each in folders}
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
        """Return what became of a cell; its machine may be lost for good."""
        try:
            return str(self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            return f"Ray lost it ({shown(str(error).strip().splitlines()[-1])})."


def _known(address: str) -> str:
    """Return where ``auto`` leads: Ray notes the last cluster of a machine, which may be gone."""
    if address != "auto":
        return address
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    noted = note.read_text("utf-8").strip() if note.exists() else ""
    return os.environ.get("RAY_ADDRESS", noted)


def _imported() -> Any:
    """Return the module of Ray, which stays quiet about itself."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    with contextlib.suppress(ImportError):
        return importlib.import_module("ray")
    raise E2CError(f"Ray is not installed; install it with: {INSTALL}, or use --engine processes.")
