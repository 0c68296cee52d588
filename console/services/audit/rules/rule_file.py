"""Reading rule files, strictly: what is not understood is refused, with file and line.

Fields are those of a `CallRecord` (and `ended_before`) or of an `Event`. A condition is a
value, a list of values of which any will do, or a table with one operator: `not`, `starts`,
`at_least`, `at_most`. A norm's `threshold` is the least that can be far from it, of its
`measure` in one window (of spend an amount, like "5.00"); `factor` how many times the median
is too far.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import NoneType
from typing import Any, get_type_hints

from console.errors import ExitCode, PilotError
from console.model.audit import Event, Severity
from console.model.rule import SPEND, Tuning
from console.model.traffic import CallRecord
from console.parsing.suggest import suggest
from console.parsing.toml_file import line_of_key, toml_table
from console.services.audit.rules.counting import MAX_IN_WINDOW
from console.services.audit.rules.rule import Condition, Rule, Value
from console.services.audit.rules.weekly_hours import Schedule, schedule

SHIPPED = Path(__file__).parent / "shipped"

_NUMBERS = (int, float)


def _fields(struct: type) -> dict[str, type]:
    """Return the plain fields of a struct: texts, numbers and truths."""
    plain: tuple[type, ...] = (str, bool, *_NUMBERS)
    return {name: kind for name, kind in get_type_hints(struct).items() if kind in plain}


FIELDS: dict[str, dict[str, type]] = {
    "calls": {**_fields(CallRecord), "ended_before": bool, "network": str},
    "events": {
        **{name: kind for name, kind in _fields(Event).items() if name != "body"},
        "tier": int,
        "state": str,
        "approval": str,
        "code": str,
        "by": str,
        "weakened": bool,
        "days": int,
    },
}
"""What a rule can look at, by what it reads.

`ended_before`: a closing over the call (a tombstone, lock, suspension or deregistered point)
was verified at every point before it began, and was still in force.
`network`: the /24 (IPv4) or /48 (IPv6) that the caller's address lies in.
`tier`, `state`, `approval`: of the object that the event left behind, 0 or empty where it
has none. `code` and `days`: of a warning, what lapses and within how many days. `weakened`: the
event made what is watched for weaker.
"""

_OPERATORS = ("not", "starts", "at_least", "at_most")
_KEYS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "title": str,
    "severity": str,
    "reads": str,
    "window_seconds": int,
    "threshold": int,
    "group_by": list,
    "description": str,
    "runbook": str,
    "match": dict,
}
_OPTIONAL: dict[str, type] = {
    "containment": bool,
    "required": bool,
    "kind": str,
    "field": str,
    "measure": str,
    "factor": float,
    "history": int,
    "most_per_minute": int,
    "among": dict,
    "backing": dict,
    "hours": dict,
}
_OF_KIND: dict[str, frozenset[str]] = {
    "count": frozenset(),
    "distinct": frozenset({"field"}),
    "norm": frozenset({"measure", "factor", "history"}),
    "ratio": frozenset({"factor", "history", "most_per_minute", "among"}),
    "hours": frozenset({"history", "hours"}),
    "unbacked": frozenset({"field", "backing"}),
}
"""The optional keys that mean something to a kind: others are refused."""
MEASURES = ("calls", "tokens", SPEND)
MAX_WINDOW_SECONDS = 604_800
MAX_TITLE_CHARACTERS = 120
NORM_WINDOWS = (600, 86_400)
"""Seconds between which the window of a norm lies."""
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class _File:
    """One rule file and how to complain about it."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self.path = path
        self.revision = sha256(raw).hexdigest()
        try:
            self.text = raw.decode()
            self.content: dict[str, Any] = toml_table(self.text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise self.wrong("", str(error)) from None

    def wrong(self, key: str, why: str, hint: str = "") -> PilotError:
        line = line_of_key(self.text, key) if key else 0
        where = f"{self.path}:{line}" if line else str(self.path)
        return PilotError("rule-invalid", f"{where}: {why}", exit=ExitCode.USAGE, hint=hint)

    def unknown(self, word: str, what: str, known: Iterable[str], *, key: str = "") -> PilotError:
        """Return the error for a word that is none of `known`, naming the nearest.

        `key` is the key that it stands under; the word is a key itself where there is none.
        """
        near = suggest(word, known)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(known)}"
        return self.wrong(key or word, f"{what} {word!a} is not known; {hint}", hint)


def load_rule(path: Path) -> Rule:
    """Read one rule file. Raises `PilotError` (`rule-invalid`) naming file and line."""
    try:
        return read_rule(path, path.read_bytes())
    except OSError as error:
        raise PilotError(
            "rule-invalid", f"{path}: it cannot be read: {error.strerror}", exit=ExitCode.USAGE
        ) from error


def read_rule(path: Path, raw: bytes) -> Rule:
    """Read what a rule file says, as `load_rule` does; `path` is only named."""
    file = _File(path, raw)
    content = file.content
    for key in content:
        if key not in _KEYS and key not in _OPTIONAL:
            raise file.unknown(key, "the key", {**_KEYS, **_OPTIONAL})
    if content.get("measure") == SPEND and "threshold" in content:
        content["threshold"] = _micros(file, content["threshold"])
    for key, kind in {**_KEYS, **_OPTIONAL}.items():
        if key not in content and key in _KEYS:
            raise file.wrong("", f"{key} is missing")
        found = content.get(key)
        if kind is float and type(found) is int:
            continue
        if found is not None and type(found) is not kind:
            raise file.wrong(key, f"{key} must be a {_word(kind)}, not {found!a}")
    if not _ID.fullmatch(content["id"]) or content["id"] != path.stem:
        raise file.wrong("id", f"id must be the file's name, {path.stem!a}")
    if not content["title"].isprintable() or not 1 <= len(content["title"]) <= MAX_TITLE_CHARACTERS:
        raise file.wrong(
            "title", f"title must be one line of at most {MAX_TITLE_CHARACTERS} characters"
        )
    if content["reads"] not in FIELDS:
        raise file.unknown(content["reads"], "what it reads,", FIELDS, key="reads")
    if content["severity"] not in list(Severity):
        raise file.unknown(content["severity"], "the severity", tuple(Severity), key="severity")
    _check_kind(file, content.get("kind", "count"))
    _check_numbers(file)
    fields = FIELDS[content["reads"]]
    for name in content["group_by"]:
        if not isinstance(name, str) or name not in fields:
            raise file.unknown(str(name), "the field", fields, key="group_by")
    if not content["match"] or not content["group_by"]:
        raise file.wrong("match", "a rule needs a condition and something to group by")
    return Rule(
        id=content["id"],
        title=content["title"],
        severity=Severity(content["severity"]),
        reads=content["reads"],
        match=_conditions(file, fields, "match"),
        window=timedelta(seconds=content["window_seconds"]),
        threshold=content["threshold"],
        group_by=tuple(content["group_by"]),
        description=content["description"].strip(),
        runbook=content["runbook"].strip(),
        containment=content.get("containment", True),
        revision=file.revision,
        kind=content.get("kind", "count"),
        field=content.get("field", ""),
        measure=content.get("measure", "calls"),
        factor=float(content.get("factor", 0)),
        history=content.get("history", 0),
        most_per_minute=content.get("most_per_minute", 0),
        among=_conditions(file, fields, "among"),
        backing=_conditions(file, fields, "backing"),
        hours=_hours(file),
        required=content.get("required", False),
    )


def name_in(text: str) -> str:
    """Return the `id` that a rule's text gives itself. Raises `PilotError` (`rule-invalid`)."""
    file = _File(Path("the rule"), text.encode())
    name = file.content.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise file.wrong("id", "id must be lower-case letters, digits and '-', at most 63")
    return name


def load_rules(folder: Path = SHIPPED) -> tuple[Rule, ...]:
    """Read every rule file of `folder`, by name."""
    return tuple(load_rule(path) for path in sorted(folder.glob("*.toml")))


def tuned(rule: Rule, tuning: Tuning) -> Rule:
    """Return the rule with what an operator set in the place of its file's values.

    Raises `PilotError` (`rule-invalid`) for what the rule's kind cannot be.
    """
    changed = rule
    if tuning.threshold is not None:
        if rule.kind in {"count", "distinct"} and tuning.threshold > MAX_IN_WINDOW:
            raise _untunable(rule, f"its threshold is at most {MAX_IN_WINDOW}")
        changed = changed._replace(threshold=tuning.threshold)
    if tuning.window_seconds is not None:
        if rule.kind == "hours":
            raise _untunable(rule, "its window is the hour")
        least, longest = NORM_WINDOWS if rule.kind in {"norm", "ratio"} else (1, MAX_WINDOW_SECONDS)
        if not least <= tuning.window_seconds <= longest:
            raise _untunable(rule, f"its window lies between {least} and {longest} seconds")
        changed = changed._replace(window=timedelta(seconds=tuning.window_seconds))
    if tuning.factor is not None:
        if not rule.factor:
            raise _untunable(rule, "it has no factor: nothing is compared with a norm")
        changed = changed._replace(factor=tuning.factor)
    if tuning.severity is not None:
        changed = changed._replace(severity=Severity(tuning.severity))
    return changed


def _untunable(rule: Rule, why: str) -> PilotError:
    return PilotError("rule-invalid", f"{rule.id}: {why}", exit=ExitCode.USAGE)


def _check_kind(file: _File, kind: str) -> None:
    content = file.content
    if kind not in _OF_KIND:
        raise file.unknown(kind, "the kind", _OF_KIND, key="kind")
    for key in frozenset().union(*_OF_KIND.values()) & set(content):
        if key not in _OF_KIND[kind]:
            raise file.wrong(key, f"{key} means nothing to a rule of the kind {kind}")
    needed = _OF_KIND[kind] - {"most_per_minute", "hours", "measure"}
    for key in sorted(needed - set(content)):
        raise file.wrong("kind", f"a rule of the kind {kind} needs {key}")
    fields = FIELDS[content["reads"]]
    if "field" in content and content["field"] not in fields:
        raise file.unknown(content["field"], "the field", fields, key="field")
    if content.get("measure", "calls") not in MEASURES:
        raise file.unknown(content["measure"], "the measure", MEASURES, key="measure")
    if kind in {"norm", "ratio", "hours"} and content["reads"] != "calls":
        raise file.wrong("reads", f"a rule of the kind {kind} reads calls")
    if kind == "unbacked" and content["reads"] != "events":
        raise file.wrong("reads", "a rule of the kind unbacked reads events")


def _micros(file: _File, said: Any) -> int:
    """Return an amount of money in micro-units."""
    if not isinstance(said, str) or not _AMOUNT.fullmatch(said):
        raise file.wrong("threshold", f'threshold of spend is an amount, like "5.00", not {said!a}')
    return int(Decimal(said) * 1_000_000)


def _check_numbers(file: _File) -> None:
    content = file.content
    counts = content.get("kind", "count") in {"count", "distinct", "unbacked"}
    most = MAX_IN_WINDOW if counts else 10**15
    if not 1 <= content["threshold"] <= most:
        raise file.wrong("threshold", f"threshold must lie between 1 and {most}")
    if not 1 <= content["window_seconds"] <= MAX_WINDOW_SECONDS:
        raise file.wrong(
            "window_seconds", f"window_seconds lies between 1 and {MAX_WINDOW_SECONDS}"
        )
    least, longest = NORM_WINDOWS
    is_norm = content.get("kind") in {"norm", "ratio"}
    if is_norm and not least <= content["window_seconds"] <= longest:
        why = f"window_seconds of a norm lies between {least} and {longest}"
        raise file.wrong("window_seconds", why)
    if content.get("kind") == "hours" and content["window_seconds"] != 3600:
        raise file.wrong("window_seconds", "window_seconds of a rule about hours is 3600")
    if not 1 < content.get("factor", 2) <= 1000:
        raise file.wrong("factor", "factor must lie above 1, up to 1000")
    for key in ("history", "most_per_minute"):
        if not 1 <= content.get(key, 1) <= 1000:
            raise file.wrong(key, f"{key} must lie between 1 and 1000")


def _hours(file: _File) -> dict[str, Schedule]:
    found = {}
    for name, said in file.content.get("hours", {}).items():
        if not isinstance(said, str):
            raise file.wrong(name, f"the hours of {name} must be text")
        try:
            found[name] = schedule(said)
        except ValueError as error:
            raise file.wrong(name, f"the hours of {name}: {error}") from error
    return found


def _conditions(file: _File, fields: Mapping[str, type], table: str) -> tuple[Condition, ...]:
    said = file.content.get(table, {})
    return tuple(_condition(file, fields, name, value) for name, value in said.items())


def _condition(file: _File, fields: Mapping[str, type], name: str, said: Any) -> Condition:
    if name not in fields:
        raise file.unknown(name, "the field", fields)
    kind, operator = fields[name], "any"
    if isinstance(said, dict):
        if len(said) != 1:
            raise file.wrong(name, f"{name} takes one operator")
        operator, said = next(iter(said.items()))
        if operator not in _OPERATORS:
            raise file.unknown(operator, f"the operator of {name},", _OPERATORS, key=name)
    values: tuple[Value, ...] = tuple(said) if isinstance(said, list) else (said,)
    takes = {"starts": (str,), "at_least": _NUMBERS, "at_most": _NUMBERS}.get(operator, (kind,))
    if kind not in takes:
        raise file.wrong(name, f"{operator} does not apply to {name}, which is a {_word(kind)}")
    for each in values:
        if type(each) is not kind and not (kind is float and type(each) is int):
            raise file.wrong(name, f"{name} is a {_word(kind)}, not {each!a}")
    if not values:
        raise file.wrong(name, f"{name} lists nothing, and so would never match")
    return Condition(name, operator, values)


def _word(kind: type | tuple[type, ...]) -> str:
    words = {str: "text", bool: "truth", int: "whole number", float: "number", NoneType: "nothing"}
    words |= {list: "list", dict: "table"}
    return words.get(kind, "value") if isinstance(kind, type) else "value"
