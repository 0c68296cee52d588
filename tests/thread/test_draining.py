"""`down` lets calls in flight end for a stated time; what it cuts is told as cut."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from console.services import supervisor
from tests.thread.pilot_rig import (
    PLAIN,
    Rig,
    granted,
    key_of,
    programme,
    running,
    short_folder,
    start_services,
)

WHOLE = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


class Lab(BaseHTTPRequestHandler):
    """A model API that streams some words, and the rest once it may go on."""

    may_go_on = threading.Event()

    def do_POST(self) -> None:
        with suppress(BrokenPipeError):  # its caller may be cut off
            self._stream()

    def _stream(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        if not body.get("stream"):
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(WHOLE).encode())
            return
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for n in range(5):
            self._say({"choices": [{"index": 0, "delta": {"content": f"word {n} "}}]})
        if Lab.may_go_on.wait(60):
            self._say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, part: dict[str, Any]) -> None:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(f"data: {json.dumps({**head, **part})}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lab)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        Lab.may_go_on.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def pilot(lab: str) -> Iterator[Rig]:
    more = f'[upstreams.lab]\nkind = "openai"\nbase_url = "{lab}"\n'
    with short_folder() as folder, running(folder / "home", more=more, upstream="lab") as rig:
        programme(rig)
        yield rig


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test finds running; its model API holds streams."""
    Lab.may_go_on.clear()
    if not supervisor.status(pilot.home).running:
        started(pilot)
    yield pilot
    Lab.may_go_on.set()


def started(rig: Rig) -> None:
    start_services(rig.home)
    rig.forget()


def streaming(rig: Rig, key: str, while_it_runs: Any) -> str:
    """Stream a call; run `while_it_runs` after its first bytes; return all that came."""
    body = {
        "model": "aurora-1", "stream": True, "max_tokens": 4000,
        "messages": [{"role": "user", "content": "go on"}],
    }  # fmt: skip
    base, text = rig.points()[0], ""
    with httpx.stream(
        "POST", f"{base}/v1/chat/completions", json=body, timeout=60, verify=PLAIN,
        headers={"authorization": f"Bearer {key}"},
    ) as answer:  # fmt: skip
        parts = answer.iter_text()
        text = next(parts)
        rig.until(lambda: rig.json("point", "list")["items"][0]["in_flight"], what="it is counted")
        while_it_runs()
        text += "".join(parts)
    return text


def test_down_lets_a_stream_end_and_says_for_how_long(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    said: list[Any] = []

    def down() -> None:
        done = begun(rig, "down", "--home", str(rig.home), "--drain", "60")
        said.append(done)
        assert "1 call in flight may go on for 60 s" in done.stderr.readline()
        Lab.may_go_on.set()

    text = streaming(rig, key, down)
    assert text.rstrip().endswith("data: [DONE]")
    with said[0] as done:
        assert done.wait(60) == 0
    started(rig)
    calls = rig.until(lambda: rig.json("call", "list", "--outcome", "allowed")["items"])
    assert [each["finish_reason"] for each in calls if each["stream"]] == ["stop"]


def test_what_is_cut_at_the_end_of_the_time_was_no_refusal_and_is_in_the_log(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    text = streaming(
        rig, key, lambda: rig.ok("down", "--home", str(rig.home), "--drain", "0.2")
    )  # fmt: skip
    assert "[DONE]" not in text
    assert "point_stopped" in text, "the caller is told, within the stream"
    started(rig)
    (call,) = rig.until(lambda: rig.json("call", "list", "--outcome", "error")["items"])
    assert call["code"] == "point_stopped"
    assert call["output_tokens"] > 0
    assert call["estimated"]
    assert not rig.json("call", "list", "--outcome", "denied")["items"]
    rig.until(lambda: "point.cut-calls" in rig.actions(), what="the log has it")
    (event,) = [each for each in rig.events() if each.action == "point.cut-calls"]
    facts = json.loads(event.body)["unmapped"]["facts"]
    assert facts == {"calls": [call["id"]], "partners": ["acme"]}


def test_down_ends_in_the_stated_time_whatever_hangs(rig: Rig) -> None:
    """Two streams whose upstream never ends, one of them unread, and half a request."""
    credential, key = key_of(rig, granted(rig).id)
    body = json.dumps({
        "model": "aurora-1", "stream": True, "max_tokens": 4000,
        "messages": [{"role": "user", "content": "go on"}],
    })  # fmt: skip
    place = httpx.URL(rig.points()[0])
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    half = "POST /v1/partners HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{"
    with (
        socket.create_connection((place.host, place.port)) as read,
        socket.create_connection((place.host, place.port)) as unread,
        socket.socket(socket.AF_UNIX) as held,
    ):
        for each in (read, unread):
            each.sendall((head + body).encode())
        held.connect(str(rig.home / "run" / "policy.sock"))
        held.sendall(half.encode())
        rig.until(lambda: rig.json("point", "list")["items"][0]["in_flight"] == 2, what="both")
        rig.ok("down", "--home", str(rig.home), "--drain", "1")
        assert "point_stopped" in _rest(read)
    stopping = _last_stop(rig)
    assert not [each for each in stopping if each.endswith(": killed")], stopping
    assert _seconds_between(stopping[0], stopping[-1]) >= 1.0, stopping
    started(rig)
    calls = rig.json("call", "list", "--code", "point_stopped")["items"]
    mine = {each["id"] for each in calls if each["credential_id"] == credential}
    assert len(mine) == 2
    cut = [json.loads(each.body) for each in rig.events() if each.action == "point.cut-calls"]
    assert mine in [set(each["unmapped"]["facts"]["calls"]) for each in cut]


def test_the_order_to_stop_waits_for_no_reader_of_what_is_said(rig: Rig) -> None:
    """The stated time begins with the order: nothing that only tells of it comes before."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    with suppress(BlockingIOError):
        while os.write(writable, b"x" * 65536):
            pass
    os.set_blocking(writable, True)
    with subprocess.Popen(
        [sys.executable, "-m", "console", "down", "--home", str(rig.home), "--drain", "1"],
        stdout=subprocess.DEVNULL, stderr=writable, env=rig.env,
    ) as down:  # fmt: skip
        os.close(writable)
        try:
            rig.until(lambda: not supervisor.status(rig.home).running, what="it is down")
        finally:
            os.close(readable)
            down.wait(60)
    started(rig)


def _rest(connection: socket.socket) -> str:
    """Return all that still comes over a connection."""
    connection.settimeout(60)
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()


def _last_stop(rig: Rig) -> list[str]:
    """Return what the supervisor logged from the last order to stop until everything had."""
    lines = (rig.home / "logs" / "supervisor.log").read_text().splitlines()
    told = max(at for at, line in enumerate(lines) if line.endswith("told to stop"))
    ended = max(at for at, line in enumerate(lines) if line.endswith("Z stopped"))
    return lines[told : ended + 1]


def _seconds_between(first: str, last: str) -> float:
    begin, end = (datetime.fromisoformat(line.split()[0]) for line in (first, last))
    return (end - begin).total_seconds()


def begun(rig: Rig, *words: str) -> Any:
    """Start a command, and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "console", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=rig.env,
    )  # fmt: skip
