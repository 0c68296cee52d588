"""Credentials: issued under an active grant, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.access import PartnerState
from console.model.enforcement import Credential, CredentialState, IssuedKey, IssueKey
from console.model.grant import GrantProjection
from console.model.ids import new_id
from console.model.stored import Page
from console.services.events import event
from console.services.gateway.control.access import successors
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import CREDENTIALS
from console.services.gateway.decision.decide import reachable_targets, staleness, standing
from console.services.gateway.decision.snapshot import Snapshot
from console.services.secret_shapes import KEY_PREFIX
from console.services.store import emit
from console.services.web import Ask, page
from console.services.wire.changes import KeyChange, KeyFact

_FILTERS = {"grant": "grant_id", "partner": "partner", "holder": "holder", "state": "state"}


def hash_of(raw: str) -> str:
    """Return what is stored of a key: its SHA-256, hex."""
    return hashlib.sha256(raw.encode()).hexdigest()


def find(conn: Connection, id: str) -> Credential:
    """Return a credential. Raises the problem `not-found`."""
    found = conn.execute(
        select(CREDENTIALS.c.body).where(CREDENTIALS.c.id == id)
    ).scalar_one_or_none()
    if found is None:
        raise refusal("not-found", f"there is no credential {id}", mend="pilotctl key list")
    return found  # type: ignore[no-any-return]


def store(conn: Connection, credential: Credential) -> None:
    """Write a credential that has changed."""
    conn.execute(
        CREDENTIALS.update()
        .where(CREDENTIALS.c.id == credential.id)
        .values(state=credential.state, ends_at=credential.ends_at, body=credential)
    )


class Keys:
    """The routes about credentials."""

    def __init__(self, views: change_log.Views, points: Points) -> None:
        self._views = views
        self._points = points

    def listing(self, conn: Connection, ask: Ask) -> Page[Credential]:
        """Answer `key.list`, newest first."""
        query = select(CREDENTIALS)
        for name, column in _FILTERS.items():
            if wanted := ask.query.get(name):
                query = query.where(CREDENTIALS.c[column] == wanted)
        return page(
            conn,
            query,
            ask,
            keys=[CREDENTIALS.c.created_at.desc(), CREDENTIALS.c.id.desc()],
            decode=lambda row: row.body,
        )

    def show(self, conn: Connection, ask: Ask) -> Credential:
        """Answer `key.show`."""
        return find(conn, ask.path["credential"])

    def issue(self, conn: Connection, ask: Ask) -> IssuedKey:
        """Answer `key.issue`. The key exists in this answer and nowhere else."""
        body: IssueKey = ask.body
        snapshot = self._views.at(conn)
        grant = snapshot.grant(body.grant_id)
        if grant is None:
            raise refusal(
                "not-found",
                f"the gateway knows no grant {body.grant_id}",
                mend="pilotctl grant show tells whether it is active yet",
            )
        holder = body.holder or grant.partner
        if holder != grant.partner and holder not in grant.subprocessors:
            declared = ", ".join(grant.subprocessors) or "none"
            raise refusal(
                "refused",
                f"{holder} is neither {grant.partner} nor one of its declared subprocessors "
                f"({declared})",
                mend=f"pilotctl partner declare {grant.partner} --subprocessors {holder}",
            )
        new, fact, raw = mint(
            conn, grant_id=grant.id, partner=grant.partner, holder=holder, ask=ask,
            version=1 + _count(conn, grant.id),
        )  # fmt: skip
        refuse_closed(snapshot, grant, fact, ask.now, self._points.policy_age(conn, ask.now))
        change_log.append(conn, KeyChange(key=fact))
        emit(
            conn,
            event(
                "key.issue",
                service="gateway",
                actor=ask.operator.name,
                kind="credential",
                target=new.id,
                partner=grant.partner,
                reason=body.reason,
                request_id=ask.request_id,
                after=new,
                at=ask.now,
            ),
        )
        return IssuedKey(credential=new, secret=raw, base_urls=self._points.urls(conn))


def mint(
    conn: Connection,
    *,
    grant_id: str,
    partner: str,
    holder: str,
    version: int,
    ask: Ask,
    replaces: str = "",
) -> tuple[Credential, KeyFact, str]:
    """Make a key and store its hash; return the credential, what points know, and the key."""
    raw = KEY_PREFIX + secrets.token_urlsafe(32)
    credential = Credential(
        id=new_id("credential"),
        created_at=ask.now,
        created_by=ask.operator.name,
        updated_at=ask.now,
        updated_by=ask.operator.name,
        grant_id=grant_id,
        partner=partner,
        holder=holder,
        hint=raw[-4:],
        version=version,
        state=CredentialState.ISSUED,
        replaces=replaces,
    )
    fact = KeyFact(
        id=credential.id, sha256=hash_of(raw), grant_id=grant_id, partner=partner, holder=holder
    )
    conn.execute(
        CREDENTIALS.insert().values(
            id=fact.id,
            sha256=fact.sha256,
            grant_id=grant_id,
            partner=partner,
            holder=holder,
            state=credential.state,
            created_at=ask.now,
            body=credential,
        )
    )
    return credential, fact, raw


def refuse_closed(
    snapshot: Snapshot,
    grant: GrantProjection,
    key: KeyFact,
    at: datetime,
    policy_age: float | None,
) -> None:
    """Refuse a key that could not serve now: nothing opens under what is closed."""
    if code := snapshot.ended(key):
        raise refusal("refused", f"the grant {grant.id} was revoked for ever ({code})")
    for kind, target in sorted(reachable_targets(key, grant)):
        if lock := snapshot.lock_on(kind, target):
            raise refusal(
                "refused",
                f"{kind} {target} is locked ({lock.id}), so no key is issued",
                mend=f"pilotctl lock show {lock.id}",
            )
    if held := snapshot.suspended(key):
        raise refusal(
            "refused",
            f"{held.kind} {held.target} is suspended ({held.id}), so no key is issued",
            mend=f"pilotctl {held.kind} resume {held.target}",
        )
    if grant.partner_state == PartnerState.RESTRICTED:
        raise refusal(
            "refused",
            f"{grant.partner} is restricted: nothing new opens for it",
            mend=f"pilotctl partner resume {grant.partner}",
        )
    if later := successors.successor(snapshot, grant.id):
        raise refusal(
            "refused",
            f"{later.id} renews {grant.id} and has its keys",
            mend=f"pilotctl key issue {later.id}",
        )
    code, found = standing(grant, at)
    if code:
        raise refusal(
            "refused",
            f"the grant {grant.id} is not active here: {found}",
            mend=f"pilotctl grant show {grant.id}",
        )
    if why := staleness(grant.tier, grant.grace_seconds, policy_age):
        raise refusal(
            "unavailable", f"nothing opens on old knowledge: {why}", mend="pilotctl status"
        )


def _count(conn: Connection, grant_id: str) -> int:
    counted = select(func.count()).select_from(CREDENTIALS)
    return int(conn.execute(counted.where(CREDENTIALS.c.grant_id == grant_id)).scalar_one())
