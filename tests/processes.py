"""Programs in processes of their own."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from tiny import ROOT, leave_undrawn, shorten_runs

ALONE = {"OMP_NUM_THREADS": "1"}
"""What keeps processes from waiting for one another: the tests run side by side."""
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **ALONE}
"""The environment of these processes; nothing else decides it."""
LIGHT = f"""
import sys, types
sys.modules["e2c"] = types.ModuleType("e2c")
sys.modules["e2c"].__path__ = [{str(ROOT / "e2c")!r}]
"""
"""How a program begins that needs a module of e2c without torch, which takes seconds to import."""
STEPS = 12
"""The length of an episode of our tasks in a `Script`."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tiny", "e2c.commands"])


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a new python on ``arguments`` in the project's folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**BARE, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


class Script:
    """A script that runs, with short episodes of our tasks, and undrawn.

    Its process is a copy of one that has imported all there is, which takes longer than most
    scripts here.
    """

    def __init__(self, script: str, *arguments: str, cwd: Path = ROOT) -> None:
        self._line = [script, *arguments]
        self._folder = TemporaryDirectory()
        self._told = [Path(self._folder.name, name) for name in ("out", "err")]
        self.process = _SERVER.Process(target=_run, args=(self._line, cwd, self._told))
        with patch.dict(os.environ, ALONE, PYTHONPATH=str(ROOT / "tests")):
            self.process.start()

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end and return the status and what was told."""
        self.process.join(120)
        status = self.process.exitcode
        assert status is not None, "it hangs"
        with self._folder:
            out, err = (path.read_text() for path in self._told)
        return subprocess.CompletedProcess(self._line, status, out, err)


def _run(line: list[str], cwd: Path, told: list[Path]) -> None:
    """Become the process of a script."""
    for number, path in enumerate(told, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(BARE)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = line
    sys.path.insert(0, str((ROOT / line[0]).parent))
    with pytest.MonkeyPatch.context() as patch:
        shorten_runs(patch, STEPS)
        leave_undrawn(patch)
        runpy.run_path(str(ROOT / line[0]), run_name="__main__")
