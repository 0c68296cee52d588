"""Following a stream over real sockets: resumed where it broke off, and nothing left out unsaid."""

from __future__ import annotations

import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from console.api.audit import EVENT_TAIL
from console.errors import ExitCode, PilotError
from console.net.client import Apis
from console.net.stream import MAX_EVENT_BYTES, Tail

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def row(index: int, previous: int) -> bytes:
    event = {
        "index": index, "source": "policy", "sequence": index + 1, "id": f"evt_{index}",
        "at": "2026-03-01T12:00:00Z", "actor": "a", "action": "x.y", "kind": "k", "target": "t",
        "outcome": "success", "body": "{}",
    }  # fmt: skip
    data = json.dumps({"previous": previous, "row": event})
    return f"id: {index}\nevent: row\ndata: {data}\n\n".encode()


def mark(reached: int, previous: int) -> bytes:
    data = json.dumps({"previous": previous, "row": None})
    return f": a comment\nid: {reached}\nevent: mark\ndata: {data}\n\n".encode()


@contextmanager
def answering(answers: Sequence[Callable[[str], bytes]]) -> Iterator[tuple[Apis, list[str]]]:
    """An API that gives each connection the next answer, by its `Last-Event-ID`, and ends."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    head = line.recv(65536).decode().lower()
                    last = head.partition("last-event-id: ")[2].partition("\r\n")[0]
                    asked.append(last)
                    line.sendall(answer(last))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        apis = Apis({"audit": f"http://127.0.0.1:{server.getsockname()[1]}"}, token=lambda: None)
        try:
            yield apis, asked
        finally:
            apis.close()
    thread.join(5)


def endless(line: socket.socket, piece: bytes) -> int:
    """Send `piece` for as long as somebody reads; return how many bytes were taken."""
    sent = 0
    line.settimeout(60)
    try:
        while sent < 400_000_000:
            line.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    return sent


def followed(apis: Apis, count: int, **more: object) -> tuple[list[int], list[str], list[float]]:
    """Follow until so many rows came."""
    told: list[str] = []
    slept: list[float] = []
    rows: list[int] = []
    tail = Tail(apis, EVENT_TAIL, {}, on_trouble=told.append, sleep=slept.append, **more)  # type: ignore[arg-type]
    for messages in tail:
        rows += [each.row.index for each in messages if each.row is not None]
        if len(rows) >= count:
            break
    return rows, told, slept


def test_what_breaks_off_is_resumed_after_the_last_row_and_marks_count_as_far() -> None:
    answers = [
        lambda _: HEAD + mark(4, 4) + row(5, 4) + mark(9, 5) + row(10, 9)[:40],
        lambda _: HEAD + mark(9, 9) + row(10, 9) + row(11, 10),
    ]
    with answering(answers) as (apis, asked):
        rows, told, slept = followed(apis, 3, after=4)
    assert rows == [5, 10, 11]
    assert asked == ["4", "9"]
    assert len(told) == len(slept) == 1
    assert 0 < slept[0] <= 0.2


def test_rows_that_were_left_out_are_asked_for_again_and_refused_in_the_end() -> None:
    honest = [
        lambda _: HEAD + row(5, 4) + row(8, 7),
        lambda last: HEAD + row(6, int(last)) + row(7, 6),
    ]
    with answering(honest) as (apis, asked):
        rows, told, _ = followed(apis, 3, after=4)
    assert (rows, asked[1]) == ([5, 6, 7], "5")
    assert "went on after 7" in told[0]
    liar = [lambda _: HEAD + row(8, 7)] * 3
    with answering(liar) as (apis, _), pytest.raises(PilotError) as caught:
        followed(apis, 1, after=4)
    assert (caught.value.code, caught.value.exit) == ("stream-gap", ExitCode.UNVERIFIED)


def test_pauses_grow_and_are_not_the_same_for_all() -> None:
    broken = [lambda _: HEAD + mark(4, 4), *([lambda _: b""] * 6), lambda _: HEAD + row(5, 4)]
    with answering(broken) as (apis, _):
        rows, told, slept = followed(apis, 1, after=4)
    assert rows == [5]
    assert len(told) == len(slept) == 7
    assert slept[-1] > slept[0]
    assert all(pause <= 15 for pause in slept)


def test_a_refusal_and_an_api_that_is_not_there_are_errors_at_once() -> None:
    problem = b'{"type":"urn:pilotctl:problem:role-missing","title":"x","status":403,"detail":"no"}'
    refused = (
        b"HTTP/1.1 403 No\r\nContent-Type: application/problem+json\r\nContent-Length: "
        + str(len(problem)).encode()
        + b"\r\n\r\n"
        + problem
    )
    with answering([lambda _: refused]) as (apis, _), pytest.raises(PilotError) as caught:
        followed(apis, 1)
    assert caught.value.exit is ExitCode.REFUSED
    gone = Apis({"audit": "unix:/nowhere/audit.sock"}, token=lambda: None)
    with pytest.raises(PilotError) as caught:
        followed(gone, 1)
    assert caught.value.exit is ExitCode.UNAVAILABLE
    gone.close()


def test_what_is_no_stream_is_not_believed() -> None:
    nonsense = [
        lambda _: HEAD + b'id: 5\nevent: row\ndata: {"previous": 4, "row": 7}\n\n',
        lambda _: HEAD + b"data: \xff\xfe\n\n",
        lambda _: HEAD + row(5, 4),
    ]
    with answering(nonsense) as (apis, _):
        rows, told, _ = followed(apis, 1, after=4)
    assert rows == [5]
    assert all("something else" in each for each in told[:1])


@pytest.mark.parametrize(
    "piece", [b"x" * 65536, b"data: " + b"x" * 60000 + b"\n", b"data: x\nid: 1\n" * 4000]
)
def test_a_line_or_an_event_without_end_is_given_up_in_little_memory(
    piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = MAX_EVENT_BYTES // 8  # each small line is looked at, under a profiler of memory
    monkeypatch.setattr("console.net.stream.MAX_EVENT_BYTES", most)
    taken: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(65536)
                line.sendall(HEAD + b"data: ")
                taken.append(endless(line, piece))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        apis = Apis({"audit": f"http://127.0.0.1:{server.getsockname()[1]}"}, token=lambda: None)
        tail = Tail(apis, EVENT_TAIL, {}, sleep=_stop)
        tracemalloc.start()
        try:
            with pytest.raises(_StoppedError):
                next(iter(tail))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            apis.close()
        thread.join(20)
    assert peak < 8 * most
    assert taken[0] < 10 * MAX_EVENT_BYTES


class _StoppedError(Exception):
    """The stream was given up."""


def _stop(_seconds: float) -> None:
    raise _StoppedError
