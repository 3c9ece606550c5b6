"""Ray nodes of one core each on this machine, for a benchmark alone; one of them can be lost.

A node is all processes of a session of the system: it is lost when all of them are killed at once,
as a machine is that loses its power.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from e2c.errors import E2CError
from e2c.sweep.engines import INSTALL

RAY = Path(sys.executable).with_name("ray")
SMALL = ["--num-cpus", "1", "--object-store-memory", "100000000", "--disable-usage-stats"]


class Cluster:
    """A head and other nodes.

    Args:
        folder: of what Ray keeps while it runs; its path is short, since sockets lie in it.

    Raises:
        E2CError: when Ray is not installed, or a node does not start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{_free_port()}"
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        """Of the nodes, and of who joins them: nobody else can."""
        self.sessions: list[int] = []
        """Numbers of the nodes, of which the first is the head."""

    def add(self) -> None:
        """Start a node, the head first; it is there on return."""
        port = self.address.rpartition(":")[2]
        head = ["--head", "--port", port, "--node-ip-address", "127.0.0.1"]
        head += ["--include-dashboard", "false", "--temp-dir", str(self.folder)]
        place = ["--address", self.address] if self.sessions else head
        quiet = subprocess.DEVNULL
        try:
            node = subprocess.Popen(
                [RAY, "start", *place, *SMALL],
                env=self.environment,
                start_new_session=True,
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
            )
        except FileNotFoundError:
            raise E2CError(f"Ray is not installed; install it with: {INSTALL}.") from None
        self.sessions.append(node.pid)
        if status := node.wait():
            raise E2CError(f"A Ray node ended with status {status} when it was to start.")

    def lose(self) -> None:
        """Kill every process of the last node."""
        for process in members(self.sessions.pop()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """Start so many nodes, and end them."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as name:
        found = Cluster(Path(name))
        try:
            for _ in range(nodes):
                found.add()
            yield found
        finally:
            while found.sessions:
                found.lose()


def members(session: int) -> list[int]:
    """Return the numbers of the processes of a session."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if path.name.isdecimal() and os.getsid(int(path.name)) == session:
                found.append(int(path.name))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number
