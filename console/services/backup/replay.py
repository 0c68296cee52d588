"""Bringing restored stores up to what was ended since: from the log, and from the stores left.

Where nothing newer than the backup can be read, nothing tells what was ended since. Then what
the backup knows as open ends: its keys, its operators' tokens, and its operators.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection

from console.model.access import Suspension
from console.model.enforcement import Revoke, TombstoneKind
from console.model.ids import new_id
from console.model.operator import Operator, Role
from console.services.audit.log import ledger
from console.services.backup import (
    closings,
    keep_gateway,
    keep_operators,
    keep_policy,
    left_stores,
    newest_state,
)
from console.services.backup.history import History
from console.services.backup.lineage import Reach
from console.services.gateway.control.closing.tombstones import Tombstones
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.home import Home
from console.services.operators import break_glass
from console.services.policy.state.event_record import Actor
from console.services.policy.state.marks import mark, set_mark
from console.services.store import Store
from console.services.web import Ask

_UNKNOWN = "nothing newer than the backup tells"
SERVICES = ("policy", "gateway", "audit")


class Stores(NamedTuple):
    """The restored stores."""

    gateway: Store
    policy: Store
    audit: Store


class Wish(NamedTuple):
    """What the restore knows, and what its operator asked for."""

    log_known: bool
    """The log was read beyond the backup, and as far as it was signed."""
    reached: Mapping[str, Reach | None]
    """How far each service's store that is left continues the backup's; None if it does not."""
    keep_keys: bool
    by: str
    at: datetime
    why: str
    """Said of what ends because nothing could tell whether it had ended."""


class Known(NamedTuple):
    """Of which restored store everything is known that its service ended since the backup."""

    gateway: bool
    policy: bool


class Unsure(NamedTuple):
    """What ended because nothing could tell whether it had been ended already."""

    keys_ended: int
    grants_suspended: list[str]
    partners_restricted: list[str]
    tokens_ended: int
    operators_cut: list[str]
    warnings: list[str]


class Kept(NamedTuple):
    """What was kept as ended, and what had to end."""

    tombstones: int
    closings: int
    unsure: Unsure
    used: list[str]
    warnings: list[str]
    lacks_break_glass: bool
    """Break-glass accounts were sealed, and none of them can be used."""


def replay(home: Home, stores: Stores, wish: Wish) -> Kept:
    """Keep every closing since the backup in the restored stores."""
    continuing = {name for name in SERVICES if wish.reached[name] is not None}
    events = [
        leaf
        for name in SERVICES
        for leaf in newest_state.fill_outbox(
            getattr(stores, name), name, stores.audit,
            home.store(name) if name in continuing else None,
        )
    ]  # fmt: skip
    history = History(events, stores.gateway)
    gateway_left = left_stores.gateway(home) if "gateway" in continuing else None
    policy_left = left_stores.policy(home) if "policy" in continuing else None
    marks = {name: left_stores.marks(home, name) for name in continuing}
    used = []
    warnings = [
        f"{name}.db is older than the backup, or of another pilot: it is put aside"
        for name in ("gateway", "policy")
        if name not in continuing and home.store(name).exists()
    ]
    is_known = Known(
        gateway=wish.log_known
        or (gateway_left is not None and _is_newest("gateway", stores.audit, wish)),
        policy=wish.log_known
        or (policy_left is not None and _is_newest("policy", stores.audit, wish)),
    )
    notices = stores.gateway.read_now(keep_gateway.newest_notice)
    before = stores.gateway.read_now(keep_gateway.tombstones)
    made, unkept = stores.gateway.write_now(lambda conn: closings.keep(history, "gateway", conn))
    if gateway_left is not None:
        used.append("gateway store")
        made += stores.gateway.write_now(lambda conn: left_stores.keep(conn, gateway_left, history))
    else:
        warnings.append("there is no gateway store that can be read")
        if wish.log_known:
            warnings.append("what the gateway ended after the newest entry of the log is not known")
    if policy_left is not None:
        used.append("policy store")
        made += stores.gateway.write_now(lambda conn: left_stores.keep(conn, policy_left, history))
    tombstones = stores.gateway.read_now(keep_gateway.tombstones) - before

    def in_policy(conn: Connection) -> tuple[int, list[closings.Unkept]]:
        # Policy takes over again what the gateway holds, from where this copy of it began.
        set_mark(conn, "closings_seen", 0)
        set_mark(conn, "notices_seen", min(mark(conn, "notices_seen"), notices))
        found = closings.keep(history, "policy", conn)
        keep_policy.settle_soon(conn, wish.at)
        return found

    more, others = stores.policy.write_now(in_policy)
    warnings += [
        f"{each.leaf.action} of {each.leaf.target} could not be kept: {each.why}"
        for each in (*unkept, *others)
    ]
    told_too_little = {each.leaf.target for each in others if each.leaf.kind == "operator"}
    unsure = _end_unsure(home, stores, wish, history, is_known, operators=told_too_little)
    warnings += unsure.warnings
    known = [each for found in marks.values() for each in found or ()]
    keep_operators.agree(stores.policy, (stores.gateway, stores.audit), known)
    trouble = stores.policy.read_now(lambda conn: break_glass.trouble(conn, wish.at))
    if trouble:
        warnings.append(trouble)
    return Kept(
        tombstones, made + more, unsure, used, warnings, bool(trouble)
    )  # fmt: skip


def _end_unsure(
    home: Home,
    stores: Stores,
    wish: Wish,
    history: History,
    is_known: Known,
    *,
    operators: Collection[str],
) -> Unsure:
    """End what is open in a restored store of which nothing newer can be known.

    `operators` names those of whom a newer event tells too little.
    """
    keys_ended = 0
    grants: list[str] = []
    partners: list[str] = []
    warnings: list[str] = []
    if not is_known.gateway:
        warnings.append(
            f"{_UNKNOWN} what the gateway ended: keys, suspensions, locks, points, "
            "what was said in calls"
        )
        if not wish.keep_keys:
            keys_ended = stores.gateway.write_now(_all_keys_ended(stores.gateway, wish))
    if not is_known.policy:
        warnings.append(
            f"{_UNKNOWN} what policy ended: grants that were narrowed or amended, "
            "partners that were restricted, networks and subprocessors that were "
            "removed, principals that were retired, assessments that were rejected "
            "or withdrawn"
        )
        if not wish.keep_keys:
            by = Actor(wish.by, wish.at)
            partners = stores.policy.write_now(lambda conn: keep_policy.restrict_all(conn, by))
            grants = stores.policy.read_now(keep_policy.open_grants)
            stores.gateway.write_now(lambda conn: _suspend_all(conn, history, grants, wish))
        warnings.append(
            "nothing newer tells which operators were cut: every token has ended, and every "
            "operator but you is cut off"
        )
    if warnings and wish.keep_keys:
        warnings.append(
            "--keep-keys: a key that was revoked after the backup lives again behind the lock, "
            "and so does a grant that was narrowed"
        )
    owners = set(_owners(home))
    only = operators if is_known.policy else None
    ended = stores.policy.write_now(
        lambda conn: keep_operators.end_unsure(conn, owners, wish.at, wish.by, wish.why, only=only)
    )
    return Unsure(keys_ended, grants, partners, ended.tokens, ended.operators, warnings)


def _suspend_all(conn: Connection, history: History, grants: Sequence[str], wish: Wish) -> None:
    for each in grants:
        held = Suspension(id=new_id("suspension"), at=wish.at, by=wish.by, reason=wish.why)
        keep_gateway.hold(conn, history, "grant", each, held=held)


def _is_newest(name: str, audit: Store, wish: Wish) -> bool:
    """Tell whether a store that is left has what its service ended last, as far as is known."""
    reached = wish.reached[name]
    logged = audit.read_now(lambda conn: ledger.place(conn, name).last_seq)
    return reached is not None and reached.is_newest(logged)


def _owners(home: Home) -> Iterator[str]:
    """Yield the OS users whose pilot it is: who restores it, and whose folder it is."""
    yield os_user()
    with suppress(KeyError, OSError):
        yield pwd.getpwuid(home.path.stat().st_uid).pw_name


def os_user() -> str:
    """Return the OS user of this process by its id: the environment may name anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _all_keys_ended(gateway: Store, wish: Wish) -> Callable[[Connection], int]:
    views = change_log.Views()
    marks = Tombstones(views, Points(gateway, views))

    def end(conn: Connection) -> int:
        snapshot = views.at(conn)
        living = [
            key.id
            for key in snapshot.each_key()
            if not snapshot.tombstoned(TombstoneKind.CREDENTIAL.value, key.id)
        ]
        for each in living:
            body = Revoke(kind=TombstoneKind.CREDENTIAL, id=each, reason=wish.why)
            marks.revoke(conn, ask(body, wish.by, wish.at))
        return len(living)

    return end


def ask(body: Any, by: str, at: datetime) -> Ask:
    """Return the request that an operator would make, for the gateway's own handlers."""
    return Ask(
        service="gateway",
        route=None,
        operator=Operator(name=by, uid=0, roles=[Role.ADMIN.value]),
        uid=0,
        path={},
        query={},
        body=body,
        raw=b"",
        revision=None,
        request_id="",
        validate_only=False,
        now=at,
        request=cast("Any", None),
    )
