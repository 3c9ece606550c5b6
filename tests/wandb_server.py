"""A server as small as wandb can be brought to talk to, and a reader of what wandb keeps."""

from __future__ import annotations

import http.server
import importlib
import json
import re
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class WandbServer(http.server.ThreadingHTTPServer):
    """Accepts every run and file.

    Args:
        answers: questions that it answers; from then on it takes requests and never answers.
        garbage: whether to answer with a page that is not wandb's.
    """

    daemon_threads = True

    def __init__(self, answers: float = float("inf"), garbage: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.garbage = answers, garbage
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Operations and their variables, in the order of their arrival."""
        self.posted: dict[str, bytes] = {}
        """What was sent to each path, in one piece."""
        self.gone = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, operation: str, about: dict[str, Any]) -> dict[str, Any]:
        """Answer as wandb needs it to go on."""
        project = {"id": "p", "name": "e2c", "entity": {"id": "e", "name": "somebody"}}
        run = {"id": "b", "name": about.get("name"), "displayName": "", "config": "{}"}
        names = about.get("files") or []
        files = [{"name": name, "uploadUrl": f"{self.url}/store/{name}"} for name in names]
        artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
        viewer = {"id": "v", "entity": "somebody", "username": "somebody", "flags": "{}"}
        replies: dict[str, dict[str, Any]] = {
            "UpsertBucket": {"upsertBucket": {"bucket": {**run, "project": project}}},
            "RunResumeStatus": {"model": None},
            "Viewer": {"viewer": {**viewer, "email": "", "teams": {"edges": []}}},
            "ArtifactType": {"project": {"artifact": None}},
            "CreateArtifact": {"createArtifact": {"artifact": artifact}},
            "CreateRunFiles": {
                "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}
            },
        }
        return replies.get(operation, {})


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            answer = {"data": self._answer(json.loads(content))}
        else:
            self.server.posted[self.path] = self.server.posted.get(self.path, b"") + content
        if len(self.server.asked) > self.server.answers:
            self.server.gone.wait()
        self._send(b"<html>Hello" if self.server.garbage else json.dumps(answer).encode())

    do_GET = do_PUT = do_POST

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", question["query"])
        operation, about = found[1] if found else "", question.get("variables") or {}
        self.server.asked.append((operation, about))
        return self.server.reply(operation, about)

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def records(path: Path) -> Iterator[Any]:
    """Read a ``.wandb`` file: after 7 bytes, pieces of records in blocks of 32 KiB (LevelDB's log).

    A piece has a checksum of 4 bytes, its size in 2 and its place in 1: 1 for a whole record,
    2, 3 and 4 for the first, middle and last piece of one.
    """
    parse = importlib.import_module("wandb.proto.wandb_internal_pb2").Record.FromString
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (rest := -at % 32768) and rest < 7:
            at += rest
            continue
        size, place = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + size]
        at += 7 + size
        if place in (1, 4):
            yield parse(record)
            record = b""
