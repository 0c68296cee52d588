"""What follows every closing verb: the points, then the log, until both are proven.

The gateway follows its points; this follows the gateway's receipt, and then proves
itself that the event is in the log. A receipt that comes out of here is `verified` only
if each point's proof is there, and has a `log` only if that was checked. What could not be
had is said in `why`; it never undoes the closing and never raises.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

import msgspec

from console.api.audit import PROOF
from console.api.flow import Flow, Report, Wait, check_head
from console.api.gateway import LOCK_BLAST, RECEIPT_SHOW
from console.errors import ExitCode, PilotError
from console.model.enforcement import Blast, LockKind, LockTarget, LogProof, PointProof, Receipt
from console.operations.spec import Section

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.5
"""Seconds between two looks, doubling from the first."""

LOG_SECONDS = 10.0
"""Seconds that a verified closing waits for its event to be provably in the log."""

DEADLINE = "deadline"
"""The code with which a driver says that the time is over."""


def pause(seconds: float) -> Flow[float]:
    """Wait, and return how many seconds are left: none once the deadline has passed."""
    try:
        left = yield Wait(seconds)
    except PilotError as error:
        if error.code != DEADLINE:
            raise
        return 0.0
    return float(left)


def follow(receipt: Receipt) -> Flow[Receipt]:
    """Follow a receipt to its end, or to the deadline, reporting each step."""
    receipt = believed(receipt)
    yield Report(progress(receipt), receipt)
    if (yield from pause(0)) <= 0:
        return receipt
    receipt, left = yield from _follow_points(receipt)
    if left <= 0:
        return receipt
    receipt = yield from _follow_log(receipt)
    yield Report(progress(receipt), receipt)
    return receipt


def believed(receipt: Receipt) -> Receipt:
    """Return the receipt as far as it bears itself out.

    A log proof is only ever put in by `proven`, and `verified` needs every point's proof.
    """
    receipt = msgspec.structs.replace(receipt, log=None, logged_at=None, watched=False)
    if receipt.state != "verified":
        return receipt
    missing = [point.point for point in receipt.points if not _is_proof(point, receipt)]
    if not missing and receipt.enforced_at is not None:
        return receipt
    why = f"called verified, but without proof of {', '.join(missing) or 'when'}"
    return msgspec.structs.replace(receipt, state="unverified", why=why)


def _is_proof(point: PointProof, receipt: Receipt) -> bool:
    if point.at is None:
        return False
    if point.state == "refused":
        probed = bool(point.probes and point.codes) or not receipt.credentials
        return point.method == "probe" and probed and point.sequence >= receipt.sequence
    return point.state == "lapsed" and point.method == "lease"


def _follow_points(receipt: Receipt) -> Flow[tuple[Receipt, float]]:
    """Look at the receipt until the gateway is done with its points."""
    wait, left = FIRST_PAUSE_SECONDS, float("inf")
    while receipt.state == "verifying":
        left = yield from pause(wait)
        if left <= 0:
            why = receipt.why or f"not verified in time: {progress(receipt)}"
            return msgspec.structs.replace(receipt, why=why), 0.0
        wait = min(wait * 2, MAX_PAUSE_SECONDS)
        try:
            shown = yield from RECEIPT_SHOW(receipt=receipt.id)
        except PilotError as error:
            receipt = msgspec.structs.replace(receipt, why=f"cannot be followed: {error.message}")
            if error.exit is not ExitCode.UNAVAILABLE:
                return receipt, left
            continue
        if _identity(shown) != _identity(receipt):
            why = "the gateway answered with another receipt"
            return msgspec.structs.replace(receipt, state="unverified", why=why), left
        changed = shown.points != receipt.points or shown.state != receipt.state
        receipt = msgspec.structs.replace(believed(shown), lock_id=receipt.lock_id)
        if changed:
            yield Report(progress(receipt), receipt)
    return receipt, left


def _identity(receipt: Receipt) -> tuple[object, ...]:
    return receipt.id, receipt.action, receipt.target, receipt.sequence, receipt.event_id


def _follow_log(receipt: Receipt) -> Flow[Receipt]:
    """Look for the event in the log until it is proven there, or patience ends."""
    wait, waited, why = FIRST_PAUSE_SECONDS, 0.0, ""
    while True:
        try:
            found = yield from proven(receipt)
            return msgspec.structs.replace(found, watched=True)
        except PilotError as error:
            why = f"not proven to be in the log: {error.message}"
            if error.exit not in {ExitCode.NOT_FOUND, ExitCode.UNAVAILABLE}:
                break
        if waited >= LOG_SECONDS or (yield from pause(wait)) <= 0:
            break
        waited += wait
        wait = min(wait * 2, MAX_PAUSE_SECONDS)
    return msgspec.structs.replace(receipt, why="; ".join(filter(None, (receipt.why, why))))


def proven(receipt: Receipt) -> Flow[Receipt]:
    """Return the receipt with its event's place in the log, which has been checked.

    Raises `PilotError`: exit 11 where the log's answer does not hold, else what the API said.
    """
    answer = yield from PROOF(event=receipt.event_id)
    if answer.event_id != receipt.event_id:
        raise _failed("the log answered about another event")
    head = yield from check_head(answer.proof.checkpoint)
    event = check_proof(answer.proof, size=head.size, root=head.root)
    metadata = event.get("metadata")
    said = metadata if isinstance(metadata, dict) else {}
    if (said.get("uid"), said.get("event_code")) != (receipt.event_id, receipt.action):
        raise _failed("the proven entry is another event")
    return msgspec.structs.replace(receipt, log=answer.proof, logged_at=head.at)


def check_proof(proof: LogProof, *, size: int, root: bytes) -> dict[str, Any]:
    """Check that the proof's leaf is in the tree (size, root), and return the event.

    Raises `PilotError` with exit 11.
    """
    # Only a proof needs the tree: a list starts without it.
    from console.trust.merkle import leaf_hash, verify_inclusion  # noqa: PLC0415

    try:
        leaf = b64decode(proof.leaf, validate=True)
        hashes = [b64decode(each, validate=True) for each in proof.hashes]
    except (binascii.Error, ValueError):
        raise _failed("the proof is not base64") from None
    if proof.tree_size != size:
        raise _failed(f"the proof is for {proof.tree_size} entries, its checkpoint for {size}")
    verify_inclusion(leaf_hash(leaf), proof.index, size, hashes, root)
    try:
        return msgspec.json.decode(leaf, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise _failed("the proven entry is not an event") from None


def _failed(why: str) -> PilotError:
    return PilotError("log-proof-failed", why, exit=ExitCode.LOG_FAILED)


def progress(receipt: Receipt) -> str:
    """Say in one line how far a receipt is."""
    proven_points = [each for each in receipt.points if each.state in {"refused", "lapsed"}]
    closed = f"{len(proven_points)} of {len(receipt.points)} points"
    if receipt.logged_at is not None:
        return f"{receipt.state} at {closed}, and logged"
    waiting = ", ".join(
        f"{each.point} {each.state}" for each in receipt.points if each not in proven_points
    )
    return f"{receipt.state}: {closed}" + (f" (waiting for {waiting})" if waiting else "")


def ends(blast: Blast, only: str = "") -> Section:
    """Return what a closing verb ends, as the gateway counts it now.

    `only`: for which of their calls, where the keys and streams are stopped in part.
    """
    refused, cut = ", refused from the next call on", ", cut"
    if only:
        refused, cut = f"{refused} {only}", ", cut where they fall under it"
    return Section(
        "What ends",
        [
            _counted(len(blast.partners), "partner", blast.partners),
            _counted(len(blast.grants), "grant", blast.grants),
            f"{_number(blast.credentials, 'key')}{refused if blast.credentials else ''}",
            f"{_number(blast.streams, 'stream')} in flight{cut if blast.streams else ''}",
        ],
    )


def stays(blast: Blast) -> Section:
    """Return what the same partners keep."""
    return Section("What stays", blast.stays or ["nothing else of theirs"])


def _counted(count: int, noun: str, names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) + (f" and {count - most} more" if count > most else "")
    return f"{_number(count, noun)}{': ' if shown else ''}{shown}"


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def reach(target: LockTarget) -> Flow[Blast]:
    """Ask what the gateway holds under a target. One that has nothing there is no error."""
    try:
        return (yield from LOCK_BLAST(target))
    except PilotError as error:
        if error.exit is not ExitCode.NOT_FOUND:
            raise
        return Blast(partners=[target.id] if target.kind is LockKind.PARTNER else [])
