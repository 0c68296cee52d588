"""The owner of the pilot's folder: at the machine, they can always cut off, thaw and restore.

The owner is the OS user whom the folder belongs to and as whom the services run; no roster
says so, and nobody can take it away. What they do is an event of the critical kind.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict

import msgspec
from sqlalchemy import Connection

from console.model.audit import Severity
from console.model.operator import Operator, Role
from console.model.text import Reason
from console.services.store import Store
from console.services.web import Ask, Web

KIND = "owner"

Change = Callable[[Connection, Ask], Any]


class OwnerOrder(msgspec.Struct, kw_only=True, frozen=True):
    """Why the owner does what they do."""

    reason: Reason


class Told(TypedDict):
    """What the event of a change says beyond who changed what."""

    severity: Severity
    facts: Mapping[str, Any] | None


def path_of(verb: str, operator: str) -> str:
    """Return the internal path of a verb of the owner's."""
    return f"/internal/v1/owner/{verb}/{operator}"


def operator() -> Operator:
    """Return the owner as the one who asks: this process runs as them."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return Operator(name=name, uid=uid, roles=[Role.ADMIN.value], kind=KIND)


def told(by: Operator) -> Told:
    """Return what an event says where the owner did it."""
    if by.kind != KIND:
        return Told(severity=Severity.INFORMATIONAL, facts=None)
    return Told(severity=Severity.CRITICAL, facts={"by": KIND})


def mount(web: Web, store: Store, verbs: Mapping[str, Change]) -> None:
    """Serve the owner's verbs to processes of the owner's own."""
    for verb, change in verbs.items():
        web.internal(
            "PUT", path_of(verb, "{operator}"), partial(_do, store, change), body=OwnerOrder
        )


async def _do(store: Store, change: Change, ask: Ask) -> Any:
    asked = replace(ask, operator=operator())
    answer = await store.write(lambda conn: change(conn, asked))
    for do in asked.afterwards:
        do()
    for complete in asked.completions:
        answer = await complete(answer)
    return answer
