"""The two drivers of flows: `run` for commands, `arun` for the console.

They own what no operation should think about: retries, idempotency keys, request ids,
deadlines and the meaning of silence. A driver may be stopped between two yields only.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from console.api.flow import (
    CheckHead,
    CheckSuccession,
    Flow,
    LogTrust,
    Many,
    PinnedKey,
    Report,
    SigningKeys,
    Step,
    TrustStep,
    Wait,
    Waiting,
)
from console.api.route import Call, Reply
from console.errors import ExitCode, PilotError
from console.model.ids import ulid
from console.model.operator import Role
from console.net.client import Apis, Lost, untrusted
from console.net.http_messages import Answer, Request, may_retry, reply_of, request_of, retry_after

T = TypeVar("T")

ATTEMPTS = 3
MAX_RETRY_AFTER_SECONDS = 10.0
RESTART_SECONDS = 10.0
"""For so long a service that is not there may be starting again."""
_RESTART_PAUSE = 0.25
_FIRST_PAUSE = 0.1
_MIN_TRY_SECONDS = 0.05
"""Seconds that a try gets whose pause has used up the rest."""


class Exchange(NamedTuple):
    """One request as the console's log of API calls shows it."""

    call: Call
    source: str
    request_id: str
    status: int
    """0 where no answer came."""
    milliseconds: float
    attempt: int


@dataclass
class Drive:
    """One run of a flow: its deadline, its key, who is told, and what was sent so far."""

    apis: Apis
    idempotency_key: str = ""
    """The first write's key; later writes of the same flow add `.2`, `.3`, …"""
    deadline: float = math.inf
    """By the monotonic clock. It bounds what is waited for and each call on the way; one that
    is over from the start asks for no waiting, and its calls take the time that they need."""
    on_report: Callable[[Report], None] = lambda _: None
    on_exchange: Callable[[Exchange], None] = lambda _: None
    permit: Callable[[Call], None] = lambda _: None
    """Asked before a call that may change something is sent at all; raises `PilotError`."""
    log_trust: LogTrust | None = None
    """Who answers what a flow asks about the log; None where no flow of it may."""
    awaited_api: str = ""
    """The API without which nothing can be done: it is given `RESTART_SECONDS` to come back."""
    is_given_up: Callable[[], bool] = lambda: False
    """Whether whoever asked waits for `awaited_api` no longer."""
    writes: int = 0
    unanswered: Call | None = None
    """The write that was sent and not answered, if any."""
    hurries: bool = field(init=False)
    """Whether the deadline bounds the calls too."""

    def __post_init__(self) -> None:
        self.hurries = self.left() > 0

    def left(self) -> float:
        """Return the seconds until the deadline, `inf` where there is none."""
        return self.deadline - time.monotonic()

    def patience(self) -> float:
        """Return the seconds that a call may take which begins now."""
        return self.left() if self.hurries else math.inf

    def key_for(self, call: Call) -> str:
        """Return the idempotency key that `call` keeps over its retries."""
        if not call.route.writes:
            return ""
        if call.idempotency_key or not changes(call):
            return call.idempotency_key or ulid()
        self.writes += 1
        self.idempotency_key = self.idempotency_key or ulid()
        return f"{self.idempotency_key}.{self.writes}" if self.writes > 1 else self.idempotency_key


def changes(call: Call) -> bool:
    """Tell whether `call` may change something: a POST that a viewer may make only asks."""
    return call.route.writes and not call.validate_only and call.route.role is not Role.VIEWER


def run(flow: Flow[T], drive: Drive) -> T:
    """Drive `flow` to its result. `Many` runs one call after another."""
    return _Sync(drive).result(flow)


async def arun(flow: Flow[T], drive: Drive) -> T:
    """Drive `flow` to its result without blocking the loop. `Many` runs side by side."""
    answer: Any = None
    error: PilotError | None = None
    while True:
        try:
            step: Step = flow.send(answer) if error is None else flow.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        answer, error = None, None
        try:
            answer = await _aperform(step, drive)
        except PilotError as caught:
            error = caught


class _Sync:
    """The synchronous driver."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    def result(self, flow: Flow[T]) -> T:
        answer: Any = None
        error: PilotError | None = None
        while True:
            try:
                step: Step = flow.send(answer) if error is None else flow.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer, error = None, None
            try:
                answer = self._perform(step)
            except PilotError as caught:
                error = caught

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, Many):
            return [self._outcome(call) for call in step.calls]
        if isinstance(step, Wait):
            time.sleep(_pause(self._drive, step))
            return self._drive.left()
        if isinstance(step, Report):
            self._drive.on_report(step)
            return None
        asked = _of_log(step, self._drive)
        return asked if isinstance(asked, list) else self.result(asked)

    def _outcome(self, call: Call) -> Reply | PilotError:
        try:
            return self._call(call)
        except PilotError as error:
            return error

    def _call(self, call: Call) -> Reply:
        attempts = _Attempts(self._drive, call)
        while True:
            try:
                got: Answer | Lost = self._drive.apis.send(call.route.api, *attempts.begin())
            except Lost as lost:
                got = lost
            pause = attempts.judge(got)
            if isinstance(pause, Reply):
                return pause
            time.sleep(pause)


async def _aperform(step: Step, drive: Drive) -> Any:
    import asyncio  # noqa: PLC0415  # commands run without a loop

    if isinstance(step, Call):
        return await _acall(step, drive)
    if isinstance(step, Many):
        return list(await asyncio.gather(*(_aoutcome(call, drive) for call in step.calls)))
    if isinstance(step, Wait):
        await asyncio.sleep(_pause(drive, step))
        return drive.left()
    if isinstance(step, Report):
        drive.on_report(step)
        return None
    asked = _of_log(step, drive)
    return asked if isinstance(asked, list) else await arun(asked, drive)


async def _aoutcome(call: Call, drive: Drive) -> Reply | PilotError:
    try:
        return await _acall(call, drive)
    except PilotError as error:
        return error


async def _acall(call: Call, drive: Drive) -> Reply:
    import asyncio  # noqa: PLC0415  # as above

    attempts = _Attempts(drive, call)
    while True:
        try:
            got: Answer | Lost = await drive.apis.asend(call.route.api, *attempts.begin())
        except Lost as lost:
            got = lost
        pause = attempts.judge(got)
        if isinstance(pause, Reply):
            return pause
        await asyncio.sleep(pause)


def _of_log(step: TrustStep, drive: Drive) -> Flow[Any] | list[str]:
    """Return the answer to a question about the log, or the flow that finds it."""
    trust = drive.log_trust
    if trust is None:
        raise TypeError(f"nobody answers {type(step).__name__} in this drive")
    match step:
        case CheckHead(note):
            return trust.check(note)
        case PinnedKey():
            return trust.key()
        case SigningKeys():
            return trust.keys()
        case CheckSuccession():
            return trust.succession()


class _Attempts:
    """The tries of one call: the same key each time, a request id of its own each."""

    def __init__(self, drive: Drive, call: Call) -> None:
        if changes(call):
            drive.permit(call)
        self._drive = drive
        self._call = call
        self._endpoint = drive.apis.endpoint(call.route.api)
        self._key = drive.key_for(call)
        self._changes = changes(call)
        self._tries = 0
        self._maybe_done = False
        self._request_id = ""
        self._began = 0.0
        self._started = time.monotonic()

    def begin(self) -> tuple[Request, float]:
        """Return the next request to send, and the seconds that there are for it.

        Raises `PilotError` (`deadline`) where there are none and nothing was sent yet.
        """
        within = self._drive.patience()
        if within <= 0 and not self._tries:
            raise _over()
        self._tries += 1
        self._request_id = f"rid_{ulid()}"
        self._began = time.monotonic()
        request = request_of(self._call, key=self._key, request_id=self._request_id)
        if self._changes:
            self._drive.unanswered = self._call
        return request, max(within, _MIN_TRY_SECONDS)

    def judge(self, got: Answer | Lost) -> Reply | float:
        """Return the reply, or the seconds to pause before another try. Raises `PilotError`."""
        self._tell(got.status if isinstance(got, Answer) else 0)
        if isinstance(got, Lost) and got.fault:
            raise self._silence(got)
        if isinstance(got, Lost):
            self._maybe_done = self._maybe_done or got.sent
            pause = self._backoff()
            if self._tries < self._most(got) and pause < self._drive.patience():
                return pause
            if self._may_be_starting(got) and self._drive.patience() > _RESTART_PAUSE:
                return _RESTART_PAUSE
            raise self._silence(got)
        if may_retry(got) and self._tries < ATTEMPTS:
            pause = retry_after(got) or self._backoff()
            left = self._drive.left() if pause > 1 else self._drive.patience()
            if pause <= MAX_RETRY_AFTER_SECONDS and pause < left:
                return pause
        if self._maybe_done and got.status >= 500:
            # an earlier try may have had its effect: this answer does not say
            raise self._silence(Lost(f"answered only with status {got.status}", sent=True))
        if self._changes:
            self._drive.unanswered = None
        return reply_of(self._call, got, source=self._endpoint.words, request_id=self._request_id)

    def _may_be_starting(self, lost: Lost) -> bool:
        """Tell whether to wait for a service that is not there, and say so the first time."""
        if lost.sent or lost.timed_out or self._endpoint.api != self._drive.awaited_api:
            return False
        if time.monotonic() - self._started > RESTART_SECONDS or self._drive.is_given_up():
            return False
        if self._tries == ATTEMPTS:
            told = f"the {self._endpoint.api} API {lost.why}: waiting for it to start"
            self._drive.on_report(Report(told, Waiting(self._endpoint.api)))
        return True

    def _most(self, lost: Lost) -> int:
        # a service that hangs has had its 15 seconds: one replay tells whether it was done
        return 2 if lost.timed_out else ATTEMPTS

    def _backoff(self) -> float:
        return _FIRST_PAUSE * float(2 ** (self._tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311

    def _tell(self, status: int) -> None:
        self._drive.on_exchange(
            Exchange(
                self._call,
                self._endpoint.words,
                self._request_id,
                status,
                (time.monotonic() - self._began) * 1000,
                self._tries,
            )
        )

    def _silence(self, lost: Lost) -> PilotError:
        api, address = self._endpoint
        if self._changes and self._maybe_done:
            return unknown_outcome(
                self._call, self._key, f"the {api} API {lost.why}", self._endpoint.words
            )
        if self._changes:
            self._drive.unanswered = None
        if lost.fault:
            return untrusted(self._endpoint, lost.fault, self._request_id)
        local = address.startswith("unix:") and not lost.sent
        unsent = f": {self._call.route.id} was not sent" if self._drive.is_given_up() else ""
        return PilotError(
            "unreachable",
            f"the {api} API at {address} {lost.why}{unsent}",
            exit=ExitCode.UNAVAILABLE,
            hint="start the services with: pilotctl up" if local else "try again later",
            source=self._endpoint.words,
            request_id=self._request_id,
        )


def unknown_outcome(call: Call, key: str, why: str, source: str) -> PilotError:
    """Return the error for a write that may have been done: it was sent, no answer came."""
    return PilotError(
        "unknown-outcome",
        f"{why}: {call.route.id} was sent and may or may not have been done",
        exit=ExitCode.UNVERIFIED,
        hint=f"run the same command again with --idempotency-key {key}: it is done once at most, "
        "and the answer says what became of it",
        source=source,
        detail={"idempotency_key": key, "operation": call.route.id},
    )


def interruption(what: str, drive: Drive) -> PilotError:
    """Return the error for an interruption after `drive` sent something for `what`."""
    if drive.unanswered is not None:
        return unknown_outcome(drive.unanswered, drive.idempotency_key, "interrupted", "")
    return PilotError(
        "interrupted",
        f"{what} was done, and is no longer followed",
        exit=ExitCode.UNVERIFIED,
        hint="follow it with the same command and "
        f"--idempotency-key {drive.idempotency_key}: it is done once at most",
        detail={"idempotency_key": drive.idempotency_key, "operation": what},
    )


def _pause(drive: Drive, wait: Wait) -> float:
    left = drive.left()
    if left <= 0:
        raise _over()
    return min(wait.seconds, left)


def _over() -> PilotError:
    return PilotError(
        "deadline",
        "the deadline passed before it was finished",
        exit=ExitCode.UNVERIFIED,
        hint="a longer --timeout follows it further",
    )
