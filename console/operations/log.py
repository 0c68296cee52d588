"""The transparency log itself: its head, its key, and what takes its place."""

from __future__ import annotations

import msgspec

from console.api.audit import HANDOVERS, HEAD, RESTART, ROTATE
from console.api.flow import Flow, check_head, check_succession
from console.errors import ExitCode, PilotError
from console.model.audit import LogHead
from console.model.log import LogHandover, LogSuccession, RestartLog, RotateLogKey
from console.model.operator import Role
from console.model.stored import Page
from console.operations.closing import FIRST_PAUSE_SECONDS, LOG_SECONDS, MAX_PAUSE_SECONDS, pause
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Operation, Plan, Section, operation


class OfLog(msgspec.Struct, kw_only=True, frozen=True):
    """The profile's log."""


@operation("log.show", title="Show log head", result=LogHead)
def show(p: OfLog, _plan: Plan | None) -> Flow[LogHead]:  # noqa: ARG001 - an operation's shape
    """Show the log's newest signed head, held to the pinned one."""
    head = yield from HEAD()
    yield from check_head(head.checkpoint)
    return head


class ListHandovers(Listing, kw_only=True, frozen=True):
    """Every passing on of the log."""


@operation("log.list", title="List log handovers", result=Page[LogHandover])
def list_handovers(_p: ListHandovers, _plan: Plan | None) -> Flow[Page[LogHandover]]:
    """List the rotations of the log's key, and the logs that ended, oldest first."""
    return HANDOVERS()


class Because(msgspec.Struct, kw_only=True, frozen=True):
    """Why the log is passed on."""

    reason: Why


def _rotation(p: Because) -> Flow[Plan]:  # noqa: ARG001 - a plan's shape
    head = yield from HEAD()
    return Plan(
        title=f"Have another key sign {head.origin}",
        sections=[
            Section(
                "What happens",
                [
                    "the present key signs an event that names the new one",
                    "from then on the new key signs; the old one is removed from keys/",
                ],
            ),
            Section(
                "What stays",
                [
                    f"the log, with its {head.tree_size} entries",
                    "consoles that pinned the old key check the announcement and follow",
                    "a profile that names log_key follows too; verifiers elsewhere want log.vkey",
                ],
            ),
        ],
        irreversible="the old key signs nothing more",
    )


@operation(
    "log.rotate-key", title="Rotate log key", result=LogHandover, effect=Effect.CHANGE,
    role=Role.ADMIN, plan=_rotation,
)  # fmt: skip
def rotate_key(p: Because, _plan: Plan | None) -> Flow[LogHandover]:
    """Have another key sign the log, announced under the present one.

    For a key that is only old. One that somebody else may hold could announce a key of
    theirs: then begin a new log with `log restart`.
    """
    made = yield from ROTATE(RotateLogKey(reason=p.reason))
    return (yield from _served(made))


def _restart(p: Because) -> Flow[Plan]:  # noqa: ARG001 - a plan's shape
    head = yield from HEAD()
    return Plan(
        title=f"End {head.origin}, and begin a new log",
        sections=[
            Section(
                "What happens",
                [
                    "a new log begins, with a new name and a new key",
                    f"its first entry names the head of {head.origin} at {head.tree_size} entries",
                    f"the {head.tree_size} entries follow as they are",
                ],
            ),
            Section(
                "What everybody sees",
                [
                    "each console that pinned the old log stops what opens, and says so (exit 11)",
                    "until its operator has checked it and run: pilotctl log repin",
                ],
            ),
        ],
        name=head.origin,
        irreversible="the old log never grows again",
    )


@operation(
    "log.restart", title="Begin a new log", result=LogHandover, effect=Effect.DESTRUCTIVE,
    role=Role.ADMIN, plan=_restart,
)  # fmt: skip
def restart(p: Because, _plan: Plan | None) -> Flow[LogHandover]:
    """End the log and begin a new one that names its head: for a key that is compromised.

    Nobody follows by themselves, as whoever has the key could do the same.
    """
    made = yield from RESTART(RestartLog(reason=p.reason))
    return (yield from _served(made))


def _served(made: LogHandover) -> Flow[LogHandover]:
    """Return `made` once the log's head is no longer the old key's: what is read next is new.

    Raises `PilotError` (`log-not-served`, exit 9) when patience or the time is over.
    """
    wait, waited = FIRST_PAUSE_SECONDS, 0.0
    while True:
        try:
            if (yield from HEAD()).key != made.old_key:
                return made
        except PilotError as error:
            if error.exit is not ExitCode.UNAVAILABLE:
                raise
        if waited >= LOG_SECONDS or (yield from pause(wait)) <= 0:
            break
        waited += wait
        wait = min(wait * 2, MAX_PAUSE_SECONDS)
    raise PilotError(
        "log-not-served",
        f"event {made.event_id} hands the log to the key {made.new_key}, and no head that it "
        "signed is served yet",
        exit=ExitCode.UNVERIFIED,
        hint="look at it with: pilotctl log show",
    )


@operation("log.succession", title="Check new log", result=LogSuccession)
def succession(p: OfLog, _plan: Plan | None) -> Flow[LogSuccession]:  # noqa: ARG001 - an operation's shape
    """Check the log that took the place of the one that this console pinned.

    The whole of it is read: that its first entry names the pinned log, and whether it carries
    every entry that this console held to be true. Entries that were changed are exit 11.
    """
    return (yield from check_succession())


def takeover(found: LogSuccession) -> Plan:
    """Return the plan of holding this console to the log that was found."""
    lines = [
        f"{found.pinned_origin} ended; this console holds {found.pinned_size} of its entries",
        f"{found.origin} names its head at {found.named_size}, and carries {found.carried}",
    ]
    if found.same:
        lines.append("checked: every entry that this console saw is there, unchanged")
    else:
        lines.append(f"MISSING: {found.missing} entries that this console saw are lost")
    return Plan(
        title=f"Hold {found.origin} to be the log of this pilot",
        sections=[
            Section("What was found", lines),
            Section("Who says so", [f"{found.by}: {found.reason}", f"key {found.key}"]),
            Section("What stays", ["the pin of the old log, as evidence"]),
        ],
        name=found.origin,
        subject=found,
    )


OPERATIONS: tuple[Operation, ...] = (show, list_handovers, rotate_key, restart, succession)
