"""What stands around each noun: a description of its reading. A new noun adds its own here,
or nothing, and is read member by member.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from console.model.audit import Alert, Event, EventProof
from console.present.amounts import counted
from console.present.times import ago, until
from console.tui.theme.palette import meaning
from console.tui.views.briefs import history_lines, severity_word
from console.tui.views.one_partner import PARTNER
from console.tui.views.story_reader import Beside, Story, Told, told_of
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import ReadLine, wrap

_CALL_COLUMNS = ("age", "model", "outcome", "code", "address", "in", "out", "ms", "id")


def _history(raw: dict[str, str], most: int = 6) -> Beside:
    return Beside(
        "HISTORY", "audit.list", {**raw, "limit": str(most)}, most, lines=history_lines
    )  # fmt: skip


def _alert_head(value: Any, now: datetime) -> list[ReadLine]:
    assert isinstance(value, Alert)
    state = f"op:{value.assignee}" if value.assignee else value.state.replace("_", " ")
    return [
        ReadLine(
            [
                Ink(severity_word(value.severity), meaning(value.severity)),
                Ink(f"  {value.title}", "title"),
                Ink(f"  x{value.count:,}", "title"),
            ]
        ),
        ReadLine(
            [
                Ink(f"{value.partner or 'no partner'}   {state}   ", ""),
                Ink(
                    f"first {ago(value.first_seen_at, now)}, last {ago(value.last_seen_at, now)}",
                    "dim",
                ),
            ]
        ),
        *_quiet_lines(value, now),
        *(
            ReadLine([Ink(f"{one.by}, {ago(one.at, now)}: ", "dim"), Ink(one.text)])
            for one in value.comments[-3:]
        ),
        ReadLine([]),
    ]


def _quiet_lines(alert: Alert, now: datetime) -> list[ReadLine]:
    """Say why nobody is paged about it, where that is so."""
    said = []
    if alert.snoozed_until is not None:
        twice = 2 * alert.snoozed_at_count
        said.append(f"snoozed: wakes {until(alert.snoozed_until, now)}, or at x{twice:,}")
    if alert.silenced_by:
        said.append(f"silenced by {', '.join(alert.silenced_by)}")
    return [ReadLine([Ink(each, "medium")]) for each in said]


def _calls_behind(value: Any) -> list[str]:
    return [one.id for one in value.evidence if one.kind == "call"]


def _is_of_grant(row: Any, subject: Any) -> bool:
    return bool(row.id == getattr(subject.value, "grant_id", ""))


def _proof_lines(items: Sequence[Any], told: Told) -> list[ReadLine]:
    out = []
    for answer in items:
        if not isinstance(answer, EventProof):
            continue
        proof = answer.proof
        said = (
            f"in the log: entry {proof.index:,} of {proof.tree_size:,}, "
            f"by {counted(len(proof.hashes), 'hash', many='hashes')}, checked here against the "
            "pinned key and head"
        )
        out += [ReadLine([Ink(piece, "good")]) for piece in wrap(said, told.room, "  ")]
        out += [ReadLine([Ink(f"  {line}", "dim")]) for line in proof.checkpoint.splitlines()]
    return out


def _body_lines(value: Any, room: int) -> list[ReadLine]:
    """Return the event's own bytes, laid out; what is no JSON is shown as it is."""
    try:
        text = msgspec.json.format(value.body.encode(), indent=2).decode()
    except (msgspec.MsgspecError, UnicodeError):
        text = value.body
    return [
        ReadLine([Ink(piece, "dim")])
        for line in text.splitlines()
        for piece in wrap(line, room, " " * (len(line) - len(line.lstrip()) + 2))
    ]


def _event_lines(told: Told) -> list[ReadLine]:
    event = told.subject.value
    assert isinstance(event, Event)
    word = told.proofs.word(event)
    out = [
        ReadLine(
            [
                Ink(f"#{event.index:,}  ", "dim"), Ink(event.action, "title"),
                Ink(f"  by {event.actor}  "), Ink(event.outcome, meaning(event.outcome)),
                Ink("  "), Ink({"..": "not proven"}.get(word, word), told.proofs.token(event)),
            ]
        ),
        ReadLine([]),
    ]  # fmt: skip
    plain = msgspec.structs.replace(event, body="")
    out += told_of(plain, told.room)
    # a proof of the entry says nothing for an event whose bytes are others than the entry's
    why = told.proofs.failure(event) or told.unread("PROOF")
    if why:
        out += [ReadLine([]), ReadLine([Ink("PROOF", "title")])]
        out += [
            ReadLine([Ink(piece, "bad")]) for piece in wrap(f"not proven: {why}", told.room, "  ")
        ]
    elif told.items("PROOF"):
        out += [ReadLine([]), ReadLine([Ink("PROOF", "title")])]
        out += _proof_lines(told.items("PROOF"), told)
    if event.body:
        source = "as it is in the log" if word == "ok" else "as the API gives it"
        out += [ReadLine([]), ReadLine([Ink(f"EVENT, {source}", "title")])]
        out += _body_lines(event, told.room)
    return out


STORIES: dict[str, Story] = {
    "partner": PARTNER,
    "grant": Story((
        Beside("KEYS", "key.list", {"grant": "{id}"}),
        Beside("CALLS", "call.list", {"grant": "{id}", "limit": "8"}, columns=_CALL_COLUMNS),
        _history({"target": "{id}"}),
    )),
    "credential": Story((
        Beside("GRANT", "grant.list", {"partner": "{partner}"}, keep=_is_of_grant),
        Beside("CALLS", "call.list", {"credential": "{id}", "limit": "8"}, columns=_CALL_COLUMNS),
        _history({"target": "{id}"}),
    )),
    "alert": Story(
        (
            Beside("CALLS BEHIND IT", "call.show", {}, 5, _CALL_COLUMNS, each=_calls_behind),
            Beside("GRANT", "grant.list", {"partner": "{partner}"}, keep=_is_of_grant),
            _history({"target": "{id}"}, 4),
        ),
        head=_alert_head,
        said=frozenset(
            {"title", "severity", "count", "first_seen_at", "last_seen_at", "partner", "state",
             "assignee"}
        ),
    ),
    "lock": Story((_history({"target": "{id}"}),)),
    "receipt": Story((_history({"target": "{target}"}),)),
    "event": Story((Beside("PROOF", "audit.proof", {"event": "{id}"}),), _event_lines, fixed=True),
    "pilot": Story((
        Beside("CAPABILITIES", "capability.list", {"pilot": "{id}"},
               columns=("slug", "tier", "category", "models", "routes", "title")),
        Beside("GRANTS", "grant.list", {"pilot": "{id}"},
               columns=("partner", "stage", "tier", "capabilities", "state", "expires")),
        Beside("TERMS", "terms.list", {"pilot": "{id}"}, 3),
        _history({"target": "{id}"}, 4),
    )),
    "capability": Story((
        Beside("GRANTS", "grant.list", {"capability": "{id}"},
               columns=("partner", "stage", "tier", "state", "expires", "models", "id")),
        Beside("ASSESSMENTS", "assessment.list", {"capability": "{id}"}, 5),
        _history({"target": "{id}"}, 4),
    )),
    "call": Story((
        Beside("GRANT", "grant.list", {"partner": "{partner}"}, keep=_is_of_grant),
        Beside("ALERTS OF THE PARTNER", "alert.list", {"partner": "{partner}", "state": "open"}, 4),
    ), fixed=True),
    "terms": Story((
        Beside("ACCEPTED BY", "terms.acceptances", {"pilot": "{pilot}"}, 12),
        _history({"target": "{id}"}, 4),
    )),
    "assessment": Story((
        Beside("GRANTS OF THE PARTNER", "grant.list", {"partner": "{partner}"}, 6),
        _history({"target": "{id}"}, 4),
    )),
}  # fmt: skip
"""By the noun of the subject."""
