"""A real policy service on real sockets, and a gateway that a test can lead."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import Connection

from console.model.text import now
from console.services import settings
from console.services.cedar.shipped import bundle_in
from console.services.policy import clock, gateway_link, service
from console.services.policy.clock import due, tick
from console.services.policy.migrations import STEPS
from console.services.policy.service import serve
from console.services.store import Store
from console.services.web import server
from tests import nursery

REPO = Path(__file__).resolve().parents[3]
DAY = 86400
SPONSOR = getpass.getuser()
"""The one operator where `pilot.toml` names none: the user who runs the service."""


class Said(NamedTuple):
    """An answer."""

    status: int
    body: Any
    headers: Any

    @property
    def problem(self) -> str:
        """The problem's name."""
        return str(self.body["type"]).rpartition(":")[2]


def ahead(**length: float) -> str:
    """A moment from now on, as it is sent."""
    return (datetime.now(UTC) + timedelta(**length)).isoformat()


class Api:
    """Asks the policy service over its socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._count = 0

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        revision: int | None = None,
        key: str = "",
        headers: dict[str, str] | None = None,
    ) -> Said:
        self._count += 1
        sent = {"Idempotency-Key": key or f"key-{os.getpid()}-{self._count}-{time.time_ns()}"}
        if revision is not None:
            sent["If-Match"] = f'"{revision}"'
        sent |= headers or {}
        data = None
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            data = io.BytesIO(json.dumps(body).encode())
        async with self.session.request(
            method, "http://localhost" + path, data=data, headers=sent
        ) as answer:
            return Said(answer.status, json.loads(await answer.read()), answer.headers)

    async def get(self, path: str) -> Any:
        said = await self.ask("GET", path)
        assert said.status == 200, said
        return said.body

    async def post(self, path: str, body: Any, *, revision: int | None = None) -> Any:
        said = await self.ask("POST", path, body, revision=revision)
        assert said.status in {200, 201}, said
        return said.body

    async def events(self) -> list[dict[str, Any]]:
        """Every event that policy recorded, in order."""
        page = await self.get("/internal/v1/outbox?limit=2000")
        return [json.loads(item["body"]) for item in page["items"]]

    async def actions(self, target: str = "") -> list[str]:
        return [
            event["metadata"]["event_code"]
            for event in await self.events()
            if not target or event["unmapped"]["target"] == target
        ]

    async def state(self, grant: str) -> str:
        return str((await self.get(f"/v1/grants/{grant}"))["state"])

    async def status(self, *, healthy: bool) -> Any:
        """Wait until the service says that it is healthy, or is not; return what it says."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            found.update(await self.get("/v1/status"))
            return found["healthy"] is healthy

        await until(there, f"healthy: {healthy}")
        return found

    async def until(self, grant: str, state: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a grant is in a state."""
        end = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = await self.get(f"/v1/grants/{grant}")
            if found["state"] == state:
                return found
            assert time.monotonic() < end, f"{grant} is {found['state']}, not {state}"
            await asyncio.sleep(0.02)

    async def pilot(self, **changes: Any) -> None:
        await self.post(
            "/v1/pilots",
            {
                "slug": "aurora",
                "title": "Aurora",
                "models": ["aurora-1", "aurora-2"],
                "stages": [
                    {"key": "limited", "most_partners": 3, "longest_grant_seconds": 60 * DAY},
                    {"key": "sandbox", "most_partners": 1, "longest_grant_seconds": 10 * DAY},
                ],
                "reason": "agreed",
                **changes,
            },
        )

    async def capability(self, slug: str, **changes: Any) -> None:
        await self.post(
            "/v1/capabilities",
            {
                "slug": slug,
                "title": slug,
                "pilot": "aurora",
                "category": "dual-use",
                "tier": 1,
                "models": ["aurora-1", "aurora-2"],
                "routes": ["chat.completions", "messages"],
                "longest_grant_seconds": 30 * DAY,
                "reason": "agreed",
                **changes,
            },
        )

    async def partner(self, slug: str = "acme", *, until: str = "") -> None:
        """A verified partner."""
        await self.post(
            "/v1/partners",
            {
                "slug": slug,
                "name": slug,
                "sponsor": SPONSOR,
                "egress": ["127.0.0.0/8"],
                "reason": "asked to join",
            },
        )
        await self.post(
            f"/v1/partners/{slug}/verification",
            {"until": until or ahead(days=365), "evidence": "REF", "reason": "seen"},
            revision=1,
        )

    async def accept(self, partner: str = "acme") -> None:
        await self.post(
            "/v1/pilots/aurora/acceptances",
            {"partner": partner, "signatory": "A", "evidence": "E", "reason": "signed"},
        )

    async def assess(
        self, capability: str = "cyber.triage", partner: str = "acme", *, until: str = ""
    ) -> str:
        made = await self.post(
            "/v1/assessments",
            {
                "partner": partner,
                "capability": capability,
                "assessor": "A",
                "summary": "fine",
                "valid_until": until or ahead(days=200),
                "reason": "read on site",
            },
        )
        path = f"/v1/assessments/{made['id']}/acceptance"
        await self.post(path, {"reason": "read"}, revision=1)
        return str(made["id"])

    async def ready(self) -> None:
        """A pilot with terms and capabilities, and a partner who has everything."""
        await self.pilot()
        await self.capability("cyber.triage")
        await self.terms()
        await self.partner()
        await self.accept()
        await self.assess()

    async def terms(self, **changes: Any) -> Any:
        body = {"pilot": "aurora", "title": "Terms", "text": "be good", "reason": "first"}
        return await self.post("/v1/terms", {**body, **changes})


def wanted(**changes: Any) -> dict[str, Any]:
    """What `grant create` sends."""
    return {
        "pilot": "aurora",
        "stage": "limited",
        "partner": "acme",
        "capabilities": ["cyber.triage"],
        "purpose": "find bugs",
        "expires_at": ahead(days=20),
        "reason": "asked for",
        **changes,
    }


class FakeGateway:
    """Takes the projection and tells closings, as a gateway does."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.items: list[dict[str, Any]] = []
        self.applied = 0
        self.beats = 0
        self.closings: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self.takes = True
        self._asked: dict[str, list[int]] = {"closings": [], "notices": []}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_put("/internal/v1/projection", self._projection)
        app.router.add_get("/internal/v1/closings", self._closings)
        app.router.add_get("/internal/v1/notices", self._notices)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.socket.unlink(missing_ok=True)

    async def _projection(self, request: web.Request) -> web.Response:
        told = await request.json()
        assert set(told) == {"from", "items", "as_of"}
        self.beats += 1
        if not self.takes:
            return web.json_response({"type": "x", "title": "away", "status": 503}, status=503)
        for item in told["items"]:
            if item["seq"] > self.applied:
                self.applied = item["seq"]
                self.items.append(item)
        return web.json_response({"applied": self.applied})

    async def _closings(self, request: web.Request) -> web.Response:
        new = await self._after(request, "closings", self.closings)
        head = max((each["seq"] for each in self.closings), default=0)
        return web.json_response({"items": new, "head": head})

    async def _notices(self, request: web.Request) -> web.Response:
        return web.json_response({"items": await self._after(request, "notices", self.notices)})

    async def _after(
        self, request: web.Request, line: str, kept: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        after = int(request.query["after"])
        self._asked[line].append(after)
        for _ in range(10):
            new = [each for each in kept if each["seq"] > after]
            if new:
                break
            await asyncio.sleep(0.02)
        return new

    def says(self, kind: str, target: str, id: str = "sus_1") -> None:
        """Tell a notice, as the gateway does."""
        self.notices.append(
            {
                "seq": len(self.notices) + 1, "kind": kind, "id": id, "target": target,
                "reason": "looked odd", "by": "responder", "at": ahead(),
            }
        )  # fmt: skip

    async def all_taken(self) -> None:
        """Wait until policy has taken every closing and notice over, and asks for more."""
        before = {line: len(asked) for line, asked in self._asked.items()}
        kept = {"closings": self.closings, "notices": self.notices}

        def taken() -> bool:
            return all(
                len(asked) > before[line]
                and asked[-1] >= max((e["seq"] for e in kept[line]), default=0)
                for line, asked in self._asked.items()
            )

        await until(taken, "policy has taken everything over")

    @property
    def grants(self) -> list[str]:
        """The grants that it was told of."""
        return [item["body"]["id"] for item in self.items if item["kind"] == "grant"]

    def last(self, grant: str) -> dict[str, Any]:
        """The newest projection of a grant; empty before there was one."""
        found = [item["body"] for item in self.items if item["body"].get("id") == grant]
        return found[-1] if found else {}

    async def hears(
        self, grant: str, heard: Callable[[dict[str, Any]], bool], seconds: float = 60.0
    ) -> dict[str, Any]:
        """Wait until the newest projection of a grant is as wanted."""
        async with asyncio.timeout(seconds):
            while not heard(self.last(grant)):  # noqa: ASYNC110 - it is the service that moves
                await asyncio.sleep(0.01)
        return self.last(grant)


class Rig(NamedTuple):
    """One running service."""

    api: Api
    gateway: FakeGateway
    home: Path

    def dump(self) -> list[str]:
        """All that the store holds, as SQL, but for who of the operators was there, and when."""
        with sqlite3.connect(self.home / "policy.db") as conn:
            lines = list(conn.iterdump())
        conn.close()
        return [each for each in lines if not each.startswith('INSERT INTO "operator_accounts"')]


@asynccontextmanager
async def policy(home: Path, *, gateway: bool = True) -> AsyncIterator[Rig]:
    """Run policy in this process, with a gateway beside it."""
    read = settings.load(home)
    stop = asyncio.Event()
    fake = FakeGateway(read.home.socket("gateway"))
    if gateway:
        await fake.start()
    task = asyncio.create_task(serve(read, argparse.Namespace(), stop))
    try:
        async with _session(read.home.socket("policy"), task) as session:
            yield Rig(Api(session), fake, home)
    finally:
        stop.set()
        try:
            await task
        finally:
            await fake.stop()


class Process:
    """Policy as a process of its own, to be killed."""

    def __init__(self, home: Path) -> None:
        self.home = settings.load(home).home
        self.process: nursery.Born | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        said = sys.__stderr__.fileno() if sys.__stderr__ else 2
        self.process = nursery.start(
            "console.services.policy", "--home", str(self.home.path), out=said, err=said
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        async with _session(self.home.socket("policy"), None) as session:
            yield Api(session)


@asynccontextmanager
async def _session(
    socket: Path, task: asyncio.Task[None] | None
) -> AsyncIterator[aiohttp.ClientSession]:
    end = time.monotonic() + 60
    while True:
        if task is not None and task.done():
            task.result()
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(socket))
            writer.close()
            await writer.wait_closed()
            break
        assert time.monotonic() < end, "policy did not start"
        await asyncio.sleep(0.01)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        yield session


def run(home: Path, scenario: Callable[[Rig], Awaitable[None]], *, gateway: bool = True) -> None:
    """Run a scenario against a fresh service."""

    async def whole() -> None:
        async with policy(home, gateway=gateway) as rig:
            await scenario(rig)

    asyncio.run(whole())


async def until(ready: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Look until something is so."""
    end = time.monotonic() + 60
    while True:
        found = ready()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < end, f"waited in vain until {what}"
        await asyncio.sleep(0.01)


class Clock:
    """The clock of a service in this process, moved by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        self.looks = 0

        def counted(conn: Connection, at: datetime) -> bool:
            found = due(conn, at)
            self.looks += not found
            return found

        monkeypatch.setattr(clock, "due", counted)
        monkeypatch.setattr(clock, "TICK_SECONDS", 0.05)
        for module in (clock, gateway_link, service, server):
            monkeypatch.setattr(module, "now", lambda: now() + self.ahead)

    async def settled(self) -> None:
        """Wait until the clock has looked twice more, and found nothing that is due."""
        looks = self.looks + 2
        await until(lambda: self.looks >= looks, "the clock has looked")


def later(rig: Rig, **length: float) -> None:
    """Let the clock find that so much time has passed."""
    store = Store.open(rig.home / "policy.db", STEPS)
    at = now() + timedelta(**length)
    try:
        while store.read_now(lambda conn: due(conn, at)):
            store.write_now(lambda conn: tick(conn, bundle_in(), at))
    finally:
        store.close()
