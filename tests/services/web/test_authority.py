"""Authority is judged where a change commits, whatever was true when the headers arrived."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from sqlalchemy import Connection, func, select

from console.api import policy
from console.model.access import Partner, PartnerState
from console.model.account import AccountKind
from console.model.ids import ulid
from console.model.operator import Role
from console.model.text import now
from console.services import settings
from console.services.client import Client
from console.services.operators import roster_store
from console.services.operators.identities import Identities
from console.services.operators.roster import (
    Entry,
    Mark,
    Roster,
    RosterToken,
)
from console.services.store import Store, emit
from console.services.store.outbox import OUTBOX
from console.services.web import Ask, Streams, Web, authority
from console.services.web.callers import hash_of
from console.services.web.event_stream import Found
from tests.services.web import sample
from tests.services.web.serving import exchange

TOKEN = "opt-pilot-mara"
ACME = {"slug": "acme", "name": "Acme", "sponsor": "root", "reason": "asked"}

Change = Callable[[Connection], None]


def roster(sequence: int, *, role: Role = Role.ADMIN, token: str = TOKEN, **more: Any) -> Roster:
    held = RosterToken(id="tok", hint=token[-4:], sha256=hash_of(token), **more)
    entry = Entry(
        name="mara", kind=AccountKind.PERSON.value, uid=None, roles=[role.value], groups=[],
        generation=0, tokens=[held],
    )  # fmt: skip
    return Roster(sequence=sequence, entries=[entry])


def cut(conn: Connection) -> None:
    mark = Mark(name="mara", generation=0, kind="cut", at=now(), by="root", reason="stolen")
    roster_store.add(conn, [mark])


def expired(conn: Connection) -> None:
    roster_store.keep(conn, roster(2, ends_at=now() - timedelta(seconds=1)))


def demoted(conn: Connection) -> None:
    roster_store.keep(conn, roster(2, role=Role.VIEWER))


def replaced(conn: Connection) -> None:
    roster_store.keep(conn, roster(2, token="opt-pilot-other"))


def cut_and_restored(conn: Connection) -> None:
    cut(conn)
    (entry,) = roster(2).entries
    roster_store.keep(
        conn, Roster(sequence=2, entries=[msgspec.structs.replace(entry, generation=1)])
    )


CHANGES: dict[str, tuple[Change, str]] = {
    "cut": (cut, "not-an-operator"),
    "expired": (expired, "not-an-operator"),
    "demoted": (demoted, "role-missing"),
    "replaced": (replaced, "not-an-operator"),
    "cut and restored": (cut_and_restored, "not-an-operator"),
}
"""What becomes of the caller, and how each request of theirs is refused from then on."""


class Rig:
    """The sample service with one operator, mara, who has a token."""

    def __init__(self, web: Web, store: Store, identities: Identities, client: Client) -> None:
        self.web, self.store, self.identities, self.client = web, store, identities, client

    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "Idempotency-Key": f'"{ulid()}"',
            "If-Match": '"1"',
        }

    async def ask(self, method: str, path: str, data: Any = None) -> Any:
        url = "http://localhost" + path
        return await exchange(self.client.session, url, method, data, self.headers())

    async def know(self) -> None:
        """Let the service decide by what is kept, as it does after each change of it."""
        await self.store.read(self.identities.refresh)
        self.web.end_refused()

    def events(self) -> int:
        count = select(func.count()).select_from(OUTBOX)
        return int(self.store.read_now(lambda conn: conn.execute(count).scalar_one()))


@asynccontextmanager
async def running(
    home: Path, also: Callable[[Web, Store], None] = lambda _web, _store: None
) -> AsyncIterator[Rig]:
    place = settings.prepare(home)
    store = Store.open(place.store("policy"), sample.STEPS, durable=False)
    store.write_now(lambda conn: roster_store.keep(conn, roster(1)))
    identities = Identities("policy", settings.load(home).operators)
    store.read_now(identities.refresh)
    web = sample.mounted(store, identities)
    also(web, store)
    try:
        await web.start(socket=place.socket("policy"))
        async with Client(socket=place.socket("policy")) as client:
            yield Rig(web, store, identities, client)
    finally:
        await web.stop()
        store.close()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")  # short: a socket's path has a bound


@pytest.mark.parametrize("what", CHANGES)
def test_a_write_is_judged_by_what_was_committed_before_it(home: Path, what: str) -> None:
    """The process has not heard of the change yet: its store alone tells."""
    change, problem = CHANGES[what]

    async def scene() -> None:
        async with running(home) as rig:
            await rig.store.write(change)
            got = await rig.ask("POST", "/v1/partners", json.dumps(ACME).encode())
            assert got.problem == problem
            assert rig.events() == 0
            rehearsed = await rig.ask(
                "POST", "/v1/partners?validate_only=true", json.dumps(ACME).encode()
            )
            assert rehearsed.problem == problem

    asyncio.run(scene())


def test_of_a_cut_and_a_write_that_wait_together_the_first_decides(home: Path) -> None:
    """Both are in one commit of the one writer: the order there is what counts."""

    async def scene() -> None:
        async with running(home) as rig:
            gate, inside = threading.Event(), threading.Event()

            def hold(_conn: Connection) -> None:
                inside.set()
                gate.wait(60)

            held = asyncio.create_task(rig.store.write(hold))
            await asyncio.to_thread(inside.wait, 20)
            first = asyncio.create_task(rig.ask("POST", "/v1/partners", json.dumps(ACME).encode()))
            await until(lambda: rig.store._jobs.qsize() >= 1)
            ended = asyncio.create_task(rig.store.write(cut))
            await until(lambda: rig.store._jobs.qsize() >= 2)
            other = json.dumps({**ACME, "slug": "other"}).encode()
            second = asyncio.create_task(rig.ask("POST", "/v1/partners", other))
            await until(lambda: rig.store._jobs.qsize() >= 3)
            gate.set()
            await asyncio.gather(held, ended)
            assert (await first).status == 201
            assert (await second).problem == "not-an-operator"

    asyncio.run(scene())


@pytest.mark.parametrize("what", CHANGES)
def test_a_handler_with_transactions_of_its_own_is_judged_in_each(home: Path, what: str) -> None:
    change, problem = CHANGES[what]
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    def also(web: Web, store: Store) -> None:
        async def writes(ask: Ask) -> Any:
            begun.set()
            await may_go_on.wait()
            told = sample.told("partner.verify", ask, partner())
            return await store.write(lambda conn: emit(conn, told))

        web.mount_async(policy.PARTNER_RESTRICT._replace(body=None), writes)

    async def scene() -> None:
        async with running(home, also) as rig:
            asking = asyncio.create_task(rig.ask("POST", "/v1/partners/acme/restriction", b""))
            await begun.wait()
            await rig.store.write(change)
            may_go_on.set()
            assert (await asking).problem == problem
            assert rig.events() == 0

    asyncio.run(scene())


@pytest.mark.parametrize("what", CHANGES)
def test_a_body_that_is_held_back_is_answered_as_soon_as_its_caller_is_refused(
    home: Path, what: str
) -> None:
    change, problem = CHANGES[what]

    async def scene() -> None:
        async with running(home) as rig:
            sending, rest = asyncio.Event(), asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield b'{"slug": '
                sending.set()
                await rest.wait()

            asking = asyncio.create_task(rig.ask("POST", "/v1/partners", body()))
            await sending.wait()
            await until(lambda: bool(rig.web._authority._in_progress))
            await rig.store.write(change)
            await rig.know()
            assert (await asyncio.wait_for(asking, 20)).problem == problem
            rest.set()

    asyncio.run(scene())


def streaming(web: Web, store: Store) -> None:
    streams = Streams(store, "partners")

    async def tail(ask: Ask) -> Any:
        return await streams.serve(ask, lambda _conn, at: Found((), at), lambda _conn: 0)

    web.mount_async(policy.PARTNER_SHOW._replace(path="/v1/tail", streams=True), tail)


@pytest.mark.parametrize("what", [each for each in CHANGES if each != "demoted"])
def test_a_stream_ends_with_the_authority_of_who_reads_it(home: Path, what: str) -> None:
    async def scene() -> None:
        async with (
            running(home, streaming) as rig,
            rig.client.session.get("http://localhost/v1/tail", headers=rig.headers()) as answer,
        ):
            assert answer.status == 200
            assert await answer.content.readany()
            await rig.store.write(CHANGES[what][0])
            await rig.know()
            await ended(answer)

    asyncio.run(scene())


def test_a_stream_ends_at_the_end_of_its_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed then, and nobody tells: a timer does."""
    ends_at = now() + timedelta(hours=1)
    clock = [ends_at - timedelta(seconds=0.2)]

    async def scene() -> None:
        async with running(home, streaming) as rig:
            await rig.store.write(lambda conn: roster_store.keep(conn, roster(2, ends_at=ends_at)))
            await rig.know()
            monkeypatch.setattr(authority, "now", lambda: clock[0])
            async with rig.client.session.get(
                "http://localhost/v1/tail", headers=rig.headers()
            ) as answer:
                assert answer.status == 200
                clock[0] = ends_at
                await ended(answer)

    asyncio.run(scene())


async def ended(answer: aiohttp.ClientResponse) -> None:
    """Wait until a stream has ended: in the middle, so that nobody takes it for its end."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(answer.content.read(), 60)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.005)


def partner() -> Any:
    return Partner(
        id="p", slug="acme", name="A", sponsor="root", state=PartnerState.PROSPECT,
        verified_until=None, verification="", egress=[], subprocessors=[],
        created_at=now(), created_by="m", updated_at=now(), updated_by="m",
    )  # fmt: skip
