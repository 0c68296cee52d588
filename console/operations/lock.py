"""Locks: nothing matching one gets through, until it is released."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow, Report
from console.api.gateway import (
    LOCK_ADD,
    LOCK_BLAST,
    LOCK_LIST,
    LOCK_RELEASE,
    LOCK_SHOW,
    RECEIPT_SHOW,
)
from console.errors import ExitCode, PilotError
from console.model.enforcement import (
    Blast,
    Lock,
    LockKind,
    LockTarget,
    NewLock,
    Receipt,
    ReleaseLock,
)
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Note
from console.operations.closing import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    ends,
    follow,
    pause,
    stays,
)
from console.operations.listing import pages
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation

FAR = 3
"""A lock that reaches more partners than this wants its target typed."""

LockId = Annotated[
    str, Param("The lock's id.", kind=Kind.ID, completes="lock.list", positional=True)
]


class ListLocks(Listing, kw_only=True, frozen=True):
    """Which locks are listed."""

    kind: Annotated[str, Param("Only of this kind.", kind=Kind.CHOICE, choices=tuple(LockKind))] = (
        ""
    )
    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=("active", "released"))
    ] = ""


@operation("lock.list", title="List locks", result=Page[Lock])
def list_locks(p: ListLocks, _plan: Plan | None) -> Flow[Page[Lock]]:
    """List locks, newest first."""
    return pages(LOCK_LIST, p, kind=p.kind, state=p.state)


class ShowLock(msgspec.Struct, kw_only=True, frozen=True):
    """Which lock is shown."""

    lock: LockId


@operation("lock.show", title="Show lock", result=Lock, subject="lock")
def show(p: ShowLock, _plan: Plan | None) -> Flow[Lock]:
    """Show a lock: what it matches, why, and what the locked side is told."""
    return LOCK_SHOW(lock=p.lock)


class AddLock(msgspec.Struct, kw_only=True, frozen=True):
    """What is locked."""

    kind: Annotated[
        LockKind,
        Param("What it matches.", kind=Kind.CHOICE, choices=tuple(LockKind), positional=True),
    ]
    target: Annotated[
        str,
        Param(
            "Its slug, id or network; a stage is PILOT/STAGE; nothing for everything.",
            positional=True,
        ),
    ] = ""
    message: Annotated[Note, Param("What the locked side is told.", kind=Kind.LONG_TEXT)] = ""
    reason: Why


def _target(p: AddLock) -> LockTarget:
    if p.kind == LockKind.EVERYTHING:
        if p.target not in {"", "*"}:
            raise PilotError(
                "bad-value",
                f"a lock on everything has no target, and {p.target!r} was given",
                exit=ExitCode.USAGE,
                hint="name the kind of the target, or leave the target out",
            )
        return LockTarget(kind=p.kind, id="*")
    if not p.target:
        raise PilotError(
            "missing-value",
            f"a lock on a {p.kind} needs the {p.kind} that it locks",
            exit=ExitCode.USAGE,
            hint=f"pilotctl lock add {p.kind} {str(p.kind).upper()} --reason WHY",
        )
    return LockTarget(kind=p.kind, id=p.target)


def plan_add(p: AddLock) -> Flow[Plan]:
    """Ask the gateway what the lock would end now."""
    target = _target(p)
    blast = yield from LOCK_BLAST(target)
    everything = p.kind == LockKind.EVERYTHING
    what = "everything" if everything else f"{p.kind} {p.target}"
    matching = _calls(p.kind, p.target)
    reach = len(blast.partners)
    return Plan(
        title=f"Lock {what}",
        sections=[
            Section(
                "What it does",
                [
                    f"no call {matching} gets through until the lock is released",
                    f"the locked side is told: {p.message}"
                    if p.message
                    else "the locked side is told that it is locked",
                    "verified at every point, then in the log",
                ],
            ),
            _what_ends(p, blast),
            stays(blast),
        ],
        name=("everything" if everything else p.target) if reach > FAR else "",
        partners=reach,
        blast=blast,
    )


def _calls(kind: str, target: str) -> str:
    """Return which calls a lock refuses, in words that stand behind "no call"."""
    match kind:
        case LockKind.SUBPROCESSOR:
            return f"with a key that {target} holds, for any partner,"
        case LockKind.NETWORK:
            return f"from {target}"
        case LockKind.EVERYTHING:
            return "of anybody"
        case _:
            return f"matching {kind} {target}"


def _what_ends(p: AddLock, blast: Blast) -> Section:
    """Return what the lock ends: of a key that it stops in part only, which part."""
    match p.kind:
        case LockKind.PRINCIPAL:
            return _of_principal(blast)
        case LockKind.NETWORK:
            return ends(blast, only="for calls from it: elsewhere the same keys go on")
        case LockKind.CAPABILITY | LockKind.MODEL:
            return ends(blast, only="for calls of it: what else these keys open goes on")
        case _:
            return ends(blast)


def _of_principal(blast: Blast) -> Section:
    """Return what a lock on one user ends: its calls, and nobody else's."""
    keys = f"{blast.credentials} key{'' if blast.credentials == 1 else 's'}"
    whose = ", ".join(blast.partners) or "nobody, as far as is known"
    return Section(
        "What ends",
        [
            f"its calls with {keys} of {whose}; other users of the same keys go on",
            f"{blast.streams or 'no'} stream{'' if blast.streams == 1 else 's'} of it in flight",
        ],
    )


@operation(
    "lock.add",
    title="Lock",
    result=Receipt,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_add,
    key="L",
    converges=True,
)
def add(p: AddLock, _plan: Plan | None) -> Flow[Receipt]:
    """Let nothing matching through from now on, and prove it.

    `lock add everything` stops all calls. Streams in flight are cut. A lock ends nothing
    for ever: `lock release` lifts it.
    """
    lock = yield from LOCK_ADD(NewLock(target=_target(p), reason=p.reason, message=p.message))
    yield Report(f"locked: {lock.id}", lock)
    receipt = yield from _receipt(lock)
    return (yield from follow(msgspec.structs.replace(receipt, lock_id=lock.id)))


def _receipt(lock: Lock) -> Flow[Receipt]:
    """Return the receipt of a lock that was added, which nothing here may deny."""
    wait = FIRST_PAUSE_SECONDS
    while True:
        try:
            return (yield from RECEIPT_SHOW(receipt=lock.receipt_id))
        except PilotError as error:
            retry = error.exit is ExitCode.UNAVAILABLE and (yield from pause(wait)) > 0
            wait = min(wait * 2, MAX_PAUSE_SECONDS)
            if not retry:
                raise PilotError(
                    "receipt-unavailable",
                    f"{lock.id} was added, and its receipt cannot be had: {error.message}",
                    exit=ExitCode.UNVERIFIED,
                    hint=f"pilotctl receipt show {lock.receipt_id}",
                    request_id=error.request_id,
                    source=error.source,
                ) from error


class ReleaseOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which lock is lifted."""

    lock: LockId
    reason: Why


def plan_release(p: ReleaseOne) -> Flow[Plan]:
    """Look at what the lock holds back, on its present revision."""
    lock = yield from LOCK_SHOW(lock=p.lock)
    try:
        blast = yield from LOCK_BLAST(LockTarget(kind=LockKind(lock.kind), id=lock.target))
        reach = [
            f"{len(blast.partners)} partners: {', '.join(blast.partners) or 'none'}",
            f"{blast.credentials} keys under {len(blast.grants)} grants",
        ]
        partners = len(blast.partners)
    except (PilotError, ValueError):
        reach, partners = ["what it uncovers cannot be counted now"], 0
    what = "everything" if lock.kind == LockKind.EVERYTHING else f"{lock.kind} {lock.target}"
    return Plan(
        title=f"Release the lock on {what}",
        sections=[
            Section(
                "What it does",
                [f"calls matching {what} get through again, where nothing else stops them", *reach],
            ),
            Section("Why it was locked", [f"{lock.reason} ({lock.created_by})"]),
        ],
        revision=lock.revision,
        subject=lock,
        partners=partners,
    )


@operation(
    "lock.release",
    title="Release lock",
    result=Lock,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_release,
    subject="lock",
)
def release(p: ReleaseOne, plan: Plan | None) -> Flow[Lock]:
    """Lift a lock. That opens: what holds for opening access holds for it."""
    plan = plan or (yield from plan_release(p))
    assert plan.revision is not None
    return (
        yield from LOCK_RELEASE(ReleaseLock(reason=p.reason), lock=p.lock, if_match=plan.revision)
    )


OPERATIONS: tuple[Operation, ...] = (list_locks, show, add, release)
