"""Who and what AuthZEN questions are about, as Cedar entities.

Of the pilot's own types (partner, grant) only what is stored counts: a caller that sends
other attributes is not believed. Of every other type of the bundle the attributes that
the caller sends count, over those in the bundle's `entities.json`, where it has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from console.errors import PilotError
from console.model.access import Partner
from console.model.grant import Grant, GrantState
from console.services.cedar.engine import ENTITIES_FILE, CedarBundle, Uid, entities_of
from console.services.policy.judging.facts import Reader, projection
from console.services.policy.judging.gates import grant_gaps
from console.services.policy.state.tables import GRANTS, PARTNERS

OWN = ("Partner", "Grant")
"""The types whose attributes are the pilot's to say."""

Entities = dict[Uid, dict[str, Any]]
"""Cedar JSON entities, each once."""


class Directory:
    """What a bundle's questions can be about: its types, and the entities beside it."""

    def __init__(self, bundle: CedarBundle, folder: Path | None = None) -> None:
        self.bundle = bundle
        self._types = {name.lower(): name for name in bundle.types}
        self._known: dict[Uid, dict[str, Any]] = {}
        if folder is not None and (folder / ENTITIES_FILE).exists():
            self._known = _stored(folder / ENTITIES_FILE, bundle)

    def type_of(self, name: str) -> str | None:
        """Return the Cedar type that an AuthZEN type names, whatever its case, or None."""
        return self._types.get(name.lower())

    def find(
        self,
        reader: Reader,
        conn: Connection,
        uid: Uid,
        properties: Mapping[str, Any],
        at: datetime,
    ) -> Entities | None:
        """Return the entities that `uid` brings along; None where the pilot has no such thing."""
        if uid.type == "Partner":
            partner = conn.execute(
                select(PARTNERS.c.body).where(PARTNERS.c.slug == uid.id)
            ).scalar_one_or_none()
            return None if partner is None else _partner(partner)
        if uid.type == "Grant":
            grant = conn.execute(
                select(GRANTS.c.body).where(GRANTS.c.id == uid.id)
            ).scalar_one_or_none()
            return None if grant is None else _grant(grant, reader, at)
        return {uid: self._foreign(uid, properties)}

    def knows(self, uid: Uid, found: Entities | None) -> bool:
        """Tell whether `uid`, for which `find` gave `found`, is one that is held here."""
        return found is not None and (uid.type in OWN or uid in self._known)

    def every(
        self, reader: Reader, conn: Connection, type: str, at: datetime
    ) -> dict[Uid, Entities]:
        """Return every entity of a type that is held here, with what each brings along."""
        if type == "Partner":
            partners = conn.execute(select(PARTNERS.c.body).order_by(PARTNERS.c.slug)).scalars()
            return {Uid(type, each.slug): _partner(each) for each in partners}
        if type == "Grant":
            grants = conn.execute(select(GRANTS.c.body).order_by(GRANTS.c.id)).scalars().all()
            return {Uid(type, each.id): _grant(each, reader, at) for each in grants}
        uids = sorted(uid for uid in self._known if uid.type == type)
        return {uid: {uid: self._foreign(uid, {})} for uid in uids}

    def _foreign(self, uid: Uid, properties: Mapping[str, Any]) -> dict[str, Any]:
        known = self._known.get(uid, {})
        declared = self.bundle.types[uid.type]
        sent = {name: value for name, value in properties.items() if name in declared}
        return {
            "uid": uid.as_json(),
            "attrs": {**known.get("attrs", {}), **sent},
            "parents": known.get("parents", []),
        }


def _partner(partner: Partner) -> Entities:
    uid = Uid("Partner", partner.slug)
    return {uid: {"uid": uid.as_json(), "attrs": {"state": partner.state}, "parents": []}}


def _grant(grant: Grant, reader: Reader, at: datetime) -> Entities:
    """Return a grant as it is at `at`: what has lapsed by then is not active."""
    facts = reader.of_grant(grant)
    state = grant.state
    if at >= grant.expires_at or (state == GrantState.ACTIVE and grant_gaps(grant, facts, at)):
        state = GrantState.EXPIRED if at >= grant.expires_at else GrantState.SUSPENDED
    said = entities_of(projection(grant, facts, at, state=state))
    return {Uid(each["uid"]["type"], each["uid"]["id"]): each for each in said}


def _stored(path: Path, bundle: CedarBundle) -> dict[Uid, dict[str, Any]]:
    try:
        items = json.loads(path.read_text("utf-8"))
        bundle.entities(items)
        found = {Uid(each["uid"]["type"], each["uid"]["id"]): each for each in items}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PilotError("bundle-invalid", f"{path} is refused: {error}") from error
    for uid in found:
        if uid.type in OWN:
            raise PilotError(
                "bundle-invalid",
                f"{path} is refused: a {uid.type} comes from the store, never from a file",
            )
    return found
