"""An audit service between two made-up peers, on real sockets and a real store."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from console.errors import PilotError
from console.model import text
from console.model.ids import new_id
from console.model.traffic import CallRecord
from console.services import settings
from console.services.audit.alerts import alert_clock
from console.services.audit.paging import delivery
from console.services.audit.rules.rule_file import load_rules
from console.services.audit.service import Audit
from console.services.client import Client
from console.services.events import event
from console.services.store import OutboxItem
from console.trust.canonical import canonical
from console.trust.damage import LogReport
from console.trust.note import VerifierKey
from console.trust.verify import verify_folder
from tests import nursery

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def item(source: str, seq: int, action: str = "partner.create", **told: Any) -> OutboxItem:
    """An event as `source` would offer it under the number `seq`."""
    said = {"actor": "operator-a", "kind": "partner", "target": f"ptn-{seq}", "at": START} | told
    made = event(action, service=source, **said)
    made["metadata"] |= {"sequence": seq}
    return OutboxItem(seq, made["metadata"]["uid"], canonical(made).decode())


def call(**told: Any) -> CallRecord:
    """A call record that no rule minds."""
    said: dict[str, Any] = {
        "id": new_id("call"),
        "point": "gw-1",
        "sequence": 1,
        "started_at": START,
        "partner": "acme",
        "grant_id": "grt_a",
        "credential_id": "crd_a",
        "model": "aurora-1",
        "outcome": "allowed",
        "status": 200,
        "address": "203.0.113.7",
    }
    return CallRecord(**(said | told))


def denials(count: int, *, apart: float = 0.001, **told: Any) -> list[CallRecord]:
    """That many refusals of one credential, `apart` seconds apart."""
    told = {"outcome": "denied", "code": "model_out_of_scope", "status": 403, **told}
    return [call(started_at=START + timedelta(seconds=at * apart), **told) for at in range(count)]


class Peer:
    """A service that gives what the test tells it to, honestly unless `lie` is set."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.items: list[OutboxItem] = []
        self.calls: list[CallRecord] = []
        self.lie: Callable[[str, int], web.Response | None] = lambda path, after: None
        self.asked = 0
        self._runner: web.AppRunner | None = None

    def record(self, count: int = 1, action: str = "partner.create", **told: Any) -> None:
        """Commit `count` events."""
        for _ in range(count):
            self.items.append(item(self.source, len(self.items) + 1, action, **told))

    async def start(self, socket: Path) -> None:
        socket.unlink(missing_ok=True)  # noqa: ASYNC240 - a test's loop may wait
        app = web.Application()
        app.router.add_get("/internal/v1/{feed}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(socket)).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        feed, query = request.match_info["feed"], request.query
        after, limit = int(query["after"]), int(query["limit"])
        if (lied := self.lie(feed, after)) is not None:
            return lied
        held = time.monotonic() + min(float(query["wait"]), 0.5)
        while len(self._feed(feed)) <= after and time.monotonic() < held:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        every = self._feed(feed)
        some: list[Any] = every[after : after + limit]
        if feed == "calls":
            some = [{"seq": at, "call": each} for at, each in enumerate(some, after + 1)]
        return answer({"items": some, "head": len(every)})

    def _feed(self, feed: str) -> list[Any]:
        return self.calls if feed == "calls" else self.items


def answer(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


class Rig:
    """A running audit service, its peers, and a client on its socket."""

    def __init__(self, home: Path) -> None:
        self.home = settings.prepare(home)
        self.policy, self.gateway = Peer("policy"), Peer("gateway")
        self.client = Client(socket=self.home.socket("audit"))
        self.audit: Audit | None = None
        """The service itself, where it runs in this process."""

    async def get(self, path: str, **query: Any) -> Any:
        return await self.client.get(path, Any, query={k: str(v) for k, v in query.items()})

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Idempotency-Key": new_id("request")}
        if path.startswith("/v1/rules/") and not path.endswith("/enabling"):
            of = await self.get(path.rpartition("/")[0])
            headers["If-Match"] = f'"{of["revision"]}"'
        return await self.client.send("POST", path, body, Any, headers=headers)

    async def events(self, **query: Any) -> list[Any]:
        return (await self.get("/v1/events", **query))["items"]

    async def alerts(self, **query: Any) -> list[Any]:
        return (await self.get("/v1/alerts", **query))["items"]

    async def logged(self, size: int) -> None:
        """Wait until the published log has that many entries at least."""
        await until(lambda: self._size_is(size))

    async def counted(self, seen: int) -> None:
        """Wait until the rules have read that many calls."""
        await until(lambda: self._calls_are_read(seen))

    async def until_alerts(self, count: int = 1, **query: Any) -> list[Any]:
        async def there() -> bool:
            return len(await self.alerts(**query)) == count

        await until(there)
        return await self.alerts(**query)

    async def _size_is(self, size: int) -> bool:
        return (await self.get("/v1/log/head"))["tree_size"] >= size

    async def _calls_are_read(self, seen: int) -> bool:
        return len(self.gateway.calls) >= seen and not any(
            "calls" in note for note in (await self.get("/v1/status"))["notes"]
        )

    def verify(self) -> LogReport:
        key = VerifierKey.parse((self.home.path / "log.vkey").read_text())
        return verify_folder(self.home.log, key)


async def until(ready: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Poll until `ready`; a peer that is not there yet is not an error."""
    end = time.monotonic() + seconds
    while True:
        try:
            if await ready():
                return
        except PilotError as error:
            if error.code != "unavailable":
                raise
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose sockets have short paths."""
    folder = Path(tempfile.mkdtemp(prefix="audit-"))
    try:
        yield folder
    finally:
        with suppress(OSError):  # a service that is stopped ends the tile it was writing
            shutil.rmtree(folder)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running(home: Path, *, peers: bool = True) -> AsyncIterator[Rig]:
    """The service in this process."""
    rig = Rig(home)
    audit = Audit(settings.load(home), load_rules())
    rig.audit = audit
    stop = asyncio.Event()
    if peers:
        await rig.policy.start(rig.home.socket("policy"))
        await rig.gateway.start(rig.home.socket("gateway"))
    task = asyncio.create_task(audit.run(stop))
    try:
        await rig.logged(0)
        yield rig
    finally:
        stop.set()
        await task
        await asyncio.to_thread(audit.close)
        for each in (rig.policy, rig.gateway):
            await each.stop()
        await rig.client.close()


class Clock:
    """The clock of chores and pages of a service in this process, moved on by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        monkeypatch.setattr(alert_clock, "LOOK_SECONDS", 0.05)
        for module in (alert_clock, delivery):
            monkeypatch.setattr(module, "now", self.now)

    def now(self) -> datetime:
        return text.now() + self.ahead


class Spawned:
    """The service in a process of its own, to be killed."""

    def __init__(self, home: Path) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `communicate`
        told = self._said.fileno()
        self._process = nursery.start(
            "console.services.audit", "--home", str(home), out=told, err=told
        )
        self.kill, self.terminate = self._process.kill, self._process.terminate
        self.returncode: int | None = None

    def communicate(self) -> tuple[bytes, bytes]:
        """Wait for its end; return nothing, and all that it said."""
        self.returncode = self._process.wait(60)
        with self._said:
            self._said.seek(0)
            return b"", self._said.read()


def spawn(home: Path) -> Spawned:
    """Start the service in a process of its own."""
    return Spawned(home)
