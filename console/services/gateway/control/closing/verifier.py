"""Proving a closing: each point is followed until it has refused, or its lease is over.

A point is proven when its own listener refuses every credential that the closing ends,
having applied the change, and nothing that the change ended is still in flight there; or
when its lease has lapsed by control's clock, so that it serves nothing at all. An answer
of any other kind proves nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import aiohttp
import msgspec
from sqlalchemy import Connection, select

from console.model.access import RouteName
from console.model.enforcement import LockKind, LockTarget, PointProof, Receipt
from console.model.grant import GrantProjection
from console.services.events import SYSTEM, event
from console.services.gateway.control.closing import suspensions
from console.services.gateway.control.closing.blast import hash_of, touched_keys
from console.services.gateway.control.closing.probe_connector import ProbeConnector
from console.services.gateway.control.closing.receipts import TOPIC
from console.services.gateway.control.state.change_log import Views
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import RECEIPTS
from console.services.gateway.decision import probe_token
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.decision.decide import address_of, models_of
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import Store, emit, signal
from console.services.tls import Certificate
from console.services.wire.changes import KeyFact

_LOG = logging.getLogger(__name__)

UNVERIFIED_AFTER_SECONDS = 10.0
"""After so long a receipt says `unverified`, and why; it is followed all the same."""

_PROBES_AT_ONCE = 16
_PROBE_SECONDS = 2.0
_AGAIN_SECONDS = 0.25
_SLOWER_SECONDS = 2.0
_PATHS = {
    RouteName.CHAT: "/v1/chat/completions",
    RouteName.MESSAGES: "/v1/messages",
    RouteName.RESPONSES: "/v1/responses",
}
_NOBODY = "crd_00000000000000000000000000"
"""No credential has this id: a probe of it asks only how far a point has come."""


class Question(NamedTuple):
    """One probe to send: a credential, and a call of it that must be refused."""

    credential: str
    model: str
    route: str
    capability: str = ""
    address: str = ""
    principal: str = ""


class Answer(NamedTuple):
    """What a probe got. `code` is empty where it would be served, `why` says what failed."""

    refused: bool
    code: str
    sequence: int
    why: str = ""


class Verifier:
    """Follows every receipt that is not verified, through restarts of control too."""

    def __init__(
        self,
        store: Store,
        views: Views,
        points: Points,
        probe_key: bytes,
        *,
        proxies: Sequence[str] = (),
        certificate: Certificate | None = None,
    ) -> None:
        self._certificate = certificate
        self._store = store
        self._proxies = proxies
        self._views = views
        self._points = points
        self._probe_key = probe_key
        self._session: aiohttp.ClientSession | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._probing = asyncio.Semaphore(_PROBES_AT_ONCE)

    async def run(self) -> None:
        """Take up each open receipt as it appears. Runs until cancelled."""
        self._session = aiohttp.ClientSession(
            connector=ProbeConnector(
                limit=_PROBES_AT_ONCE, proxies=self._proxies, certificate=self._certificate
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_PROBE_SECONDS),
        )
        try:
            while True:
                for receipt in await self._store.read(_open_receipts):
                    if receipt not in self._following:
                        task = asyncio.create_task(self._follow(receipt))
                        self._following[receipt] = task
                        task.add_done_callback(partial(self._over, receipt))
                await self._store.signalled(TOPIC, 5.0)
        finally:
            for task in list(self._following.values()):
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)
            await self._session.close()

    def _over(self, receipt: str, task: asyncio.Task[None]) -> None:
        self._following.pop(receipt, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # it is taken up again: an open receipt is never left alone
            _LOG.warning("receipt %s: following it failed", receipt, exc_info=error)

    async def _follow(self, id: str) -> None:
        """Follow one receipt until it is verified."""
        began = time.monotonic()
        while True:
            receipt, questions, points = await self._store.read(lambda conn: self._load(conn, id))
            if receipt is None or receipt.state == "verified":
                return
            known = {proof.point: proof for proof in receipt.points}
            proofs = await asyncio.gather(
                *(
                    self._prove(receipt, known.get(name, _waiting(name)), url, questions)
                    for name, url in points.items()
                )
            )
            late = time.monotonic() - began > UNVERIFIED_AFTER_SECONDS
            new = _judged(receipt, proofs, late=late)
            if new != receipt:
                await self._store.write(partial(keep, receipt=new))
            if new.state == "verified":
                return
            await self._points.news(_SLOWER_SECONDS if late else _AGAIN_SECONDS)

    def _load(
        self, conn: Connection, id: str
    ) -> tuple[Receipt | None, list[Question], dict[str, str]]:
        receipt = conn.execute(select(RECEIPTS.c.body).where(RECEIPTS.c.id == id)).scalar()
        if receipt is None:
            return None, [], {}
        if receipt.action == "point.deregister":
            return receipt, [], {receipt.target: ""}
        questions = _questions(conn, self._views.at(conn), receipt)
        return receipt, questions, self._points.names(conn)

    async def _prove(
        self, receipt: Receipt, known: PointProof, url: str, questions: list[Question]
    ) -> PointProof:
        """Return what is known of one point now. What is proven stays proven."""
        if known.state in {"refused", "lapsed"}:
            return known
        name = known.point
        seen = self._points.seen(name)
        if not seen.serving:
            return PointProof(
                point=name,
                state="lapsed",
                method="lease",
                at=datetime.now(UTC),
                sequence=seen.said.applied_sequence,
                why="its lease has lapsed: it serves nothing",
            )
        if receipt.action == "point.deregister":
            return _waiting(name, "its lease has not lapsed yet")
        if boottime() < seen.former_ends:
            return _waiting(name, "an earlier process of this name may still hold a lease")
        said = seen.said
        if said.applied_sequence < receipt.sequence:
            return _waiting(name, f"has not applied change {receipt.sequence} yet")
        if said.cutting:
            return _waiting(name, f"{said.cutting} calls in flight have not let go yet")
        answers = await asyncio.gather(*(self._ask(url, each) for each in questions))
        served = [a for a in answers if not a.refused]
        behind = [a for a in answers if a.refused and a.sequence < receipt.sequence]
        if served or behind:
            why = (served or behind)[0].why or "a probe was answered from before the change"
            return _waiting(name, why, probes=len(answers))
        return PointProof(
            point=name,
            state="refused",
            method="probe",
            at=datetime.now(UTC),
            sequence=min(a.sequence for a in answers),
            codes=sorted({a.code for a in answers}),
            probes=len(answers),
            streams_cut=said.cut.get(receipt.sequence, 0),
        )

    async def _ask(self, url: str, question: Question) -> Answer:
        """Send one probe through the point's data-plane listener."""
        token = probe_token.mint(
            self._probe_key,
            probe_token.Probe(
                credential=question.credential,
                model=question.model,
                route=question.route,
                nonce=probe_token.nonce(),
                exp=time.time() + probe_token.LIVES_SECONDS,
                capability=question.capability,
                address=question.address,
                principal=question.principal,
            ),
        )
        assert self._session is not None
        async with self._probing:
            try:
                async with self._session.post(
                    url + _PATHS[RouteName(question.route)],
                    data=b"{}",
                    headers={"Authorization": f"Bearer {token}"},
                    allow_redirects=False,
                ) as answer:
                    await answer.read()
                    return _read(answer)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                return Answer(False, "", 0, f"its listener did not answer: {type(error).__name__}")


def _read(answer: aiohttp.ClientResponse) -> Answer:
    """Judge what a probe got. Only a refusal that the decision made counts as one."""
    code = answer.headers.get("x-pilotctl-code", "")
    kind = CODES.get(code)
    try:
        sequence = int(answer.headers.get("x-pilotctl-sequence", ""))
    except ValueError:
        return Answer(False, "", 0, "something else answered at its address")
    if answer.headers.get(probe_token.HEADER) == probe_token.WOULD_SERVE:
        return Answer(False, "", sequence, "it would still serve")
    if kind is None or not kind.decided or answer.status != kind.status:
        return Answer(False, code, sequence, f"it answered {code or answer.status}: no refusal")
    return Answer(True, code, sequence)


def _questions(conn: Connection, snapshot: Snapshot, receipt: Receipt) -> list[Question]:
    """Return the probes that must all be refused before a point counts as proven."""
    if receipt.action == "grant.revoke":
        keys = [(key, snapshot.grant(key.grant_id)) for key in snapshot.keys_of(receipt.target)]
        asked = [q for key, grant in keys for q in _calls(key, grant)]
    elif receipt.action in {"key.revoke", "key.retire"}:
        key = snapshot.key(receipt.target)
        asked = _calls(key, snapshot.grant(key.grant_id)) if key else []
    elif receipt.action in {"partner.offboard", "pilot.close"}:
        keys = [
            (key, grant)
            for key in snapshot.each_key()
            for grant in [snapshot.grant(key.grant_id)]
            if receipt.target == (key.partner if receipt.kind == "partner" else _pilot_of(grant))
        ]
        asked = [q for key, grant in keys for q in _calls(key, grant)]
    elif receipt.action.endswith(".suspend") and snapshot.suspension(receipt.kind, receipt.target):
        target = LockTarget(kind=LockKind(receipt.kind), id=receipt.target)
        touched = touched_keys(conn, snapshot, target)
        asked = [q for key, grant in touched for q in _calls(key, grant)]
    elif snapshot.lock_on(receipt.kind, receipt.target) is None:
        asked = []  # released meanwhile: how far the point has come is all that is left to ask
    else:
        target = LockTarget(kind=LockKind(receipt.kind), id=receipt.target)
        asked = [
            q
            for key, grant in touched_keys(conn, snapshot, target)
            for q in _narrowed(_calls(key, grant), target, hash_of(snapshot, target.id))
        ]
    return asked or [Question(_NOBODY, "none", RouteName.CHAT)]


def _pilot_of(grant: GrantProjection | None) -> str:
    return grant.pilot if grant else ""


def _calls(key: KeyFact, grant: GrantProjection | None) -> list[Question]:
    """Return one call for each model of a credential's grant, on a route that it opens."""
    if grant is None:
        return [Question(key.id, "none", RouteName.CHAT)]
    out = []
    for model in models_of(grant):
        for capability in grant.capabilities:
            routes = [r for r in capability.routes if r in _PATHS]
            if model in capability.models and routes:
                who = next(iter(grant.principals.values()), "")
                out.append(
                    Question(key.id, model, routes[0], capability.slug, address_of(grant), who)
                )
    return out or [Question(key.id, "none", RouteName.CHAT)]


def _narrowed(calls: Iterable[Question], target: LockTarget, principal: str) -> list[Question]:
    """Keep the calls that the lock covers; for a network, as if they came from there, and
    for a principal (its hash), as if they named it.
    """
    match target.kind:
        case LockKind.MODEL:
            return [call for call in calls if call.model == target.id]
        case LockKind.CAPABILITY:
            return [call for call in calls if call.capability == target.id]
        case LockKind.PRINCIPAL:
            return [call._replace(principal=principal) for call in calls]
        case LockKind.NETWORK:
            address = str(ipaddress.ip_network(target.id, strict=False)[0])
            return [call._replace(address=address) for call in calls]
        case _:
            return list(calls)


def _waiting(name: str, why: str = "", probes: int = 0) -> PointProof:
    return PointProof(point=name, state="waiting", why=why, probes=probes)


def _judged(receipt: Receipt, proofs: list[PointProof], *, late: bool) -> Receipt:
    """Return the receipt as the proofs leave it."""
    open_ones = [proof for proof in proofs if proof.state not in {"refused", "lapsed"}]
    if not open_ones:
        ats = [proof.at for proof in proofs if proof.at is not None]
        return msgspec.structs.replace(
            receipt,
            points=proofs,
            state="verified",
            why="" if proofs else "no point is registered: nothing serves",
            enforced_at=max(ats, default=datetime.now(UTC)),
        )
    if not late:
        return msgspec.structs.replace(receipt, points=proofs)
    shown = [
        msgspec.structs.replace(proof, state="unproven") if proof in open_ones else proof
        for proof in proofs
    ]
    why = "; ".join(f"{proof.point}: {proof.why or 'not proven'}" for proof in open_ones)
    return msgspec.structs.replace(receipt, points=shown, state="unverified", why=why)


def keep(conn: Connection, receipt: Receipt) -> None:
    """Store a receipt's progress. That it is verified is an event of its own."""
    conn.execute(
        RECEIPTS.update()
        .where(RECEIPTS.c.id == receipt.id)
        .values(state=receipt.state, body=receipt)
    )
    signal(conn, f"receipt {receipt.id}")
    if receipt.state == "verified":
        suspensions.proven(conn, receipt, receipt.enforced_at or datetime.now(UTC))
        emit(
            conn,
            event(
                "receipt.verify",
                service="gateway",
                actor=SYSTEM,
                kind="receipt",
                target=receipt.id,
                name=f"{receipt.action} {receipt.target}",
                partner=receipt.partner,
                after=receipt,
                at=receipt.enforced_at or datetime.now(UTC),
            ),
        )


def _open_receipts(conn: Connection) -> list[str]:
    return list(
        conn.execute(
            select(RECEIPTS.c.id).where(RECEIPTS.c.state.in_(("verifying", "unverified")))
        ).scalars()
    )
