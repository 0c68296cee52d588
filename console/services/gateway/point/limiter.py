"""The point's side of limits: each limited call asks control for what it may use at most.

Control counts for all points together. Questions that arrive while one is on its way go
together in the next, so the price of a question is shared as the load grows; a call
without limits asks nothing. What a call gives back goes the same way, and is said again
until control has heard it. A point that cannot ask lets no limited call begin.
"""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import NamedTuple

import msgspec

from console.errors import PilotError
from console.model.access import RouteName
from console.model.price import USUAL_OUTPUT, Price
from console.model.traffic import Check
from console.services.client import Client
from console.services.gateway.decision.decide import Verdict
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.point.call_draft import Draft
from console.services.gateway.point.dialect.request_body import Body
from console.services.gateway.point.point import Point
from console.services.wire.points import Done, Gauge, LimitAsk, LimitSaid, Take, Taken

_TIMEOUT = 1.0
_RETRY_SECONDS = 0.2
_RESUME_SECONDS = 1.0
_MAX_AT_ONCE = 200
_OUTPUT_MEMBERS: dict[str, tuple[str, ...]] = {
    RouteName.CHAT: ("max_completion_tokens", "max_tokens"),
    RouteName.MESSAGES: ("max_tokens",),
}


class LimitedError(Exception):
    """A limit has no room for a call."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(taken.code)
        self.code = taken.code
        self.message = taken.said or CODES[taken.code].says
        self.found = taken.found
        self.retry_after = taken.retry_after
        self.gauges = taken.gauges


class Most(NamedTuple):
    """The most that a call can use, and its body, which now says so to the upstream."""

    tokens: int
    micros: int
    body: Body


def most(body: Body, price: Price | None) -> Most:
    """Return the most that a call can use.

    Input tokens are estimated for the rate, at four bytes to one; for the money they are
    at most the bytes of text that were sent. Output is what the caller allows, for each choice;
    where it names no maximum, the model's own is put into the request. A call that goes on
    from an earlier answer may be read as much as the model can hold.
    """
    names = _OUTPUT_MEMBERS.get(body.route, ("max_output_tokens",))
    said = [body.numbers[name] for name in names if name in body.numbers]
    choices = body.numbers.get("n", 1)
    if said:
        output = max(said)
    else:
        output = price.max_output_tokens if price else USUAL_OUTPUT
        body = body._replace(members={**body.members, names[0]: msgspec.Raw(b"%d" % output)})
    output *= choices
    tokens = body.size.tokens + output
    if price is None:
        return Most(tokens, 0, body)
    earlier = price.context_tokens if _goes_on(body) else 0
    return Most(tokens, price.cost(body.size.most_tokens + earlier, output), body)


def _goes_on(body: Body) -> bool:
    return bool(body.previous)


def headers(gauges: list[Gauge]) -> dict[str, str]:
    """Return how limits stand, as draft-ietf-httpapi-ratelimit-headers-10 writes it."""
    if not gauges:
        return {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{each.name}";q={each.quota};w={each.window}' for each in gauges
        ),
        "RateLimit": ", ".join(f'"{each.name}";r={each.left};t={each.resets}' for each in gauges),
    }


class Limiter:
    """Asks control for the limited calls of one point."""

    def __init__(self, point: Point, control: Client, incarnation: str) -> None:
        self._point = point
        self._control = control
        self._incarnation = incarnation
        self._asking: list[tuple[Take, asyncio.Future[Taken]]] = []
        self._done: list[Done] = []
        self._wanted = asyncio.Event()

    def price(self, draft: Draft, model: str) -> None:
        """Note by which price a call counts: that of the day on which it began."""
        draft.price = self._point.snapshot.price(model, draft.started_at.astimezone(UTC).date())

    async def begin(self, draft: Draft, verdict: Verdict, body: Body) -> Body:
        """Let a call begin within its limits; return its body, bounded where it was not.

        Raises `LimitedError`. A call that was let begin must be let go.
        """
        grant = verdict.grant
        if grant is None or not (grant.limits.binds() or grant.principal_limits.binds()):
            return body
        budget = grant.limits.budget_micros is not None
        if (budget or grant.principal_limits.budget_micros is not None) and draft.price is None:
            found = f"{body.model} has no price, and the grant has a budget"
            raise LimitedError(Taken(code="price_missing", found=found))
        asked = most(body, draft.price)
        take = Take(
            call=draft.id,
            grant_id=grant.id,
            principal=draft.principal,
            tokens=asked.tokens,
            micros=asked.micros,
        )
        taken = await self._ask(take)
        if taken.code:
            raise LimitedError(taken)
        draft.held = asked.micros
        draft.gauges = taken.gauges
        draft.checks = [*draft.checks, Check(name="limits", passed=True, found="within")]
        return asked.body

    def let_go(self, draft: Draft) -> None:
        """Give back what a call did not use. Does nothing for a call that took nothing.

        A call whose figures its upstream did not tell gives nothing of the money back.
        """
        if draft.held is None:
            return
        tokens, micros = draft.used()
        micros += draft.held_beyond
        draft.held = None
        self._say(Done(call=draft.id, tokens=tokens, micros=micros))

    async def _ask(self, take: Take) -> Taken:
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._asking.append((take, answer))
        self._wanted.set()
        try:
            return await answer
        except asyncio.CancelledError:
            # It may have been counted already, or be on its way.
            self._say(Done(call=take.call, void=True))
            raise

    def _say(self, done: Done) -> None:
        self._done.append(done)
        self._wanted.set()

    async def run(self, resumed: int) -> None:
        """Carry questions to control for ever. `resumed`: see `LimitAsk`."""
        settled = False
        while True:
            if settled:
                await self._wanted.wait()
            elif not self._wanted.is_set():
                settled = await self._carry(resumed)
                if not settled:
                    await self._pause(_RESUME_SECONDS)
                continue
            self._wanted.clear()
            settled = await self._carry(resumed)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _carry(self, resumed: int) -> bool:
        """Send what waits. Tells whether an earlier process of this name is settled."""
        asking, self._asking = self._asking[:_MAX_AT_ONCE], self._asking[_MAX_AT_ONCE:]
        done, self._done = self._done[:_MAX_AT_ONCE], self._done[_MAX_AT_ONCE:]
        asking = [(take, answer) for take, answer in asking if not answer.done()]
        if self._asking or self._done:
            self._wanted.set()
        ask = LimitAsk(
            incarnation=self._incarnation,
            resumed=resumed,
            done=done,
            take=[take for take, _ in asking],
        )
        try:
            said = await self._control.send(
                "POST",
                f"/internal/v1/points/{self._point.name}/limits",
                ask,
                LimitSaid,
                timeout=_TIMEOUT,
            )
        except PilotError:
            # Whether control counted them is not known: they are void, and say so.
            self._done = [*done, *(Done(call=t.call, void=True) for t, _ in asking), *self._done]
            for _, answer in asking:
                if not answer.done():
                    answer.set_result(Taken(code="limits_unknown", found="control is not heard"))
            await asyncio.sleep(_RETRY_SECONDS)
            self._wanted.set()
            return False
        for (_, answer), taken in zip(asking, said.taken, strict=True):
            if not answer.done():
                answer.set_result(taken)
        return said.resumed
