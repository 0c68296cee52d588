"""A receipt as lines. It grows while it is followed: what is not proven says so.

The words *verified* and *logged* stand here for what was proven, and for nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from console.model.enforcement import PointProof, Receipt
from console.present.safe import safe
from console.present.times import duration, local_and_utc, utc


class Standing(NamedTuple):
    """How far a receipt has come. `proven` is verified at every point and in the log."""

    proven: bool
    words: str
    why: str


def standing(receipt: Receipt) -> Standing:
    """Return what `receipt` proves and, where that is not everything, what is missing."""
    verified = receipt.state == "verified"
    logged = receipt.log is not None and receipt.logged_at is not None
    words = f"{safe(receipt.state)}, {'logged' if logged else 'not logged'}"
    reasons = []
    if not verified:
        waiting = [safe(each.point) for each in receipt.points if not _is_proven(each)]
        reasons.append(
            safe(receipt.why)
            or (f"not proven at {', '.join(waiting)}" if waiting else "the gateway still verifies")
        )
    if not logged:
        reasons.append("the event is not proven to be in the log")
    return Standing(verified and logged, words, "; ".join(reasons))


def receipt_lines(receipt: Receipt) -> list[str]:
    """Return `receipt` as escaped lines; times after the first are distances from it."""
    start = receipt.requested_at
    target = f"{safe(receipt.kind)} {safe(receipt.target)}"
    owned = receipt.partner and receipt.kind in {"grant", "credential"}
    owner = f" of {safe(receipt.partner)}" if owned else ""
    # a lock can be released: what it stops has not ended
    ended = "stopped" if receipt.action == "lock.add" else "ended"
    keys = f"{receipt.credentials} key{'' if receipt.credentials == 1 else 's'}"
    # others go on with the keys of a locked user
    keys = f", its calls with {keys}" if receipt.kind == "principal" else f", {keys} {ended}"
    reached = standing(receipt)
    lines = [
        f"{safe(receipt.action)}  {target}{owner}: {reached.words}",
        f"  receipt    {safe(receipt.id)}",
        f"  by         {safe(receipt.by)}: {safe(receipt.reason)}",
        f"  requested  {local_and_utc(start)}",
        (
            f"  recorded   {_after(start, receipt.recorded_at)}"
            f"  gateway change {receipt.sequence}{'' if receipt.kind == 'point' else keys}"
        ),
    ]
    lines += [f"  point      {_point(each, start)}" for each in receipt.points]
    if receipt.enforced_at is not None:
        lines.append(
            f"  enforced   {_after(start, receipt.enforced_at)}"
            f"  at {len(receipt.points)} of {len(receipt.points)} points,"
            f" probed by {safe(receipt.prober)}"
        )
    else:
        proven = sum(map(_is_proven, receipt.points))
        lines.append(f"  enforced   not yet: {proven} of {len(receipt.points)} points proven")
    lines.append(f"  event      {safe(receipt.event_id)}")
    if receipt.log is not None and receipt.logged_at is not None:
        # who looks later proves that it is there, and not when it came
        when = f"{_after(start, receipt.logged_at)}  " if receipt.watched else ""
        lines.append(
            f"  logged     {when}"
            f"leaf {receipt.log.index} of {receipt.log.tree_size}, inclusion checked here"
        )
    else:
        lines.append("  logged     not yet proven")
    if not reached.proven and receipt.state != "verifying":
        lines.append(f"  why        {reached.why}")
    return lines


def _is_proven(proof: PointProof) -> bool:
    return proof.state in {"refused", "lapsed"}


def _point(proof: PointProof, start: datetime) -> str:
    parts = [f"{safe(proof.point)}  {safe(proof.state)}"]
    if proof.method == "lease":
        parts.append("its lease has lapsed: it serves nothing")
    elif proof.method == "probe":
        parts.append(f"{proof.probes} probe{'' if proof.probes == 1 else 's'}")
        parts.append(safe(", ".join(proof.codes)))
    if proof.at is not None:
        parts.append(_after(start, proof.at))
    if proof.streams_cut:
        parts.append(f"{proof.streams_cut} stream{'' if proof.streams_cut == 1 else 's'} cut")
    if proof.why and proof.method != "lease":
        parts.append(safe(proof.why))
    return "  ".join(part for part in parts if part)


def _after(start: datetime, moment: datetime) -> str:
    seconds = (moment - start).total_seconds()
    if abs(seconds) >= 3600:
        return utc(moment, precise=True)
    return f"+{seconds:.3f} s" if seconds >= 0 else f"-{duration(-seconds)}"
