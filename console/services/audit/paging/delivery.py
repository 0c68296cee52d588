"""Delivering pages: signed webhooks and commands, again and again until one is taken.

A page is in the store before it is sent, and is settled there after: a crash in between
sends it again under the same id (`webhook-id`), by which whoever gets it knows it. Signed
as standard-webhooks has it: HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import random
import signal as signals
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import aiohttp
import msgspec
from sqlalchemy import Connection, func, select

from console.errors import PilotError
from console.model.number import whole_number
from console.model.oncall import Delivery, DeliveryState, OncallTarget
from console.model.text import now
from console.services.audit.paging import oncall, pages
from console.services.audit.state.schema import DELIVERIES, ONCALL
from console.services.client import Client
from console.services.home import Home
from console.services.store import Store

MAX_AT_ONCE = 4
"""Attempts in flight for one target."""
_MAX_ANSWER_BYTES = 65_536


class Pace(NamedTuple):
    """How often a page is tried: pauses double from `first` to `most` seconds, with jitter."""

    first: float = 2.0
    most: float = 900.0
    attempts: int = 12
    """Some two hours in all."""

    def pause(self, attempts: int, wanted: float = 0.0) -> float:
        """Return the seconds before the next attempt; at least what the receiver asked for."""
        usual = min(self.most, self.first * 2.0 ** (attempts - 1))
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - so that not all come at once
        return max(min(wanted, self.most), usual * jitter)


class _Due(NamedTuple):
    delivery: Delivery
    target: OncallTarget
    payload: bytes


class _Outcome(NamedTuple):
    """What one attempt came to: empty is delivered. `last` means that no other would help."""

    error: str = ""
    last: bool = False
    wait: float = 0.0


class Pager:
    """The deliveries of one audit service."""

    def __init__(self, store: Store, home: Home, pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self._store = store
        self._home = home
        self._client = Client()
        self._busy: dict[str, str] = {}
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        try:
            while True:
                for each in await self._store.read(self._due):
                    self._busy[each.delivery.id] = each.target.id
                    task = asyncio.create_task(self._attempt(each))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                await self._rest()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.close()

    def _due(self, conn: Connection) -> list[_Due]:
        rows = conn.execute(
            select(DELIVERIES.c.body, DELIVERIES.c.payload, ONCALL.c.body.label("target"))
            .join(ONCALL, ONCALL.c.id == DELIVERIES.c.target_id)
            .where(
                DELIVERIES.c.state == DeliveryState.PENDING.value,
                DELIVERIES.c.next_at <= now(),
                DELIVERIES.c.id.not_in(list(self._busy)),
            )
            .order_by(DELIVERIES.c.next_at)
            .limit(200)
        ).all()
        busy = list(self._busy.values())
        due = []
        for row in rows:
            if busy.count(row.target.id) < MAX_AT_ONCE:
                busy.append(row.target.id)
                due.append(_Due(row.body, row.target, row.payload))
        return due

    async def _rest(self) -> None:
        """Wait until something may be due: in time, by a change, or as an attempt ends."""
        self._ended.clear()
        due = self._store.until(
            pages.TOPIC, lambda conn: bool(self._due(conn)) or None, await self._idle()
        )
        waiting = [asyncio.ensure_future(each) for each in (due, self._ended.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _idle(self) -> float:
        """Return the seconds until something may be due."""

        def soonest(conn: Connection) -> datetime | None:
            query = select(func.min(DELIVERIES.c.next_at)).where(
                DELIVERIES.c.state == DeliveryState.PENDING.value,
                DELIVERIES.c.id.not_in(list(self._busy)),
            )
            found = conn.execute(query).scalar()
            return datetime.fromisoformat(found) if isinstance(found, str) else found

        at = await self._store.read(soonest)
        if at is None:
            return 5.0
        return min(5.0, max(0.02, (at - now()).total_seconds()))

    async def _attempt(self, due: _Due) -> None:
        try:
            if due.target.kind == "webhook":
                outcome = await self._post(due)
            else:
                outcome = await self._run(due)
            await self._store.write(lambda conn: self._settle(conn, due, outcome))
        except PilotError:
            # It cannot be settled now, so it will be sent again: not at once.
            await asyncio.sleep(self.pace.first)
        finally:
            del self._busy[due.delivery.id]
            self._ended.set()

    def _settle(self, conn: Connection, due: _Due, outcome: _Outcome) -> None:
        at = now()
        held = conn.execute(
            select(DELIVERIES.c.body).where(DELIVERIES.c.id == due.delivery.id)
        ).scalar_one()
        attempts = held.attempts + 1
        whom = select(ONCALL.c.body).where(ONCALL.c.id == due.target.id)
        target = conn.execute(whom).scalar_one()
        if not outcome.error:
            state, next_at = DeliveryState.DELIVERED, None
            target = msgspec.structs.replace(target, delivered_at=at, failing="")
        elif outcome.last or attempts >= self.pace.attempts or held.state != DeliveryState.PENDING:
            state, next_at = DeliveryState.FAILED, None
        else:
            state = DeliveryState.PENDING
            next_at = at + timedelta(seconds=self.pace.pause(attempts, outcome.wait))
        if outcome.error:
            target = msgspec.structs.replace(target, failing=outcome.error)
        settled = msgspec.structs.replace(
            held,
            state=state.value,
            attempts=attempts,
            next_at=next_at,
            ended_at=None if next_at else at,
            error=outcome.error,
        )
        pages.settle(conn, settled)
        oncall.store(conn, target)
        if state is DeliveryState.FAILED:
            oncall.failed(conn, target, settled, at)

    async def _post(self, due: _Due) -> _Outcome:
        try:
            key = oncall.signing_key(
                oncall.secret_path(self._home, due.target.id).read_text(encoding="ascii")
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return _Outcome(f"its secret cannot be read: {why}")
        body = _body(due)
        headers = signed(key, due.delivery.id, int(now().timestamp()), body)
        try:
            async with (
                asyncio.timeout(due.target.timeout_seconds),
                self._client.session.post(
                    due.target.url,
                    data=body,
                    headers={"Content-Type": "application/json", **headers},
                    allow_redirects=False,
                ) as response,
            ):
                await response.content.read(_MAX_ANSWER_BYTES)
                return _judged(response.status, response.headers)
        except TimeoutError:
            return _Outcome(f"it did not answer within {due.target.timeout_seconds} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Outcome(f"it cannot be reached ({type(error).__name__})")

    async def _run(self, due: _Due) -> _Outcome:
        try:
            path = oncall.program(self._home, due.target.argv[0])
        except ValueError as error:
            return _Outcome(str(error))
        try:
            process = await asyncio.create_subprocess_exec(
                str(path),
                *due.target.argv[1:],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=self._home.path,
                env={
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    "PILOTCTL_DELIVERY_ID": due.delivery.id,
                },
                start_new_session=True,
            )
        except OSError as error:
            return _Outcome(f"it cannot be run: {error.strerror}")
        try:
            async with asyncio.timeout(due.target.timeout_seconds):
                with suppress(ConnectionError):  # it may end without reading
                    await process.communicate(_body(due))
                code = await process.wait()
        except TimeoutError:
            return _Outcome(f"it did not end within {due.target.timeout_seconds} s")
        finally:
            # Its children too: it leads a group of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signals.SIGKILL)
            await process.wait()
        return _Outcome(f"it ended with {code}") if code else _Outcome()


def signed(key: bytes, id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the standard-webhooks headers of a message: id, seconds since 1970, signature."""
    text = f"{id}.{at}.".encode() + body
    made = base64.b64encode(hmac.new(key, text, sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{made}"}


def _body(due: _Due) -> bytes:
    if not due.delivery.also:
        return due.payload
    return msgspec.json.encode({**msgspec.json.decode(due.payload), "also": due.delivery.also})


def _judged(status: int, headers: Mapping[str, str]) -> _Outcome:
    if 200 <= status < 300:
        if headers.get("Content-Type", "").lower().startswith("text/html"):
            return _Outcome(f"it answered {status} with a web page: nobody took it")
        return _Outcome()
    if status == 410:
        return _Outcome("it answered 410: it is gone for good", last=True)
    wait = whole_number(headers.get("Retry-After", ""), 7) or 0
    return _Outcome(f"it answered {status}", wait=float(wait))
