"""wandb as people use it, and as it fails: never more than one line, and never the run."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from processes import LIGHT, python
from wandb_server import WandbServer, records

from e2c.files import tracking, wandb_process
from e2c.files.tracking import Tracker

SESSION = (
    LIGHT
    + """
from pathlib import Path
from e2c.files import tracking
tracking.PATIENCE = {"online": 60.0, "offline": 60.0}  # the machine may be busy
folder, mode, keep, end = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
tracker = tracking.Tracker(folder, mode, {"seed": 7, "model": {"latent_dim": 3}}, keep)
for step in range(keep, keep + 3):
    tracker.log({"step": 100 * step, "loss": 2.5 - step})
tracker.log({"round": 1, "transitions": 48, "own_success_rate": float("nan")})
tracker.image("losses", folder / "losses.png")
tracker.video("episode", folder / "episode.mp4")
tracker.table("episodes", [{"start": [0.5, 0.0], "success": True}, {"start": [1.0, 2.0], "x": 1}])
if end == "close":
    tracker.close({"steps": 300, "seconds": {"total": 1.5}})
elif end == "abandon":
    tracker.abandon()
"""
)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63"
    "600000000200015d0a2db40000000049454e44ae426082"
)
"""A picture of one pixel, as a PNG file."""


@dataclass
class Session:
    """What one process did that used wandb."""

    folder: Path
    said: list[str]

    @property
    def records(self) -> list[tuple[str, Any]]:
        """Kinds and contents of what the last session left in the folder, in order."""
        file = max(self.folder.glob("wandb/*run-*/*.wandb"), key=os.path.getmtime)
        kinds = [(record.WhichOneof("record_type"), record) for record in records(file)]
        return [(kind, getattr(record, kind)) for kind, record in kinds]

    def of(self, kind: str) -> list[Any]:
        return [content for found, content in self.records if found == kind]


def session(
    folder: Path, mode: str, server: str = "", keep: int = 0, end: str = "close"
) -> Session:
    (folder / "losses.png").write_bytes(PIXEL)
    (folder / "episode.mp4").write_bytes(b"film")
    login = {"WANDB_BASE_URL": server, "WANDB_API_KEY": "0" * 40} if server else {}
    done = python("-c", SESSION, str(folder), mode, str(keep), end, HOME=str(folder), **login)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return Session(folder, done.stderr.splitlines())


@dataclass
class Sessions:
    """One session for each thing that can happen, side by side, since they mostly wait.

    The tests of those that wait longest come last.
    """

    server: WandbServer
    begun: dict[str, Future[Session]]

    def __getitem__(self, name: str) -> Session:
        return self.begun[name].result()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    servers = {
        "online": WandbServer(),
        "a server that never answers": WandbServer(answers=0),
        "a server that answers otherwise": WandbServer(garbage=True),
        "a network that vanishes": WandbServer(answers=3),
    }
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        how: dict[str, dict[str, Any]] = {
            "offline": {"mode": "offline"},
            "abandoned": {"mode": "offline", "end": "abandon"},
            "killed": {"mode": "offline", "end": "nothing"},
            "nobody logged in": {"mode": "online"},
            "a server that is not there": {"mode": "online", "server": nobody},
            **{name: {"mode": "online", "server": server.url} for name, server in servers.items()},
        }
        folders = {name: tmp_path_factory.mktemp("run") for name in how}
        with ThreadPoolExecutor(len(how)) as pool:
            begun = {name: pool.submit(session, folders[name], **how[name]) for name in how}
            yield Sessions(servers["online"], begun)
    for server in servers.values():
        server.gone.set()
        server.shutdown()
        server.server_close()


def values(history: Any) -> dict[str, Any]:
    """A row of the history; what wandb adds to it is left out."""
    found = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in history.item}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def test_a_run_is_told_of_in_one_line(sessions: Sessions) -> None:
    kept = next(sessions["offline"].folder.glob("wandb/offline-run-*"))
    assert sessions["offline"].said == [f"e2c: wandb: 'wandb sync {kept}' uploads it."]
    assert len(sessions["online"].said) == 1
    assert sessions["online"].said[0].startswith(f"e2c: wandb: {sessions.server.url}/somebody/e2c/")


def test_the_configuration_and_the_summary_are_kept(sessions: Sessions) -> None:
    (run,) = sessions["offline"].of("run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["seed"] == 7
    assert config["model"] == {"latent_dim": 3}
    last = [item for summary in sessions["offline"].of("summary") for item in summary.update]
    summary = {item.key: json.loads(item.value_json) for item in last if item.key}
    assert summary["steps"] == 300
    assert summary["seconds"] == {"total": 1.5}


def test_curves_have_their_own_axes(sessions: Sessions) -> None:
    rows = [values(row) for row in sessions["offline"].of("history")]
    assert rows[:3] == [{"step": 100 * i, "loss": 2.5 - i} for i in range(3)]
    assert rows[3]["transitions"] == 48
    axes = {metric.name: metric.step_metric for metric in sessions["offline"].of("metric")}
    assert axes == {
        "step": "",
        "loss": "step",
        "transitions": "",
        "round": "transitions",
        "own_success_rate": "transitions",
    }


def test_pictures_films_and_tables_are_kept(sessions: Sessions) -> None:
    (folder,) = sessions["offline"].folder.glob("wandb/offline-run-*/files/media")
    (image,) = folder.glob("images/losses_*.png")
    (film,) = folder.glob("videos/episode_*.mp4")
    (table,) = folder.glob("table/episodes_*.json")
    assert image.read_bytes() == PIXEL
    assert film.read_bytes() == b"film"
    content = json.loads(table.read_text())
    assert content["columns"] == ["start", "success", "x"]
    assert content["data"] == [[[0.5, 0.0], True, None], [[1.0, 2.0], None, 1]]
    (artifact,) = sessions["offline"].of("artifact")
    assert artifact.name.endswith("-episodes")


@pytest.mark.parametrize(("name", "status"), [("offline", 0), ("abandoned", 1), ("killed", 1)])
def test_how_a_run_ended_is_known(sessions: Sessions, name: str, status: int) -> None:
    """A process that is killed tells nobody; its end of the socket closes all the same."""
    assert sessions[name].of("exit")[-1].exit_code == status


def test_online_everything_is_sent(sessions: Sessions) -> None:
    assert sessions["online"].said
    posted = sessions.server.posted
    (stream,) = [path for path in posted if path.endswith("/file_stream")]
    assert rb"\"step\":200" in posted[stream]
    assert [posted[p] for p in posted if "/media/videos/episode_" in p] == [b"film"]
    assert [posted[p] for p in posted if "/media/images/losses_" in p] == [PIXEL]
    assert "CreateArtifact" in [operation for operation, _ in sessions.server.asked]


def test_a_resumed_run_goes_on_in_the_same_wandb_run(sessions: Sessions, tmp_path: Path) -> None:
    """Whatever wandb asks the server about it, it asks by the name of the first session."""
    online = sessions["online"]
    first = online.folder
    name = (first / "wandb" / "id").read_text()
    before = len(sessions.server.asked)
    second = session(first, "online", sessions.server.url, keep=2)
    assert second.said == online.said
    asked = sessions.server.asked[before:]
    assert {about["name"] for operation, about in asked if operation == "UpsertBucket"} == {name}
    assert "RunResumeStatus" in [operation for operation, _ in asked]
    anew = session(tmp_path, "online", sessions.server.url)
    assert anew.said != second.said


def test_a_run_that_is_begun_anew_is_another_wandb_run(tmp_path: Path) -> None:
    first = tracking._run_id(tmp_path, resumed=False)
    assert tracking._run_id(tmp_path, resumed=True) == first
    assert tracking._run_id(tmp_path, resumed=False) != first


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [
        ("WANDB_MODE", "disabled", "off"),
        ("WANDB_DISABLED", "true", "off"),
        ("WANDB_MODE", "offline", "offline"),
    ],
)
def test_the_environment_may_ask_for_more_privacy(
    name: str,
    value: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert tracking._allowed_here("online") == mode
    assert capsys.readouterr().err.startswith(f"e2c: wandb is {mode}, since the environment")
    assert tracking._allowed_here("off") == "off"
    assert capsys.readouterr().err == ""


def test_the_environment_never_asks_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert tracking._allowed_here("offline") == "offline"


# ----------------------------------------------------------------------------- when wandb is broken


class Wandb(MagicMock):
    """Stands in for the module, and runs in the test's own process."""

    def serve(self, *requests: tuple[str, Any]) -> list[str]:
        """Serve requests after a ``begin`` through a socket; return what is told."""
        ours, theirs = socket.socketpair()
        about = {"folder": "run", "mode": "offline", "run_id": "x", "config": {}}
        begin = ("begin", {**about, "command": ["train.py"], "process": 1})
        with ours:
            ours.sendall("".join(f"{json.dumps(r)}\n" for r in (begin, *requests)).encode())
            ours.shutdown(socket.SHUT_WR)
            sys.argv[1:] = [str(theirs.detach())]
            wandb_process.main()
            return ours.makefile().read().splitlines()


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    fake = Wandb()
    fake.init.return_value.dir = "run/wandb/offline-run-x/files"
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    return fake


PLACE = "wandb: 'wandb sync run/wandb/offline-run-x' uploads it."


def test_requests_become_calls(wandb: Wandb) -> None:
    told = wandb.serve(("log", {"step": 1, "loss": 2}), ("summary", {"a": 1}), ("finish", 0))
    assert told == [PLACE]
    run = wandb.init.return_value
    run.log.assert_called_once_with({"step": 1, "loss": 2})
    run.summary.update.assert_called_once_with({"a": 1})
    run.finish.assert_called_once_with(0)
    wandb.teardown.assert_called_once()
    assert wandb.login.call_count == 0, "offline, nobody needs to be known"


def test_wandb_is_told_never_to_ask_and_what_costs_time(
    wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question would stop a run that nobody watches; on a terminal wandb asks by default.

    Unless it is silent, wandb asks the server for the user's name and waits; and it waits for the
    server that takes reports on its faults.
    """
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    wandb.login.return_value = False
    about = wandb_process.Beginning("run", "online", "x", {}, ["train.py"], 1)
    wandb_process.begin(about, lambda _: None)
    assert wandb.login.call_args.kwargs == {"prompt": False, "verify": False}
    assert [call.kwargs["mode"] for call in wandb.init.call_args_list] == ["offline"]
    assert wandb.Settings.call_args.kwargs["silent"] is True
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.parametrize("error", [RuntimeError("no\nsuch thing"), BrokenPipeError(), TypeError()])
def test_a_wandb_that_fails_is_left_alone(wandb: Wandb, error: Exception) -> None:
    run = wandb.init.return_value
    run.log.side_effect = error
    told = wandb.serve(*[("log", {"step": i}) for i in range(2000)], ("finish", 0))
    reason = "no" if str(error) else type(error).__name__
    assert told == [PLACE, f"wandb is off from here on, since {reason}; the run goes on."]
    assert run.log.call_count == 1
    wandb.teardown.assert_called_once()


def test_a_wandb_that_lacks_something_is_left_alone(wandb: Wandb) -> None:
    del wandb.Settings
    assert wandb.serve(("finish", 0)) == [
        "wandb is off from here on, since Settings; the run goes on."
    ]


def test_a_wandb_that_is_not_installed_is_left_alone(
    wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    (told,) = wandb.serve(("log", {"step": 1}), ("finish", 0))
    assert told.startswith("wandb is off from here on, since import of wandb halted")


def test_a_request_that_takes_too_long_is_interrupted(
    wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where wandb takes every Exception for its own; what follows is kept all the same."""
    monkeypatch.setattr(wandb_process, "REQUEST_SECONDS", 0.05)

    def wait(row: dict[str, float]) -> None:
        try:
            signal.pause()
        except Exception:
            pytest.fail("wandb would go on waiting")

    run = wandb.init.return_value
    run.log.side_effect = wait
    told = wandb.serve(("log", {"step": 1}), ("summary", {"a": 1}), ("finish", 0))
    assert told[1:] == [
        "wandb did not take everything in time; 'wandb sync run/wandb/offline-run-x' uploads it."
    ]
    run.summary.update.assert_called_once_with({"a": 1})
    run.finish.assert_called_once_with(0)


def test_what_is_not_sent_at_the_end_is_told_of(wandb: Wandb) -> None:
    wandb.init.return_value.finish.side_effect = TimeoutError
    assert wandb.serve(("finish", 0)) == [
        PLACE,
        "wandb did not take everything in time; 'wandb sync run/wandb/offline-run-x' uploads it.",
    ]
    assert wandb.Settings.call_args.kwargs["finish_timeout_raises"] is True
    wandb.teardown.assert_called_once()


def test_the_stop_button_stops_the_run(wandb: Wandb, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = MagicMock()
    monkeypatch.setattr(os, "kill", kill)
    wandb.init.return_value.log.side_effect = KeyboardInterrupt
    wandb.serve(("log", {"step": 1}))
    kill.assert_called_once_with(os.getppid(), signal.SIGINT)


# ------------------------------------------------------------------- when wandb's process is broken


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for wandb's process."""
    found = tmp_path / "process.py"
    monkeypatch.setattr(wandb_process, "__file__", str(found))
    monkeypatch.setattr(tracking, "PATIENCE", {"offline": 1.0})
    return found


def tracked(folder: Path) -> tuple[Tracker, Any]:
    """A tracker that has logged a row, and the process that it uses."""
    tracker = Tracker(folder, "offline", {})
    tracker.log({"step": 1})
    return tracker, tracker._wandb._process


def test_a_process_that_hangs_is_stopped(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.write_text("import time; time.sleep(1000)", encoding="utf-8")
    tracker, process = tracked(tmp_path)
    assert os.getsid(process.pid) == process.pid, "Ctrl-C is not for it"
    tracker.close({"steps": 1})
    assert process.poll() is not None
    assert capsys.readouterr().err == (
        "e2c: wandb is off from here on, since its process did not answer for 1 s; "
        "the run goes on.\n"
    )


def test_a_process_that_does_not_listen_is_not_waited_for_long(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.write_text("import time; time.sleep(1000)", encoding="utf-8")
    tracker, process = tracked(tmp_path)
    tracker.table("much", [{"text": "x" * 10_000_000}])
    assert process.poll() is not None
    tracker.log({"step": 2})
    tracker.close({})
    assert capsys.readouterr().err.count("\n") == 1
    assert tracker.rows == 2


def test_a_process_that_dies_is_told_of_once(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.write_text("import os; os.abort()", encoding="utf-8")
    tracker, process = tracked(tmp_path)
    process.wait()
    tracker.log({"step": 2})
    tracker.log({"step": 3})
    tracker.close({})
    assert capsys.readouterr().err == (
        "e2c: wandb is off from here on, since its process ended by itself; the run goes on.\n"
    )
    assert [json.loads(row)["step"] for row in tracker.path.open()] == [1, 2, 3]


def test_a_process_that_cannot_start_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    tracker = Tracker(tmp_path, "offline", {})
    tracker.log({"step": 1})
    tracker.close({})
    told = capsys.readouterr().err
    assert told.startswith("e2c: wandb is off, since its process did not start (")
    assert told.count("\n") == 1


def test_what_the_process_prints_stays_there(
    script: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script.write_text("import os, sys; os.write(1, b'out'); os.write(2, b'err')", encoding="utf-8")
    tracker, process = tracked(tmp_path)
    process.wait()
    tracker.close({})
    assert capfd.readouterr() == ("", "")


# ----------------------------------------------------------------------- when the network is broken


@pytest.mark.parametrize(
    "name",
    [
        "nobody logged in",
        "a server that is not there",
        "a server that never answers",
        "a server that answers otherwise",
    ],
)
def test_without_a_server_the_run_is_kept_for_later(sessions: Sessions, name: str) -> None:
    found = sessions[name]
    (kept,) = found.folder.glob("wandb/offline-run-*")
    assert len(found.said) == 1
    assert found.said[0].startswith("e2c: wandb goes offline, since ")
    assert found.said[0].endswith(f": 'wandb sync {kept}' uploads it.")
    rows = [values(row) for row in found.of("history")]
    assert rows[2] == {"step": 200, "loss": 0.5}
    assert found.of("exit")[-1].exit_code == 0


def test_a_network_that_vanishes_costs_one_line(sessions: Sessions) -> None:
    found = sessions["a network that vanishes"]
    (kept,) = found.folder.glob("wandb/run-*")
    place, late = found.said
    assert place.startswith("e2c: wandb: http://127.0.0.1:")
    assert late == (f"e2c: wandb did not take everything in time; 'wandb sync {kept}' uploads it.")
    assert [values(row)["step"] for row in found.of("history")[:3]] == [0, 100, 200]
    assert json.loads(found.of("summary")[-1].update[0].value_json) is not None
