"""One cell of a sweep: an ordinary run in its own process, which ends when its parent ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from e2c.errors import run_command
from e2c.files import runs
from e2c.files.meanwhile import end_with_the_first
from e2c.files.own_modules import import_all
from e2c.files.tracking import WandbMode
from e2c.learning import run

ATTEMPTS = 3
"""Most processes of a cell: if one is killed, the cell goes on in another."""
TRACEBACK = "traceback.txt"
"""File of a run folder with Python's traceback, if the cell failed by a fault of the program."""
Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Asked:
    """The resources and settings that every cell is computed with.

    Attributes:
        threads: cores of a cell.
        gpus: GPUs of a cell; a fraction, where several cells share one.
        wandb: whether a cell reports to wandb too.
        modules: modules that a cell imports first, since they register own parts.
    """

    threads: int = 1
    gpus: float = 0.0
    wandb: WandbMode = "off"
    modules: tuple[str, ...] = ()


def compute(
    folder: Path,
    asked: Asked,
    began: Callable[[Process], Any] = lambda _: None,
) -> str:
    """Let the run in a folder go on to its end.

    Args:
        folder: run folder with a ``config.yaml``.
        asked: its resources and settings; the group in wandb has the name of the sweep.
        began: called with every process that begins.

    Returns:
        Why it failed, in a sentence; empty where the run has ended.
    """
    group = folder.parent.parent.name
    environment = {
        "OMP_NUM_THREADS": str(asked.threads),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "WANDB_RUN_GROUP": group,
    }
    command = [sys.executable, "-P", "-m", __name__, str(folder), asked.wandb, *asked.modules]
    for _ in range(ATTEMPTS):
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # the process ends when this pipe is closed
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        ) as process:
            began(process)
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
            status = process.wait()
        if status >= 0:
            break
    (folder / TRACEBACK).unlink(missing_ok=True)
    return "" if status == 0 else _reason(folder, status, said)


def _reason(folder: Path, status: int, said: str) -> str:
    """Say why a cell failed; keep its process's output where that is not a sentence of ours."""
    if status < 0 or not said:
        return f"Its process ended with status {status}."
    last = said.splitlines()[-1]
    if last.startswith("e2c: "):
        return last.removeprefix("e2c: ")
    (folder / TRACEBACK).write_text(f"{said}\n", "utf-8")
    return f"{last} ({folder / TRACEBACK} says where)."


def main() -> None:
    """Train the run folder that the command line names."""
    threading.Thread(target=end_with_the_first, daemon=True).start()
    folder, wandb, *modules = sys.argv[1:]
    mode = next(mode for mode in get_args(WandbMode) if mode == wandb)
    run_command(lambda: _train(Path(folder), mode, modules))


def _train(folder: Path, wandb: WandbMode, modules: Sequence[str]) -> None:
    """Let the run go on, unless it has ended; a lost process that still holds it is waited for."""
    import_all(modules)
    recipe = runs.read_recipe(folder / runs.CONFIG)
    with runs.locked(folder, wait=True):
        ended = runs.finished(folder)
    if not ended:
        run.train(recipe, folder, wandb)


if __name__ == "__main__":
    main()
