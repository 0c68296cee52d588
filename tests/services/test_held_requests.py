"""Every write route, with its body held back while the caller loses what let them in.

Real services, raw sockets: the headers and a part of the body are sent, the caller is cut,
expired, demoted or replaced, then the last byte follows. Nothing may come of it.
"""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from console.api.contract import ROUTES
from console.api.route import Route
from console.model.ids import ulid
from console.model.operator import Role
from console.model.text import now, rfc3339
from tests.thread.pilot_rig import Rig, running, short_folder

WHY = "tests"
SEED = 1809
BODY = b'{"reason": "held back"}'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WRITES = [each for each in ROUTES if each.writes and each.role is not Role.VIEWER]
"""Every route of the three services that changes something."""
STREAMS = [each for each in ROUTES if each.streams]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


class Held:
    """One request whose headers were judged, and whose body is not sent to its end."""

    def __init__(self, rig: Rig, route: Route, token: str) -> None:
        self.route = route
        path = route.path
        while "{" in path:
            before, _, rest = path.partition("{")
            path = f"{before}none{rest.partition('}')[2]}"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(rig.home / "run" / f"{route.api}.sock"))
        head = (
            f"{route.method} {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            "Connection: close\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f'Idempotency-Key: "{ulid()}"\r\nIf-Match: "1"\r\nContent-Length: {len(BODY)}\r\n\r\n'
        )
        self.socket.sendall(head.encode())
        said = self.socket.recv(len(CONTINUE))
        self.admitted = said == CONTINUE
        if self.admitted:
            self.socket.sendall(BODY[:-1])

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def answer(self) -> tuple[int, str]:
        """Send the last byte; return the status and the problem."""
        with suppress(OSError):  # answered and closed already
            self.socket.sendall(BODY[-1:])
        read = b""
        while part := self.socket.recv(65536):
            read += part
        head, _, body = read.partition(b"\r\n\r\n")
        found = json.loads(body) if body.startswith(b"{") else {}
        status = int(head.split(b" ", 2)[1])
        return status, str(found.get("type", "")).rpartition(":")[2]


def new_token(rig: Rig, name: str, **more: Any) -> str:
    rig.do("operator.add", operator=name, roles=["admin"], reason=WHY)
    return str(rig.do("operator.token", operator=name, reason=WHY, **more).secret)


def cut(rig: Rig, name: str) -> None:
    assert rig.do("operator.cut", operator=name, reason=WHY).state == "cut"


def demoted(rig: Rig, name: str) -> None:
    rig.do("operator.set", operator=name, roles=["viewer"], reason=WHY)


def replaced(rig: Rig, name: str) -> None:
    rig.do("operator.token", operator=name, replace=True, reason=WHY)


def expired(rig: Rig, name: str) -> None:
    """Its end comes by itself: the answers are what is waited for."""


CHANGES: dict[str, tuple[Callable[[Rig, str], None], str]] = {
    "cut": (cut, "not-an-operator"),
    "expired": (expired, "not-an-operator"),
    "demoted": (demoted, "role-missing"),
    "replaced": (replaced, "not-an-operator"),
}


def hold_and_lose(rig: Rig, routes: Sequence[Route]) -> list[str]:
    """Hold a request to each route for each way to lose; return what came of any that should not.

    All are held at once: a token that ends by itself does so meanwhile.
    """
    found: list[str] = []
    with ExitStack() as stack:
        held: dict[str, list[Held]] = {}
        names: dict[str, str] = {}

        def hold(token: str) -> list[Held | None]:
            tried = [stack.enter_context(Held(rig, each, token)) for each in routes]
            return [each if each.admitted else None for each in tried]

        for what in CHANGES:
            names[what], held[what] = let_in(rig, what, hold)
        for what, (change, problem) in CHANGES.items():
            change(rig, names[what])
            for each in held[what]:
                if what == "expired":
                    each.socket.recv(1, socket.MSG_PEEK)  # answered at the token's end
                if (said := each.answer())[1] != problem:
                    found.append(f"{what}: {each.route.id}: {said}")
            found += traces_of(rig, names[what])
    return found


T = TypeVar("T")


def let_in(rig: Rig, what: str, ask: Callable[[str], list[T | None]]) -> tuple[str, list[T]]:
    """Ask with the token of a new operator, which may end by itself, until all are let in.

    Where a busy machine needs longer to ask than the token lives, another lives twice as long.
    """
    lifetime = timedelta(seconds=3)
    while True:
        name = f"{what}-{ulid().lower()[-8:]}"
        ends = {"ends_at": rfc3339(now() + lifetime)} if what == "expired" else {}
        asked = ask(new_token(rig, name, **ends))
        found = [each for each in asked if each is not None]
        if len(found) == len(asked):
            return name, found
        assert ends, f"{what}: refused at its headers"
        assert lifetime < timedelta(seconds=60), "refused at its headers while its token lives"
        lifetime *= 2


def traces_of(rig: Rig, name: str) -> list[str]:
    """Return what the stores hold of changes that `name` made."""
    found = []
    for service in ("policy", "gateway", "audit"):
        store = f"file:{rig.home / service}.db?mode=ro"
        with closing(sqlite3.connect(store, uri=True, timeout=60)) as conn:
            query = "SELECT route FROM idempotency WHERE operator = ?"
            found += [f"{service}: {row[0]}" for row in conn.execute(query, (name,))]
    return found


def test_a_held_request_changes_nothing_once_its_caller_lost_what_let_them_in(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    choose = random.Random(SEED)
    sample = choose.sample(WRITES, 12)
    record_property("told", f"seed {SEED}: {len(sample)} of {len(WRITES)} routes x {len(CHANGES)}")
    assert hold_and_lose(rig, sample) == []


def test_a_stream_ends_when_its_reader_is_cut_expired_or_replaced(rig: Rig) -> None:
    with ExitStack() as stack:
        streams: dict[str, list[socket.socket]] = {}
        names: dict[str, str] = {}

        def follow(token: str) -> list[socket.socket | None]:
            return [followed(rig, stack, each, token) for each in STREAMS]

        for what in ("cut", "expired", "replaced"):
            names[what], streams[what] = let_in(rig, what, follow)
        for what, name in names.items():
            CHANGES[what][0](rig, name)
            for each in streams[what]:
                assert ends_within(each, 60), what


def ends_within(sock: socket.socket, seconds: float) -> bool:
    """Read a stream, which is never silent for long, until its end."""
    end = time.monotonic() + seconds
    with suppress(ConnectionError):
        while sock.recv(65536):
            if time.monotonic() > end:
                return False
    return True


def followed(rig: Rig, stack: ExitStack, route: Route, token: str) -> socket.socket | None:
    """Follow a stream until its first bytes are there; return None where it is refused."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.settimeout(30)
    sock.connect(str(rig.home / "run" / f"{route.api}.sock"))
    head = f"GET {route.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    sock.sendall(head.encode())
    return sock if sock.recv(65536).startswith(b"HTTP/1.1 200 ") else None


@pytest.mark.long
def test_no_write_route_slips(rig: Rig, record_property: Callable[[str, object], None]) -> None:
    record_property("told", f"{len(WRITES)} routes x {len(CHANGES)}")
    for start in range(0, len(WRITES), 24):
        assert hold_and_lose(rig, WRITES[start : start + 24]) == []
