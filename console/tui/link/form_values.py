"""The registry as the screen sees it: what can be done here, with which key, and why not.

Nothing in here knows a widget, and no verb is defined here: keys, commands, forms and
their first values all come from the operations.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from console.errors import PilotError
from console.model.operator import Direction, may
from console.operations.spec import Effect, Field, Operation, fields
from console.operations.values import build, command
from console.present.columns import answer_name
from console.tui.link.api_link import Link
from console.tui.link.subjects import (
    API_OF,
    COMMAND_OF,
    SUBJECT_OF,
    lock_target,
    related,
)
from console.tui.widgets.text_lines import Subject

_OPERATION = re.compile(r"\{([a-z-]+\.[a-z-]+)\}")


class Doable(NamedTuple):
    """An operation on what is under the cursor. `why` says why not; empty where it can be."""

    op: Operation
    subject: Subject | None
    why: str


def why_not(op: Operation, link: Link) -> str:
    """Return why `op` cannot be done now, in words; empty where nothing stands against it.

    What closes is only ever held back by role: never by a read-only profile, by stale data,
    by an API that is down or by a log that does not hold.
    """
    operator = link.operator
    if operator is not None and not may(operator.roles, op.role):
        return f"needs the role {op.role}; you are {', '.join(operator.roles) or 'nobody'}"
    if op.direction is Direction.CLOSES or op.effect is Effect.READ:
        return ""
    if operator is not None and operator.frozen:
        return f"you are frozen: an admin, or the pilot's owner, can thaw {operator.name}"
    if op.direction is not Direction.OPENS:
        return ""
    if link.read_only:
        return f"{link.name} is read-only for what opens; :write lifts it for this session"
    if suspect := link.health["audit"].suspect:
        return f"the log failed verification: {suspect}"
    health = link.health[API_OF.get(op.noun, "policy")]
    if health.heard is None and health.state == "asking":
        return f"{health.api} has not answered yet"
    if health.state == "down":
        return f"{health.api} is down: {health.why}"
    if health.state == "refused":
        return f"{health.api} refused: {health.why}"
    if not health.current:
        return f"what is known of {health.api} is old"
    return ""


class Registry:
    """Every operation, as the screen finds them."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.by_id = {op.id: op for op in operations}

    def rekey(self, keys: Mapping[str, str]) -> None:
        """Give operations other keys than their own; none where it is empty."""
        for name, key in keys.items():
            self.by_id[name] = self.by_id[name]._replace(key=key)

    def keyed(self, text: str, after: str = "") -> str:
        """Return `text` with the key of each `{operation}` in it; its command where it has none.

        `after` stands behind a command: what is pressed to run it.
        """

        def said(found: re.Match[str]) -> str:
            op = self.by_id.get(found[1])
            return op.key if op is not None and op.key else f":{found[1].replace('.', ' ')}{after}"

        return _OPERATION.sub(said, text)

    def named(self, words: Sequence[str]) -> tuple[Operation, list[str]] | None:
        """Return the operation that command words name (`grant revoke`), and the rest."""
        if not words:
            return None
        if words[0] in self.by_id:
            return self.by_id[words[0]], list(words[1:])
        if len(words) > 1 and f"{words[0]}.{words[1]}" in self.by_id:
            return self.by_id[f"{words[0]}.{words[1]}"], list(words[2:])
        return None

    def here(self, subject: Subject | None, noun: str, link: Link) -> list[Doable]:
        """Return what can be done with `subject` in a view of `noun`: its own verbs first."""
        own: list[Doable] = []
        near: list[Doable] = []
        nouns = {op.subject for op in self.by_id.values() if op.subject and subject is not None}
        targets = {each: related(subject, each) for each in nouns if subject is not None}
        for op in self.by_id.values():
            if op.subject:
                target = targets.get(op.subject)
                if target is None:
                    continue
                if subject is not None and subject.noun == op.subject:
                    own.append(Doable(op, target, why_not(op, link)))
                elif op.direction is Direction.CLOSES or op.effect is Effect.READ:
                    # what a row belongs to can be looked at and closed from it, not opened
                    near.append(Doable(op, target, why_not(op, link)))
            elif op.noun == noun and op.verb not in {"list", "show"}:
                own.append(Doable(op, None, why_not(op, link)))
        return own + near

    def for_key(self, key: str, subject: Subject | None, noun: str, link: Link) -> Doable | None:
        """Return what `key` does here: to the thing itself before what it belongs to."""
        lock = self.by_id.get("lock.add")
        if lock is not None and key == lock.key:
            return Doable(lock, subject, why_not(lock, link))
        here = self.here(subject, noun, link)
        if key == "R":
            return next((each for each in here if each.op.verb == "revoke"), None)
        own = [each for each in here if each.op.key == key]
        return own[0] if own else None

    def show_op(self, noun: str) -> Operation | None:
        """Return the operation that shows one subject of `noun`."""
        return self.by_id.get(f"{COMMAND_OF.get(noun, noun)}.show")


def first_values(op: Operation, subject: Subject | None) -> dict[str, str]:
    """Return what a form starts with, from what the cursor is on."""
    values: dict[str, str] = {}
    if subject is None:
        return values
    if op.id == "lock.add":
        kind, target = lock_target(subject)
        return {"kind": kind, "target": target} if kind else {}
    for field in fields(op):
        noun = field.param.completes.split(".")[0]
        if not noun:
            continue
        found = related(subject, SUBJECT_OF.get(noun, noun))
        if found is not None and (field.required or field.param.positional):
            values[field.name] = found.id
    return values


def from_words(op: Operation, words: Sequence[str], options: Mapping[str, str]) -> dict[str, str]:
    """Return the values that a typed command gives: words fill the positional parameters.

    A word or option that the operation does not take is a KeyError of it.
    """
    left = [field for field in fields(op) if field.param.positional]
    by_flag = {field.flag.replace("-", "_"): field.name for field in fields(op)}
    values: dict[str, str] = {}
    for word in words:
        if not left:
            raise KeyError(word)
        field = left[0]
        if field.param.repeats and field.name in values:
            values[field.name] += f",{word}"
        else:
            values[field.name] = word
        if not field.param.repeats:
            left.pop(0)
    for name, value in options.items():
        if name in {field.name for field in fields(op)}:
            values[name] = value
        elif name in by_flag:
            values[by_flag[name]] = value
        else:
            raise KeyError(name)
    return values


def raw_of(op: Operation, values: Mapping[str, str]) -> dict[str, str | list[str] | bool]:
    """Return a form's texts as `build` takes them: flags as yes or no, lists as lists."""
    raw: dict[str, str | list[str] | bool] = {}
    for field in fields(op):
        value = values.get(field.name, "").strip()
        if field.param.kind == "flag":
            if value:
                raw[field.name] = value.lower() in {"yes", "y", "true", "1"}
        elif field.param.repeats and value:
            separator = None if field.param.kind == "stage" else ","
            raw[field.name] = [each.strip() for each in value.split(separator) if each.strip()]
        elif value:
            raw[field.name] = value
    return raw


def params_of(op: Operation, values: Mapping[str, str], now: datetime) -> Any:
    """Return the parameters that a form's texts say. Raises `PilotError`."""
    return build(op, raw_of(op, values), now=now)


def cli_line(op: Operation, params: Any) -> str:
    """Return the command that does the same."""
    return "pilotctl " + shlex.join(command(op, params))


def near_line(op: Operation, values: Mapping[str, str], now: datetime) -> str:
    """Return the command as far as the form is filled in: `..` stands for what is missing."""
    filled = dict(values)
    for field in fields(op):
        if field.required and not filled.get(field.name, "").strip():
            filled[field.name] = ".."
    try:
        return cli_line(op, params_of(op, filled, now))
    except PilotError:
        words = [op.noun, op.verb]
        for field in fields(op):
            value = filled.get(field.name, "").strip()
            if value:
                words += [value] if field.param.positional else [f"--{field.flag}", value]
        return "pilotctl " + shlex.join(words)


def asked(op: Operation, values: Mapping[str, str]) -> list[Field]:
    """Return the parameters that a form must ask for: required, and not known yet."""
    return [field for field in fields(op) if field.required and not values.get(field.name)]


def name_typed(op: Operation, plan_name: str) -> bool:
    """Whether the name must be typed before this is done."""
    return bool(plan_name) or op.effect is Effect.DESTRUCTIVE


def said_of(value: Any) -> str:
    """Return a result in a few words: what it is called, and its state."""
    name = answer_name(value)
    state = getattr(value, "state", "")
    return f"{name} {state}".strip() if isinstance(state, str) else name
