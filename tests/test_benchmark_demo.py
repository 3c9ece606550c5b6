"""What the demo takes is measured in a process of its own, with all that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import demo
from e2c.errors import E2CError

HALF = 0.5
"""GiB that the programs below fill."""
PROGRAM = f"""
import mmap, os, sys, time
shared = mmap.mmap(-1, int({HALF} * 2**30)) if sys.argv[1] == "shared" else None
if shared is not None:
    shared.write(b"x" * len(shared))
if os.fork():
    os.wait()
else:
    own = bytearray(int({HALF} * 2**30)) if shared is None else shared[:1]
    read = shared is None or sum(shared[i] for i in range(0, len(shared), 4096))
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells it")
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_memory_is_that_of_all_processes_and_what_they_share_counts_once(kind: str) -> None:
    command = [sys.executable, "-c", PROGRAM, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = demo._memory(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    assert HALF < found < 1.5 * HALF


def test_a_script_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(2)")
    (tmp_path / "works.py").write_text("import time\ntime.sleep(0.3)")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    with pytest.raises(E2CError, match=r"fails\.py ended with status 2"):
        demo._measured("fails.py")
    seconds, peak = demo._measured("works.py")
    assert seconds >= 0.3
    assert 0 < peak < HALF
