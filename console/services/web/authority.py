"""Who may do what a request asks: judged as it arrives, and again in each of its transactions.

A body can be held back for seconds, and a stream lasts for hours. So whatever a request does
to the store is judged once more inside the transaction that does it, by the roster and the
marks of that very store: a cut, a demotion or a new token that was committed before it counts.
Requests in progress and streams end as soon as their caller is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from console.api.problems import refusal
from console.api.route import Route
from console.errors import PilotError
from console.model.operator import Direction, Operator, Role, may
from console.model.text import now
from console.services.store import checked_by
from console.services.web.callers import Authenticator, Caller, closes_only, hash_of
from console.services.web.request_context import Ask


class Claim(NamedTuple):
    """What a request asks for, by what its caller is known, and who that was as it arrived."""

    route: Route[Any]
    uid: int | None
    token_sha256: str
    """Of the bearer token; empty where none was sent."""
    caller: Caller


class Authority:
    """Judges the requests of one service, and ends those whose caller is refused meanwhile."""

    def __init__(self, operators: Authenticator) -> None:
        self._operators = operators
        self._in_progress: dict[asyncio.Task[Any], Claim] = {}
        self._refused: set[asyncio.Task[Any]] = set()

    def claim(self, route: Route[Any], uid: int | None, bearer: str) -> Claim:
        """Judge a request as it arrives. Raises `not-an-operator`, `role-missing` or `refused`."""
        token_sha256 = hash_of(bearer) if bearer else ""
        caller = self._operators.caller(uid, token_sha256, now())
        _judge(caller.operator, route)
        return Claim(route, uid, token_sha256, caller)

    def judge(self, claim: Claim) -> None:
        """Judge a request again, by what this process knows now."""
        self._judge_again(claim)

    @contextmanager
    def in_transactions(self, claim: Claim) -> Iterator[Callable[[Ask], Ask]]:
        """Judge again first of all in every transaction that begins in this block.

        What is yielded returns a request with what its caller may do by that judgement.
        """
        found = claim.caller.operator

        def check(conn: Connection) -> None:
            nonlocal found
            found = self._judge_again(claim, conn)

        with checked_by(check):
            yield lambda ask: replace(ask, operator=found)

    @contextmanager
    def in_progress(self, claim: Claim) -> Iterator[None]:
        """Cancel the current task inside this block once its caller is refused."""
        task = asyncio.current_task()
        assert task is not None
        self._in_progress[task] = claim
        ends_at = claim.caller.ends_at
        timer = None if ends_at is None else self._at_end(ends_at)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._in_progress.pop(task, None)
            self._refused.discard(task)

    @contextmanager
    def receiving(self, claim: Claim) -> Iterator[None]:
        """The same while a body is awaited: the caller is told why it ended."""
        task = asyncio.current_task()
        assert task is not None
        with self.in_progress(claim):
            try:
                yield
            except asyncio.CancelledError:
                if task not in self._refused:
                    raise
                task.uncancel()
                self.judge(claim)
                # refused a moment ago, and not any more: it was on its way meanwhile
                raise _lost(claim, "was refused") from None

    def end_refused(self) -> None:
        """End what is in progress for whoever is refused by now: cut, expired or replaced."""
        for task, claim in list(self._in_progress.items()):
            try:
                self.judge(claim)
            except PilotError:
                if task not in self._refused:
                    self._refused.add(task)
                    task.cancel()

    def _judge_again(self, claim: Claim, conn: Connection | None = None) -> Operator:
        caller = self._operators.caller(claim.uid, claim.token_sha256, now(), conn)
        _judge(caller.operator, claim.route)
        was = claim.caller
        if (caller.operator.name, caller.generation) != (was.operator.name, was.generation):
            raise _lost(claim, "was cut off")
        return caller.operator

    def _at_end(self, ends_at: datetime) -> asyncio.TimerHandle:
        # a little late rather than early: then the token has ended
        seconds = max(0.0, (ends_at - now()).total_seconds()) + 0.01
        return asyncio.get_running_loop().call_later(seconds, self.end_refused)


def _lost(claim: Claim, how: str) -> PilotError:
    return refusal(
        "not-an-operator",
        f"{claim.caller.operator.name} {how} while this request was on its way",
        mend="send it again: nothing was changed",
    )


def _judge(operator: Operator, route: Route[Any]) -> None:
    _refuse_without_role(operator, route)
    _refuse_opening(operator, route)


def _refuse_without_role(operator: Operator, route: Route[Any]) -> None:
    if may(operator.roles, route.role):
        return
    raise refusal(
        "role-missing",
        f"{operator.name} has the roles {', '.join(operator.roles) or 'none'}; "
        f"{route.id} asks for {route.role.value}",
        mend="ask an admin"
        if route.role is Role.ADMIN
        else f"ask someone with the role {route.role.value}, or an admin",
    )


def _refuse_opening(operator: Operator, route: Route[Any]) -> None:
    """Refuse what closes nothing, and is no look, of someone who may only look and close."""
    if not closes_only(operator):
        return
    if route.role is Role.VIEWER or route.direction is Direction.CLOSES:
        return
    if operator.frozen:
        raise refusal(
            "refused",
            f"{operator.name} is frozen: looks and closes, and {route.id} closes nothing",
            mend=f"an admin can end it: pilotctl operator thaw {operator.name}; so can the "
            f"owner, at the machine: pilotctl owner thaw {operator.name}",
        )
    raise refusal(
        "refused",
        f"{operator.name} is for closing alone: {route.id} closes nothing",
        mend="sign in as yourself",
    )
