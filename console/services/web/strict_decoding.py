"""Strict decoding of a write's body, with messages that a person can act on.

msgspec finds what is wrong; this module says it: which member, what rule, what is
nearest. Values are quoted only as JSON escapes, and never whole.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from console.api.problems import refusal
from console.errors import PilotError
from console.model.text import UNPRINTABLE
from console.parsing.suggest import suggest

_UNKNOWN = re.compile(
    r"^Object contains unknown field `(?P<name>.*)`(?: - at `(?P<at>.*)`)?$", re.DOTALL
)
_INVALID = re.compile(r"^(?P<said>.*?)(?: - at `(?P<at>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+|\.\.\.)\]|(key) in ")
_TOO_MANY_DIGITS = "a number in the body has too many digits"
_NEVER = re.compile(f"[{UNPRINTABLE}]")


@lru_cache(maxsize=256)
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


def strictly(body: bytes, wanted: Any) -> Any:
    """Return `body` decoded as `wanted`, its times in UTC.

    Raises the problems `malformed` (not JSON, or a member twice), `unknown-member`
    (naming it and the nearest that exists) and `invalid` (naming member and rule).
    """
    try:
        value = _decoder(wanted).decode(body)
        _refuse_twice(body)
    except msgspec.ValidationError as error:
        raise _said(str(error), body, wanted) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise refusal("malformed", _where_json_ends(body)) from None
    except ValueError:
        raise refusal("malformed", _TOO_MANY_DIGITS) from None
    except RecursionError:
        raise refusal("malformed", "the body is nested too deeply") from None
    return in_utc(value)


def loosely(body: bytes, wanted: Any) -> Any:
    """Return `body` decoded as `wanted`; for internal paths, whose callers are our own."""
    try:
        return _decoder(wanted).decode(body)
    except msgspec.ValidationError as error:
        raise refusal("invalid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise refusal("malformed", "the body is not JSON") from None


def in_utc(value: Any) -> Any:
    """Return `value` with every aware time in it expressed in UTC."""
    if isinstance(value, datetime):
        try:
            return value.astimezone(UTC) if value.tzinfo else value
        except OverflowError:
            raise refusal("invalid", f"{value.isoformat()} is beyond the years 1 to 9999") from None
    if isinstance(value, msgspec.Struct):
        moved = {}
        for name in value.__struct_fields__:
            was = getattr(value, name)
            if (now := in_utc(was)) is not was:
                moved[name] = now
        return msgspec.structs.replace(value, **moved) if moved else value
    if isinstance(value, list):
        new = [in_utc(each) for each in value]
        return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
    return value


def moment(text: str, name: str) -> datetime | None:
    """Return the time that a query names, in UTC; None where it names none.

    Raises the problem `malformed` for what is no RFC 3339 time.
    """
    if not text:
        return None
    try:
        read = msgspec.convert(text, datetime)
        if read.tzinfo is not None:
            return read.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        pass  # one answer for every way of being no time
    raise refusal("malformed", f"{name}: {text!r} is not a time like 2026-03-03T00:00:00Z")


def nearest(name: str, known: list[str]) -> str:
    """Return the clause that names what `name` was probably meant to be."""
    if close := suggest(name, known):
        return f"; did you mean {close}?"
    return f"; it takes {', '.join(sorted(known))}" if known else ""


def quoted(text: str, most: int = 60) -> str:
    """Return `text` as a JSON string in ASCII, cut after `most` characters."""
    return json.dumps(text if len(text) <= most else text[:most] + "…")


def _refuse_twice(body: bytes) -> None:
    def pairs(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise refusal("malformed", f"the member {quoted(twice)} is there twice")

    json.loads(body, object_pairs_hook=pairs)


def _where_json_ends(body: bytes) -> str:
    if not body.strip():
        return "a JSON body is needed"
    try:
        json.loads(body.decode())
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        return f"the body is not JSON: line {error.lineno}, column {error.colno}"
    except ValueError:
        return _TOO_MANY_DIGITS
    except RecursionError:
        return "the body is nested too deeply"
    return "the body is not JSON"


def _said(message: str, body: bytes, wanted: Any) -> PilotError:
    if found := _UNKNOWN.match(message):
        at = found["at"] or "$"
        inner = _type_at(wanted, at)
        known = (
            [f.encode_name for f in inner.fields] if isinstance(inner, inspect.StructType) else []
        )
        name = found["name"]
        where = _shown(at)
        return refusal(
            "unknown-member",
            f"{where + '.' if where else ''}{_plain(name)}: there is no such member"
            f"{nearest(name, known)}",
        )
    found = _INVALID.match(message)
    assert found is not None
    at = found["at"] or "$"
    rule = _rule(found["said"], _type_at(wanted, at), _value_at(body, at))
    where = _shown(at)
    return refusal("invalid", f"{where}: {rule}" if where else rule)


def _plain(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name) else quoted(name)


def _shown(at: str) -> str:
    return at.removeprefix("$").removeprefix(".").replace("[...]", "[]")


def _rule(said: str, wanted: inspect.Type | None, value: Any) -> str:
    """Say in words what msgspec found wrong with `value`."""
    if "missing required field" in said:
        return f"the member {said.split('`')[1]} is missing"
    if isinstance(wanted, inspect.EnumType) and isinstance(value, str):
        known = [str(each.value) for each in wanted.cls]
        close = suggest(value, known)
        hint = f"; did you mean {close}?" if close else ""
        return f"{quoted(value)} is not one of {', '.join(known)}{hint}"
    if isinstance(value, str) and "matching regex" in said:
        return _pattern_rule(value, wanted)
    if isinstance(value, str) and " of length " in said:
        bound = said.rsplit(" ", 1)[-1]
        if ">=" in said:
            return "must not be empty" if bound == "1" else f"must have at least {bound} characters"
        return f"is {len(value)} characters long; at most {bound} are taken"
    if "matching regex" in said:  # inside a map: msgspec does not say at which key
        return _description(wanted) or "holds a NUL character"
    if isinstance(value, list) and " of length " in said:
        bound = said.rsplit(" ", 1)[-1]
        side = "at least" if ">=" in said else "at most"
        return f"has {len(value)} items; {side} {bound} are taken"
    if "timezone" in said or "RFC3339" in said:
        return "must be a time in RFC 3339 with a zone, like 2027-01-31T12:00:00Z"
    return said[0].lower() + said[1:].replace("`", "")


def _pattern_rule(value: str, wanted: inspect.Type | None) -> str:
    if "\0" in value:
        return f"holds a NUL character (at {value.index(chr(0))})"
    rule = _description(wanted)
    if rule == "one line" and (bad := _NEVER.search(value)):
        return (
            f"holds the character U+{ord(bad[0]):04X} (at {bad.start()}); "
            "control, format and direction characters are not taken in a name"
        )
    return f"{quoted(value)} does not fit" + (f": {rule}" if rule else "")


def _description(wanted: inspect.Type | None) -> str:
    """Return the words that the contract has for this text, as its `Meta` gives them."""
    if isinstance(wanted, inspect.Metadata):
        return str((wanted.extra_json_schema or {}).get("description", ""))
    return ""


def _steps(at: str) -> list[str | int]:
    """Split msgspec's path, like `$.stages[0].key`, into members and places."""
    found = []
    for member, place, _ in _STEP.findall(at):
        found.append(member or (0 if place == "..." else int(place or 0)))
    return found


def _type_at(wanted: Any, at: str) -> inspect.Type | None:
    """Find what the contract declares at a path; None where it cannot be told."""
    here: inspect.Type | None = inspect.type_info(wanted)
    for step in _steps(at):
        here = _bare(here)
        if isinstance(here, inspect.StructType):
            here = next((f.type for f in here.fields if f.encode_name == step), None)
        elif isinstance(here, inspect.ListType):
            here = here.item_type
        elif isinstance(here, inspect.DictType):
            here = here.value_type
        else:
            return None
    if isinstance(here, inspect.Metadata) and not isinstance(here.type, inspect.StrType):
        return _bare(here)
    return _bare(here) if isinstance(here, inspect.UnionType) else here


def _bare(wanted: inspect.Type | None) -> inspect.Type | None:
    """Take off annotations and `| None`."""
    while True:
        if isinstance(wanted, inspect.Metadata):
            wanted = wanted.type
        elif isinstance(wanted, inspect.UnionType):
            wanted = next((t for t in wanted.types if not isinstance(t, inspect.NoneType)), None)
        else:
            return wanted


def _value_at(body: bytes, at: str) -> Any:
    """Find the value at a path of the body; None where the path does not say which."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the fault came before the end of what can be read
    for step in _steps(at):
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
