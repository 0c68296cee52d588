"""Those on call: who they are, how each is reached, and what did not reach them.

A webhook's secret is in a file of its own (0600) among the keys. A command is a program in
the state folder's `paging`: whoever owns the machine decides what may be run there, not
whoever may call the API.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Row, select, update

from console.api.problems import refusal
from console.model.ids import new_id
from console.model.oncall import (
    Delivery,
    DeliveryState,
    NewOncall,
    OncallTarget,
    RemoveOncall,
    TryOncall,
)
from console.model.stored import Page
from console.model.text import rfc3339
from console.services.audit.paging import pages
from console.services.audit.rules.weekly_hours import schedule
from console.services.audit.state.schema import DELIVERIES, ONCALL
from console.services.events import event
from console.services.home import Home
from console.services.store import emit
from console.services.web import Ask, fresh, page

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def secret_path(home: Home, target_id: str) -> Path:
    """Return where a webhook's secret is."""
    return home.keys / f"oncall-{target_id}.key"


def folder(home: Home) -> Path:
    """Return where the programs are that may be run for a page."""
    return home.path / "paging"


def signing_key(text: str) -> bytes:
    """Return the bytes of a `whsec_` secret. Raises ValueError."""
    try:
        key = base64.b64decode(text.strip().removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64 after `whsec_`") from error
    if not 24 <= len(key) <= 64:
        raise ValueError(f"it has {len(key)} bytes, and takes 24 to 64")
    return key


def program(home: Home, name: str) -> Path:
    """Return the program to run. Raises ValueError where it must not be run."""
    place = folder(home)
    path = Path(name) if name.startswith("/") else place / name
    if path.parent != place or path.name in {"", ".", ".."}:
        raise ValueError(f"it is not directly in {place}")
    for each in (place, path):
        try:
            found = each.lstat()
        except OSError as error:
            raise ValueError(f"{each}: {error.strerror}") from error
        if not (stat.S_ISREG(found.st_mode) if each == path else stat.S_ISDIR(found.st_mode)):
            raise ValueError(f"{each} is not a {'program' if each == path else 'folder'}")
        if found.st_uid not in {0, os.geteuid()}:
            raise ValueError(f"{each} belongs to another user")
        if found.st_mode & 0o022:
            raise ValueError(f"{each} can be changed by others: chmod go-w")
    if not os.access(path, os.X_OK):
        raise ValueError(f"{path} is not a program")
    return path


class Oncall:
    """The handlers that need the state folder."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def add(self, conn: Connection, ask: Ask) -> OncallTarget:
        """Answer `oncall.add`."""
        said: NewOncall = ask.body
        if any(each.slug == said.name for each in pages.targets(conn)):
            raise refusal(
                "exists",
                f"{said.name} is on call already",
                mend=f"`pilotctl oncall remove {said.name}` first",
            )
        self._check(said)
        target = OncallTarget(
            id=new_id("oncall"),
            created_at=ask.now,
            created_by=ask.operator.name,
            updated_at=ask.now,
            updated_by=ask.operator.name,
            slug=said.name,
            kind="webhook" if said.url else "command",
            url=said.url,
            argv=said.argv,
            level=said.level,
            severities=sorted({each.value for each in said.severities}),
            hours=said.hours.strip(),
            after_seconds=said.after_seconds,
            timeout_seconds=said.timeout_seconds,
        )
        if said.url and not ask.validate_only:
            _keep(secret_path(self._home, target.id), said.secret.strip())
        conn.execute(
            ONCALL.insert().values(id=target.id, name=target.slug, state=target.state, body=target)
        )
        _record(conn, "oncall.add", target, ask, said.reason)
        return target

    def remove(self, conn: Connection, ask: Ask) -> OncallTarget:
        """Answer `oncall.remove`. What waits for it is given up, and stays to be seen."""
        said: RemoveOncall = ask.body
        target = find(conn, ask.path["target"])
        fresh(ask, target)
        removed = msgspec.structs.replace(
            target,
            revision=target.revision + 1,
            updated_at=ask.now,
            updated_by=ask.operator.name,
            state="removed",
        )
        store(conn, removed)
        waiting = conn.execute(
            select(DELIVERIES.c.body).where(
                DELIVERIES.c.target_id == target.id,
                DELIVERIES.c.state.in_((DeliveryState.PENDING.value, DeliveryState.WAITING.value)),
            )
        ).scalars()
        for each in waiting.all():
            pages.settle(
                conn,
                msgspec.structs.replace(
                    each,
                    state=DeliveryState.FAILED.value,
                    next_at=None,
                    ended_at=ask.now,
                    error="its target was removed",
                ),
            )
        _record(conn, "oncall.remove", removed, ask, said.reason, before=target)
        path = secret_path(self._home, target.id)
        ask.afterwards.append(lambda: path.unlink(missing_ok=True))
        return removed

    def attempt(self, conn: Connection, ask: Ask) -> Delivery:
        """Answer `oncall.test`: a page that says that it is a test."""
        said: TryOncall = ask.body
        target = find(conn, ask.path["target"])
        payload = {
            "type": "test",
            "timestamp": rfc3339(ask.now),
            "data": {"target": target.slug, "by": ask.operator.name, "reason": said.reason},
        }
        delivery = pages.enqueue(conn, target, payload, alert=None, why="test", at=ask.now)
        _record(conn, "oncall.test", target, ask, said.reason)
        return delivery

    def _check(self, said: NewOncall) -> None:
        if bool(said.url) == bool(said.argv):
            raise refusal("invalid", "a target has either a webhook's url or a command")
        try:
            schedule(said.hours)
        except ValueError as error:
            raise refusal("invalid", f"hours: {error}") from error
        try:
            if said.url:
                _check_url(said.url)
                signing_key(said.secret)
            else:
                program(self._home, said.argv[0])
        except ValueError as error:
            if said.url:
                raise refusal("invalid", f"{error}") from error
            raise refusal(
                "invalid",
                f"argv: {error}",
                mend=f"put the program into {folder(self._home)} on the service's machine",
            ) from error


def find(conn: Connection, name: str) -> OncallTarget:
    """Return the active target with this name or id. Raises `not-found`."""
    for each in pages.targets(conn):
        if name in {each.slug, each.id}:
            return each
    raise refusal("not-found", f"nobody called {name[:80]!a} is on call")


def listing(conn: Connection, ask: Ask) -> Page[OncallTarget]:
    """Answer `oncall.list`, by level and name."""
    return Page(as_of=ask.now, source="audit", items=pages.targets(conn))


def show(conn: Connection, ask: Ask) -> OncallTarget:
    """Answer `oncall.show`."""
    return find(conn, ask.path["target"])


def deliveries(conn: Connection, ask: Ask) -> Page[Delivery]:
    """Answer `oncall.deliveries`, newest first."""
    query = select(DELIVERIES)
    if state := ask.query.get("state", ""):
        query = query.where(DELIVERIES.c.state == state)
    if target := ask.query.get("target", ""):
        query = query.where(
            DELIVERIES.c.target_id.in_(select(ONCALL.c.id).where(ONCALL.c.name == target))
        )
    keys = [DELIVERIES.c.created_at.desc(), DELIVERIES.c.id.desc()]
    return page(conn, query, ask, keys=keys, decode=_delivery)


def undelivered(conn: Connection) -> list[str]:
    """Return what is wrong with paging, in words, for the service's status."""
    return [
        f"{each.slug} on call is not reached: {each.failing} (pilotctl oncall deliveries)"
        for each in pages.targets(conn)
        if each.failing
    ]


def store(conn: Connection, target: OncallTarget) -> None:
    """Put the target in the place of what it was before."""
    conn.execute(
        update(ONCALL).where(ONCALL.c.id == target.id).values(state=target.state, body=target)
    )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("url: it is not an address") from error
    if not parts.hostname or port == 0 or any(each <= " " for each in url):
        raise ValueError("url: it is not an address")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("url: must be https, or http on this machine")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("url: holds no password, query or fragment: it stands in the log")


def _keep(path: Path, secret: str) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(secret + "\n")
        out.flush()
        os.fsync(out.fileno())


def _delivery(row: Row[Any]) -> Delivery:
    found: Delivery = row.body
    return found


def failed(conn: Connection, target: OncallTarget, delivery: Delivery, at: datetime) -> None:
    """Record that a page was given up: a rule makes an alert of it."""
    emit(
        conn,
        event(
            "page.fail",
            service="audit",
            actor="system",
            kind="oncall",
            target=target.slug,
            name=delivery.title,
            outcome="failure",
            reason=f"{delivery.error}, after {delivery.attempts} attempts",
            after=delivery,
            at=at,
        ),
    )


def _record(
    conn: Connection,
    action: str,
    target: OncallTarget,
    ask: Ask,
    reason: str,
    *,
    before: OncallTarget | None = None,
) -> None:
    emit(
        conn,
        event(
            action,
            service="audit",
            actor=ask.operator.name,
            kind="oncall",
            target=target.id,
            name=target.slug,
            reason=reason,
            request_id=ask.request_id,
            before=before,
            after=target,
            at=ask.now,
        ),
    )
