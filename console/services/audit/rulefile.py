"""Reading rule files, strictly: what is not understood is refused, with file and line.

Fields are those of a `CallRecord` (and `ended_before`) or of an `Event`. A condition is a
value, a list of values of which any will do, or a table with one operator: `not`, `starts`,
`at_least`, `at_most`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import NoneType
from typing import Any, get_type_hints

from console.errors import ExitCode, PilotError
from console.model.audit import Event, Severity
from console.model.traffic import CallRecord
from console.services.audit.rule import Condition, Rule, Value

SHIPPED = Path(__file__).parent / "rules"

_NUMBERS = (int, float)


def _fields(struct: type) -> dict[str, type]:
    """Return the plain fields of a struct: texts, numbers and truths."""
    plain: tuple[type, ...] = (str, bool, *_NUMBERS)
    return {name: kind for name, kind in get_type_hints(struct).items() if kind in plain}


FIELDS: dict[str, dict[str, type]] = {
    "calls": {**_fields(CallRecord), "ended_before": bool},
    "events": {name: kind for name, kind in _fields(Event).items() if name != "body"},
}
"""What a rule can look at, by what it reads.

`ended_before`: the end of the call's credential or grant was verified before it began.
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
_OPTIONAL: dict[str, type] = {"containment": bool}
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MOST_IN_WINDOW = 1000
"""The greatest threshold: so many matches are remembered for each fingerprint."""


class _File:
    """One rule file and how to complain about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.read_bytes()
        self.revision = sha256(raw).hexdigest()
        try:
            self.text = raw.decode()
            self.content: dict[str, Any] = tomllib.loads(self.text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise self.wrong("", str(error)) from None

    def line(self, key: str) -> int:
        """Return the line on which `key` is set; 0 where that cannot be told."""
        found = re.compile(rf"""\s*\[?\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
        lines = self.text.splitlines() if key else []
        return next((at for at, line in enumerate(lines, 1) if found.match(line)), 0)

    def wrong(self, key: str, why: str, hint: str = "") -> PilotError:
        line = self.line(key) if key else 0
        where = f"{self.path}:{line}" if line else str(self.path)
        return PilotError("rule-invalid", f"{where}: {why}", exit=ExitCode.USAGE, hint=hint)

    def unknown(self, word: str, what: str, known: Iterable[str], *, key: str = "") -> PilotError:
        """Return the error for a word that is none of `known`, naming the nearest.

        `key` is the key that it stands under; the word is a key itself where there is none.
        """
        near = get_close_matches(word, list(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(known)}"
        return self.wrong(key or word, f"{what} {word!a} is not known; {hint}", hint)


def load_rule(path: Path) -> Rule:
    """Read one rule file. Raises `PilotError` (`rule-invalid`) naming file and line."""
    file = _File(path)
    content = file.content
    for key in content:
        if key not in _KEYS and key not in _OPTIONAL:
            raise file.unknown(key, "the key", {**_KEYS, **_OPTIONAL})
    for key, kind in {**_KEYS, **_OPTIONAL}.items():
        if key not in content and key in _KEYS:
            raise file.wrong("", f"{key} is missing")
        found = content.get(key)
        if found is not None and type(found) is not kind:
            raise file.wrong(key, f"{key} must be a {_word(kind)}, not {found!a}")
    if not _ID.fullmatch(content["id"]) or content["id"] != path.stem:
        raise file.wrong("id", f"id must be the file's name, {path.stem!a}")
    if content["reads"] not in FIELDS:
        raise file.unknown(content["reads"], "what it reads,", FIELDS, key="reads")
    if content["severity"] not in list(Severity):
        raise file.unknown(content["severity"], "the severity", tuple(Severity), key="severity")
    if not 1 <= content["threshold"] <= MOST_IN_WINDOW:
        raise file.wrong("threshold", f"threshold must lie between 1 and {MOST_IN_WINDOW}")
    if not 1 <= content["window_seconds"] <= 86_400:
        raise file.wrong("window_seconds", "window_seconds must lie between 1 and 86400")
    fields = FIELDS[content["reads"]]
    for name in content["group_by"]:
        if name not in fields:
            raise file.unknown(str(name), "the field", fields, key="group_by")
    if not content["match"] or not content["group_by"]:
        raise file.wrong("match", "a rule needs a condition and something to group by")
    return Rule(
        id=content["id"],
        title=content["title"],
        severity=Severity(content["severity"]),
        reads=content["reads"],
        match=tuple(
            _condition(file, fields, name, said) for name, said in content["match"].items()
        ),
        window=timedelta(seconds=content["window_seconds"]),
        threshold=content["threshold"],
        group_by=tuple(content["group_by"]),
        description=content["description"].strip(),
        runbook=content["runbook"].strip(),
        containment=content.get("containment", True),
        revision=file.revision,
    )


def load_rules(folder: Path = SHIPPED) -> tuple[Rule, ...]:
    """Read every rule file of `folder`, by name."""
    return tuple(load_rule(path) for path in sorted(folder.glob("*.toml")))


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
