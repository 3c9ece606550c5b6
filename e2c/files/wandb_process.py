"""The process that speaks with wandb: what wandb prints, waits for or breaks stays in here.

`e2c.files.tracking` runs this file as a script, which imports nothing of the package, with a
socket to talk over. Each line that it reads is a request, ``[kind, content]`` as JSON; each line
that it writes is a sentence for the user. A socket that closes without a ``finish`` means that the
run was ended early, perhaps by a signal. The process then marks the wandb run as failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NETWORK_SECONDS = 5.0
"""A server may take this long to let a run begin, and as long again for what is left at its end."""
REQUEST_SECONDS = 2.5
"""A single request may take this long: for a table, wandb asks the server and waits."""

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Beginning:
    """What a run begins with.

    Attributes:
        folder: of the run; wandb's files go to its ``wandb``.
        mode: as the user asked for.
        run_id: by which wandb knows the run; one that exists is gone on with.
        config: the run's configuration.
        command: the command line that is running.
        process: its process, whose use of the machine is recorded.
    """

    folder: str
    mode: Literal["offline", "online"]
    run_id: str
    config: dict[str, Any]
    command: list[str]
    process: int


class Late(BaseException):
    """A request took too long; not an Exception, which wandb would take for its own."""


def serve(requests: Iterator[str], tell: Tell) -> None:
    """Begin a run as the first request says and do the others, up to ``finish`` or the end.

    Args:
        requests: lines of JSON. ``begin`` a `Beginning`; ``log`` a row of metrics;
            ``image`` and ``video`` names and paths; ``table`` names, each with its columns and
            data; ``summary`` the last figures; ``finish`` the exit status of the run.
        tell: told one sentence for the user at a time.
    """
    run, status, late = begin(Beginning(**json.loads(next(requests))[1]), tell), 1, False
    axes: set[str] = set()
    for kind, content in map(json.loads, requests):
        if kind == "finish":
            status = content
            break
        try:
            with time_limit(REQUEST_SECONDS):
                send(run, kind, content, axes)
        except Late:
            late = True
    try:
        run.finish(status)
    except TimeoutError:
        late = True
    if late:
        tell(f"wandb did not take everything in time; {remedy(run)}.")


def begin(about: Beginning, tell: Tell) -> Any:
    """Start a wandb run and tell where it is.

    Online, without a login or a server that answers, it is started in wandb's offline mode.
    """
    # wandb's reports on its own faults wait twenty seconds for a server that does not answer
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    sys.argv[:] = about.command
    why = ""
    if about.mode == "online":
        try:
            run = start(about, "online")
            tell(f"wandb: {run.url}")
            return run
        except Exception as error:
            why = f" goes offline, since {reason(error)}"
            wandb.teardown()  # the run that did not begin would keep its id
    run = start(about, "offline")
    tell(f"wandb{why}: {remedy(run)}.")
    return run


def start(about: Beginning, mode: Literal["offline", "online"]) -> Any:
    """Start a wandb run that asks and prints nothing and waits for no server for long."""
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        program=about.command[0],
        x_stats_pid=about.process,
        init_timeout=NETWORK_SECONDS,
        finish_timeout=NETWORK_SECONDS,
        finish_timeout_raises=True,
    )
    wandb.setup(settings=settings)
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ConnectionError("nobody is logged in")
    return wandb.init(
        id=about.run_id,
        resume="allow",
        project=os.environ.get("WANDB_PROJECT", "e2c"),
        name=os.environ.get("WANDB_NAME", Path(about.folder).resolve().name),
        dir=about.folder,
        config=about.config,
        mode=mode,
        settings=settings,
    )


def send(run: Any, kind: str, content: Any, axes: set[str]) -> None:
    """Do what one request asks for; ``axes`` are the metrics that have a horizontal axis."""
    import wandb

    if kind == "log":
        define_axes(run, content, axes)
        run.log(content)
    elif kind == "image":
        run.log({name: wandb.Image(path) for name, path in content.items()})
    elif kind == "video":
        run.log({name: wandb.Video(path, format="mp4") for name, path in content.items()})
    elif kind == "table":
        run.log({name: wandb.Table(**table) for name, table in content.items()})
    elif kind == "summary":
        run.summary.update(content)


def define_axes(run: Any, row: dict[str, float], axes: set[str]) -> None:
    """Have losses drawn over the optimiser's step and own rounds over the transitions."""
    axis = "step" if "step" in row else "transitions"
    for name in row.keys() - axes:
        run.define_metric(name, step_metric=None if name == axis else axis)
    axes |= row.keys()


def remedy(run: Any) -> str:
    """Say where a run's files are and what uploads them."""
    return f"'wandb sync {Path(run.dir).parent}' uploads it"


def reason(error: Exception) -> str:
    """First line of what an exception says, or its first 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, whatever it waits for, with `Late`."""

    def interrupt(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Serve the socket whose number is the argument; then end wandb's own process."""
    with (
        socket.socket(fileno=int(sys.argv[1])) as connection,
        connection.makefile("r", encoding="utf-8") as requests,
    ):

        def tell(sentence: str) -> None:
            with contextlib.suppress(OSError):  # of a run that is gone
                connection.sendall(f"{' '.join(sentence.split())}\n".encode())

        try:
            serve(iter(requests), tell)
        except Exception as error:
            tell(f"wandb is off from here on, since {reason(error)}; the run goes on.")
            for _ in requests:  # what is still asked for is let go
                pass
        except KeyboardInterrupt:  # the stop button on the run's page
            os.kill(os.getppid(), signal.SIGINT)
        with contextlib.suppress(Exception, Late), time_limit(REQUEST_SECONDS):
            sys.modules["wandb"].teardown()


if __name__ == "__main__":
    main()
