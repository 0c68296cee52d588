"""Audit: what happened, and the proof of it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.audit import EVENT_LIST, EVENT_SHOW, PROOF
from console.api.flow import Flow, check_head
from console.errors import ExitCode, PilotError
from console.model.audit import Event, EventProof, LogCheck
from console.model.number import whole_number
from console.model.stored import Page
from console.operations.closing import check_proof
from console.operations.listing import pages
from console.operations.params import Listing, PartnerFilter, Since, Until
from console.operations.spec import Kind, Operation, Param, Plan, operation

EventId = Annotated[
    str,
    Param("Its id, or its index.", kind=Kind.ID, completes="audit.list", positional=True),
]


class ListEvents(Listing, kw_only=True, frozen=True):
    """Which events are listed."""

    actor: Annotated[str, Param("Only by this operator or service.")] = ""
    action: Annotated[str, Param("Only this action, like grant.revoke.")] = ""
    target: Annotated[str, Param("Only about this id or slug.")] = ""
    partner: PartnerFilter = ""
    outcome: Annotated[str, Param("Only with this outcome.")] = ""
    source: Annotated[
        str,
        Param("Only from this API.", kind=Kind.CHOICE, choices=("policy", "gateway", "audit")),
    ] = ""
    text: Annotated[str, Param("Only with this text in it.")] = ""
    since: Since = None
    until: Until = None
    after: Annotated[
        int | None,
        Param("Oldest first, from after this index of the log.", kind=Kind.NUMBER),
    ] = None


@operation("audit.list", title="List events", result=Page[Event])
def list_events(p: ListEvents, _plan: Plan | None) -> Flow[Page[Event]]:
    """List what happened, newest first."""
    return pages(
        EVENT_LIST,
        p,
        actor=p.actor,
        action=p.action,
        target=p.target,
        partner=p.partner,
        outcome=p.outcome,
        source=p.source,
        text=p.text,
        since=p.since,
        until=p.until,
        after=p.after,
    )


class ShowEvent(msgspec.Struct, kw_only=True, frozen=True):
    """Which event is shown."""

    event: EventId


@operation("audit.show", title="Show event", result=Event, subject="event")
def show(p: ShowEvent, _plan: Plan | None) -> Flow[Event]:
    """Show an event with its body, the very bytes that are in the log."""
    return EVENT_SHOW(event=p.event)


@operation("audit.proof", title="Prove event", result=EventProof, subject="event")
def proof(p: ShowEvent, _plan: Plan | None) -> Flow[EventProof]:
    """Prove that an event is in the log: checked here, against the pinned key and head.

    A proof that does not hold is exit 11.
    """
    answer = yield from PROOF(event=p.event)
    head = yield from check_head(answer.proof.checkpoint)
    event = check_proof(answer.proof, size=head.size, root=head.root)
    metadata = event.get("metadata")
    proven = metadata.get("uid") if isinstance(metadata, dict) else None
    index = whole_number(p.event)
    if index is not None:
        named = answer.proof.index == index and answer.event_id == proven
    else:
        named = answer.event_id == p.event == proven
    if not named:
        raise PilotError(
            "log-proof-failed",
            f"the proven entry is not the event {p.event}",
            exit=ExitCode.LOG_FAILED,
        )
    return answer


class VerifyLog(msgspec.Struct, kw_only=True, frozen=True):
    """Which log is verified: our own without any, or a C2SP tile log in a folder."""

    log: Annotated[
        str | None,
        Param("A folder that holds a C2SP tile log.", kind=Kind.FOLDER, metavar="DIR"),
    ] = None
    vkey: Annotated[
        str | None,
        Param("The verifier key that must have signed it; the pinned one without it."),
    ] = None
    origin: Annotated[
        str | None,
        Param("The origin of a log in a folder, where it is not the name of its key."),
    ] = None
    known: Annotated[
        str | None,
        Param("A file with a checkpoint of it seen before.", kind=Kind.FILE, metavar="FILE"),
    ] = None


@operation("audit.verify", title="Verify log", result=LogCheck)
def verify(p: VerifyLog, _plan: Plan | None) -> Flow[LogCheck]:
    """Verify a whole log: signature, root from the entries, tiles, growth.

    Our own by default: read over the API, held to the pinned key and head. With --log and
    --vkey, any C2SP tile log in a folder, and --origin where its checkpoints begin with
    another name than its key's. What exactly is wrong is listed, and is exit 11.
    """
    # Only this verb needs signatures and whole trees: `audit list` starts without them.
    from console.operations import wholelog  # noqa: PLC0415

    if p.origin is not None and (p.log is None or p.vkey is None):
        raise PilotError(
            "missing-value",
            "--origin is for another's log in a folder, with its key",
            exit=ExitCode.USAGE,
            hint="give the folder with --log DIR and its key with --vkey KEY",
        )
    if p.log is None:
        if p.vkey is not None:
            raise PilotError(
                "missing-value",
                "--vkey is for a log in a folder: our own is held to its pinned key",
                exit=ExitCode.USAGE,
                hint="give the folder with --log DIR",
            )
        return (yield from wholelog.over_api(p.known))
    if p.vkey is not None:
        return wholelog.in_folder(p.log, p.vkey, p.known, origin=p.origin)
    return (yield from wholelog.in_folder_of_ours(p.log, p.known))


OPERATIONS: tuple[Operation, ...] = (list_events, show, proof, verify)
