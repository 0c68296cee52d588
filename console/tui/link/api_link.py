"""The console's link to the three APIs: running flows, and how each API is doing.

The session knows how to reach them; this knows what the screen needs: reads that may be
dropped, writes that may not, and each API's state, latency and age.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from console.api.audit import HEAD
from console.api.flow import Flow, Report, TrustedHead, check_head
from console.api.status import STATUS
from console.errors import ExitCode, PilotError
from console.model.operator import Operator, ServiceStatus
from console.tui.widgets.strips import Ink, Line

T = TypeVar("T")

EVERY = 2.0
"""Seconds between two looks at an API that answers."""
LOOK_SECONDS = 4.0
"""Seconds after which a look at an API is given up."""
MAX_PAUSE_SECONDS = 10.0
OLD = 15.0
"""Seconds after which what an API said last is called stale."""

APIS = ("gateway", "policy", "audit")
SHORT = {"gateway": "gw", "policy": "policy", "audit": "audit"}
_STEPS = (5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_LATENCIES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class ProfileFacts(Protocol):
    """What of a profile the console shows."""

    @property
    def name(self) -> str:
        """What people call it."""

    def setting(self, name: str) -> Any:
        """Return one of its settings."""


class Place(Protocol):
    """What of a session the console needs (`console.session.session.Session`)."""

    read_only: bool
    """Whether nothing that opens access may leave."""

    @property
    def profile(self) -> ProfileFacts:
        """The profile in use: see `ProfileFacts`."""

    def drive(
        self,
        *,
        seconds: float = ...,
        idempotency_key: str = ...,
        on_report: Callable[[Report], None] | None = ...,
        awaited_api: str = ...,
        is_given_up: Callable[[], bool] = ...,
    ) -> Any:
        """Return what one run of a flow needs."""

    def arun(self, flow: Flow[T], drive: Any = ...) -> Awaitable[T]:
        """Drive a flow on the running loop."""


def coarse_age(seconds: float) -> str:
    """Return an age in steps so coarse that it seldom changes: the step it has not passed."""
    for step in _STEPS:
        if seconds < step:
            break
    else:
        return f"{int(seconds // 86400)}d"
    if step < 60:
        return f"{step}s"
    return f"{step // 60}m" if step < 3600 else f"{step // 3600}h"


def coarse_latency(milliseconds: float) -> str:
    """Return a latency as the bound it stays under."""
    bound = next((each for each in _LATENCIES if milliseconds <= each), None)
    return ">5s" if bound is None else f"{bound}ms" if bound < 1000 else f"{bound // 1000}s"


@dataclass
class Health:
    """How one API is doing, as last seen."""

    api: str
    state: str = "asking"
    """`asking`, `ok`, `sick`, `down` or `refused`."""
    why: str = ""
    notes: Sequence[str] = ()
    """What is wrong by its own word, worst first."""
    lacks: Sequence[str] = ()
    """What it lacks of others while it is well itself."""
    heard: float | None = None
    """When it last answered, by the monotonic clock."""
    latency: float = 0.0
    sequence: int = 0
    operator: Operator | None = None
    proven: int = -1
    """audit: the size of the log that this console has verified, -1 before it has."""
    suspect: str = ""
    """audit: why the log does not hold, where it was looked at and did not."""
    bound: float = 0.0
    """The latency as it is shown: a step that it stays under."""

    def age(self) -> float:
        """Return the seconds since it last answered, infinite before the first answer."""
        return float("inf") if self.heard is None else time.monotonic() - self.heard

    @property
    def current(self) -> bool:
        """Whether what it says may be taken for the present."""
        return self.state in {"ok", "sick"} and self.age() < OLD

    def chip(self, *, short: bool = False) -> Line:
        """Return its part of the status line; `short` leaves only its name and state."""
        if short:
            return self.chip()[:2]
        name = f"{SHORT[self.api]} "
        if self.state == "asking" and self.heard is None:
            return [Ink(name + "…", "muted")]
        age = "" if self.heard is None else f" {coarse_age(self.age())}"
        if self.state in {"ok", "sick"}:
            said = self._head() if self.api == "audit" else self._latency()
            word = "SUSPECT" if self.suspect else "ok" if self.state == "ok" else "SICK"
            return [
                Ink(name), Ink(word, "good" if word == "ok" else "bad"), Ink(f" {said}{age}")
            ]  # fmt: skip
        word = "DOWN" if self.state == "down" else "REFUSED"
        return [Ink(name), Ink(word, "bad"), Ink(age or " never")]

    def _head(self) -> str:
        """The verified size of the log; what the API merely says carries a question mark."""
        return f"#{self.proven}" if self.proven >= 0 else f"#{self.sequence}?"

    def _latency(self) -> str:
        # A latency that hovers at a step's edge must not make an idle screen talk.
        if not self.bound / 6 < self.latency <= self.bound * 1.5:
            self.bound = next((each for each in _LATENCIES if self.latency <= each), 10_000)
        return coarse_latency(self.bound)

    def take(self, status: ServiceStatus, milliseconds: float) -> None:
        """Note an answer."""
        self.state = "ok" if status.healthy else "sick"
        self.notes = status.notes
        self.lacks = status.dependency_notes
        self.why = "; ".join(status.notes)
        self.heard = time.monotonic()
        self.latency = milliseconds if not self.latency else self.latency * 0.7 + milliseconds * 0.3
        self.sequence = status.sequence
        self.operator = status.operator

    def miss(self, error: PilotError) -> None:
        """Note that none came."""
        self.state = "down" if error.exit is ExitCode.UNAVAILABLE else "refused"
        self.why = error.message


class Logged(NamedTuple):
    """One line of the command log."""

    at: datetime
    text: str
    token: str


class Link:
    """The session as the screen uses it."""

    def __init__(self, session: Place, told: Callable[[], None]) -> None:
        self.session = session
        self.health = {api: Health(api) for api in APIS}
        self.log: list[Logged] = []
        self._told = told

    @property
    def operator(self) -> Operator | None:
        """Who the APIs take us for."""
        return next((each.operator for each in self.health.values() if each.operator), None)

    @property
    def read_only(self) -> bool:
        """Whether the session lets nothing out that opens access."""
        return self.session.read_only

    @property
    def name(self) -> str:
        """The profile's name."""
        return str(self.session.profile.name)

    @property
    def tier(self) -> str:
        """The profile's tier."""
        return str(self.session.profile.setting("tier"))

    async def read(
        self,
        flow: Flow[T],
        *,
        quiet: bool = True,
        awaited_api: str = "",
        on_report: Callable[[Report], None] | None = None,
    ) -> T:
        """Run a flow that changes nothing; may be cancelled. `quiet` stays out of the log."""
        drive = self.session.drive(on_report=on_report, awaited_api=awaited_api)
        drive.on_exchange = _unheard if quiet else self._exchanged
        return await self.session.arun(flow, drive)

    async def write(
        self,
        flow: Flow[T],
        on_report: Callable[[Report], None],
        *,
        key: str = "",
        awaited_api: str = "",
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> T:
        """Run a flow that changes something. The caller must let it finish."""
        drive = self.session.drive(
            on_report=on_report,
            idempotency_key=key,
            awaited_api=awaited_api,
            is_given_up=is_given_up,
        )
        drive.on_exchange = self._exchanged
        return await self.session.arun(flow, drive)

    def note(self, text: str, token: str = "") -> None:
        """Put a line into the command log."""
        self.log.append(Logged(datetime.now(UTC), text, token))
        del self.log[:-500]

    def _exchanged(self, exchange: Any) -> None:
        route = exchange.call.route
        status = exchange.status or "no answer"
        self.note(
            f"{route.method} {route.path} {status} {exchange.milliseconds:.0f} ms "
            f"{exchange.request_id} ({route.api})",
            "dim" if exchange.status and exchange.status < 400 else "bad",
        )

    async def _prove(self, health: Health) -> None:
        """Hold the log's head to what this console has pinned of it."""
        try:
            head = await asyncio.wait_for(self.read(_trusted()), LOOK_SECONDS)
        except PilotError as error:
            if error.exit is ExitCode.LOG_FAILED:
                if not health.suspect:
                    self.note(f"the log failed verification: {error.message}", "bad")
                health.suspect = error.message
                health.proven = -1
        except TimeoutError:
            pass
        else:
            health.suspect = ""
            health.proven = head.size

    async def watch(self, api: str) -> None:
        """Look at one API for ever; a slow or dead one never delays another."""
        health = self.health[api]
        missed = 0
        while True:
            began = time.monotonic()
            try:
                status = await asyncio.wait_for(self.read(STATUS[api]()), LOOK_SECONDS)
            except PilotError as error:
                health.miss(error)
                missed += 1
            except TimeoutError:
                health.miss(
                    PilotError(
                        "unreachable", f"no answer in {LOOK_SECONDS:g} s", exit=ExitCode.UNAVAILABLE
                    )
                )
                missed += 1
            else:
                health.take(status, (time.monotonic() - began) * 1000)
                missed = 0
                if api == "audit":
                    await self._prove(health)
            self._told()
            pause = min(EVERY * 1.5 ** max(0, missed - 1), MAX_PAUSE_SECONDS) if missed else EVERY
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311  jitter


def _trusted() -> Flow[TrustedHead]:
    head = yield from HEAD()
    return (yield from check_head(head.checkpoint))


def _unheard(_: Any) -> None:
    """Nobody is told."""
