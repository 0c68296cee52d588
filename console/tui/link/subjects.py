"""The nouns of subjects: their commands and APIs, what one belongs to, and what a lock is on."""

from __future__ import annotations

from console.tui.widgets.text_lines import Subject

COMMAND_OF = {"credential": "key", "event": "audit"}
"""A subject to the first word of its commands, where that is another."""

SUBJECT_OF = {command: subject for subject, command in COMMAND_OF.items()}

API_OF = {
    "alert": "audit", "audit": "audit", "silence": "audit", "rule": "audit", "oncall": "audit",
    "key": "gateway", "lock": "gateway", "call": "gateway", "usage": "gateway",
    "receipt": "gateway", "point": "gateway",
}  # fmt: skip
"""The API that owns a noun, where it is not policy."""

_LOCKABLE = ("partner", "grant", "credential", "capability", "pilot", "principal")
_MEMBERS = {
    "partner": ("partner",), "grant": ("grant_id",), "credential": ("credential_id",),
    "lock": ("lock_id",), "receipt": ("receipt_id",), "capability": ("capability",),
    "pilot": ("pilot",), "terms": ("terms_id",), "event": ("event_id",),
    "alert": ("alert_id",), "operator": ("operator",),
}  # fmt: skip


def related(subject: Subject, noun: str) -> Subject | None:
    """Return what of `noun` the subject is, or belongs to: an alert's grant, a call's key."""
    if subject.noun == noun:
        return subject
    for member in _MEMBERS.get(noun, ()):
        found = getattr(subject.value, member, "")
        if isinstance(found, str) and found:
            return Subject(noun, found)
    # an event or a receipt names what it is about by kind and target
    kind = getattr(subject.value, "kind", None)
    target = getattr(subject.value, "target", "")
    if isinstance(kind, str) and kind == noun and target and subject.noun != "lock":
        return Subject(noun, str(target))
    return None


def lock_target(subject: Subject | None) -> tuple[str, str]:
    """Return the kind and id that a lock of `subject` would have; empty for nothing to lock."""
    if subject is None:
        return "", ""
    if subject.noun == "lock":
        return "", ""
    own = (subject.noun,) if subject.noun in _LOCKABLE else ()
    for noun in (*own, *_LOCKABLE):
        found = related(subject, noun)
        if found is not None:
            return noun, found.id
    return "", ""
