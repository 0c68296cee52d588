"""From what a person types to an operation's parameters, and back to the command.

Both fronts hand over text and get values, so that `90d` means the same in a flag and in a
form. `parse` is for one parameter, as it is typed; `build` for all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from console.errors import ExitCode, PilotError
from console.model.access import Stage, StageKey
from console.model.limits import Limits
from console.model.number import whole_number
from console.model.text import is_slug, rfc3339
from console.operations import limits_text
from console.operations.spec import Field, Kind, Operation, fields
from console.parsing.suggest import suggest
from console.parsing.text_file import read_text

Typed = str | list[str] | bool
ReadFile = Callable[[str], str]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LENGTH = re.compile(r"(?:\d{1,9}[smhdw]){1,5}", re.ASCII)
_LENGTH_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_SPLIT = {Kind.SLUG, Kind.ID, Kind.CHOICE, Kind.NETWORK, Kind.TEXT}
_YES, _NO = {"true", "yes", "1", "on"}, {"false", "no", "0", "off", ""}


def read_file(path: str) -> str:
    """Return the text of a file, `-` for standard input. Raises `PilotError` (`bad-value`)."""
    try:
        return read_text(path)
    except ValueError as error:
        raise _bad(str(error), "a text file of at most a mebibyte") from error


def parse(field: Field, typed: Typed, *, now: datetime, read: ReadFile = read_file) -> Any:
    """Return the value that `typed` means for `field`.

    Raises `PilotError` (`bad-value`, exit 2) that names the parameter and says what it takes.
    """
    try:
        if field.param.repeats:
            return [_one(field, text, now, read) for text in _each(field, typed)]
        if isinstance(typed, list):
            raise _bad("it is given more than once", "one value")
        if isinstance(typed, bool):
            if field.param.kind is not Kind.FLAG:
                raise _bad("it needs a value", f"--{field.flag} VALUE")
            return typed
        return _one(field, typed, now, read)
    except PilotError as error:
        raise PilotError(
            error.code,
            f"{_named(field)}: {error.message}",
            exit=error.exit,
            hint=error.hint,
            detail={"parameter": field.name},
        ) from error


def _named(field: Field) -> str:
    return field.flag.upper() if field.param.positional else f"--{field.flag}"


def _each(field: Field, typed: Typed) -> Iterable[str]:
    if isinstance(typed, bool):
        raise _bad("it needs a value", f"--{field.flag} VALUE")
    listed = [typed] if isinstance(typed, str) else typed
    if field.param.kind not in _SPLIT:
        return [text for text in listed if text.strip()]
    return [part.strip() for text in listed for part in text.split(",") if part.strip()]


def _one(field: Field, text: str, now: datetime, read: ReadFile) -> Any:
    match field.param.kind:
        case Kind.TEXT | Kind.LONG_TEXT | Kind.FOLDER:
            return text
        case Kind.SLUG:
            return _slug(text)
        case Kind.ID:
            return text.strip()
        case Kind.CHOICE:
            return _choice(text, field.param.choices)
        case Kind.NUMBER:
            return _number(text)
        case Kind.FLAG:
            return _flag(text)
        case Kind.WHEN:
            return moment(text, now, ahead=True)
        case Kind.SINCE:
            return moment(text, now, ahead=False)
        case Kind.DURATION:
            return seconds(text)
        case Kind.NETWORK:
            return _network(text)
        case Kind.FILE:
            return read(text)
        case Kind.STAGE:
            return stage(text)
        case Kind.MONEY:
            return _money(text)
        case Kind.LIMITS:
            return limits_text.read(text)


def _money(text: str) -> int:
    """Return the micro-units of an amount: nothing finer, and nothing below zero."""
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text.strip(), re.ASCII):
        raise _bad(f"{text[:80]!r} is not an amount", "3.50")
    units, _, part = text.strip().partition(".")
    return int(units) * 1_000_000 + int(part.ljust(6, "0") or "0")


def _slug(text: str) -> str:
    text = text.strip()
    if not is_slug(text):
        raise _bad(
            f"{text[:80]!r} is not a short name (a-z, 0-9, '-' and '.', at most 63)", "acme-labs"
        )
    return text


def _choice(text: str, choices: tuple[str, ...]) -> str:
    wanted = text.strip().lower()
    if wanted in choices:
        return wanted
    near = suggest(wanted.replace("-", "_"), choices) or suggest(wanted.replace("_", "-"), choices)
    hint = f"did you mean {near}? " if near else ""
    raise PilotError(
        "bad-value",
        f"{text[:80]!r} is none of its values",
        exit=ExitCode.USAGE,
        hint=f"{hint}It takes {', '.join(choices)}",
    )


def _number(text: str) -> int:
    wanted = text.strip()
    found = whole_number(wanted.removeprefix("-"))
    if found is None:
        raise _bad(f"{text[:80]!r} is not a whole number", "100")
    return -found if wanted.startswith("-") else found


def _flag(text: str) -> bool:
    wanted = text.strip().lower()
    if wanted not in _YES | _NO:
        raise _bad(f"{text[:80]!r} is neither yes nor no", "yes")
    return wanted in _YES


def _network(text: str) -> str:
    """Return the network, written the one way. Host bits that are set are a mistake."""
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as error:
        message = str(error).split(": ")[-1]
        raise _bad(
            f"{text[:80]!r} is not a network ({message})", "203.0.113.0/24 or 2001:db8::/32"
        ) from error


def seconds(text: str) -> int:
    """Return the seconds of a length of time like `90d`, `72h` or `1d12h`."""
    wanted = text.strip().lower()
    if not _LENGTH.fullmatch(wanted):
        raise _bad(f"{text[:80]!r} is not a length of time", "30d, 72h, 1d12h, 30m or 45s")
    total = sum(int(count) * _UNITS[unit] for count, unit in _LENGTH_PART.findall(wanted))
    if total > 100 * 366 * 86400:
        raise _bad(f"{text[:80]!r} is longer than a hundred years", "30d")
    return total


def length(total: int) -> str:
    """Return seconds as `seconds` reads them: `30d`, `1d12h`, `45s`."""
    parts, left = [], total
    for unit in "dhms":
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def moment(text: str, now: datetime, *, ahead: bool) -> datetime:
    """Return the moment that `text` names: `now`, a time, a date (midnight UTC), or a
    distance, ahead of now or back from it. Without a zone it is UTC, on every machine.
    """
    wanted = text.strip()
    if wanted.lower() == "now":
        return now
    if _LENGTH.fullmatch(wanted.lower().removeprefix("+")):
        distance = timedelta(seconds=seconds(wanted.removeprefix("+")))
        return now + distance if ahead else now - distance
    try:
        named = datetime.fromisoformat(wanted.upper())
        return (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        example = "90d" if ahead else "2h"
        raise _bad(
            f"{text[:80]!r} is not a time", f"{example}, 2027-02-01 or 2027-02-01T09:30Z"
        ) from error


def to_the_second(at: datetime) -> str:
    """Return a moment in UTC, as a plan says it: `2027-02-01 09:30:00Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def stage(text: str) -> Stage:
    """Return the stage that `sandbox:most-partners=10,longest=30d` describes."""
    example = "sandbox:most-partners=10,longest=30d"
    key, colon, bounds = text.strip().partition(":")
    given = dict(part.strip().partition("=")[::2] for part in bounds.split(",") if part.strip())
    unknown = sorted(set(given) - {"most-partners", "longest"})
    if unknown:
        near = suggest(unknown[0], ("most-partners", "longest"))
        meant = f"did you mean {near}? " if near else ""
        raise PilotError(
            "bad-value",
            f"a stage has no bound {unknown[0][:80]!r}",
            exit=ExitCode.USAGE,
            hint=f"{meant}For example {example}",
        )
    if not colon or len(given) != 2:
        raise _bad(f"{text[:80]!r} is not a stage with both its bounds", example)
    try:
        return msgspec.convert(
            {
                "key": _choice(key, tuple(StageKey)),
                "most_partners": _number(given["most-partners"]),
                "longest_grant_seconds": seconds(given["longest"]),
            },
            Stage,
        )
    except msgspec.ValidationError as error:
        raise _bad(f"{text[:80]!r} is out of bounds ({_told(error)})", example) from error


def build(
    op: Operation, typed: Mapping[str, Typed], *, now: datetime, read: ReadFile = read_file
) -> Any:
    """Return the operation's parameters from what was typed, by field name.

    Raises `PilotError` with exit 2: `unknown-parameter`, `missing-value` or `bad-value`.
    """
    known = {field.name: field for field in fields(op)}
    for name in typed:
        if name not in known:
            near = suggest(name, known)
            raise PilotError(
                "unknown-parameter",
                f"{op.noun} {op.verb} has no parameter {name[:80]!r}",
                exit=ExitCode.USAGE,
                hint=f"did you mean {near}?" if near else f"it takes {', '.join(known)}",
            )
    missing = [
        _named(field) for field in known.values() if field.required and not _given(typed, field)
    ]
    if missing:
        raise PilotError(
            "missing-value",
            f"{op.noun} {op.verb} needs {', '.join(missing)}",
            exit=ExitCode.USAGE,
            hint=f"pilotctl {op.noun} {op.verb} --help",
            detail={"missing": missing},
        )
    values = {name: parse(known[name], each, now=now, read=read) for name, each in typed.items()}
    try:
        return msgspec.convert(values, op.params)
    except msgspec.ValidationError as error:
        named = re.search(r"`\$\.(\w+)", str(error))
        field = known.get(named.group(1)) if named else None
        raise PilotError(
            "bad-value",
            f"{_named(field) + ': ' if field else ''}{_told(error)}",
            exit=ExitCode.USAGE,
            hint=field.param.help if field else "",
            detail={"parameter": field.name} if field else {},
        ) from error


def _given(typed: Mapping[str, Typed], field: Field) -> bool:
    return typed.get(field.name) not in (None, "", [])


def _told(error: msgspec.ValidationError) -> str:
    """Say what a constraint wanted, without the pattern that a person cannot read."""
    text = str(error).split(" - at ", maxsplit=1)[0]
    if "matching regex" in text:
        return "it holds a character that cannot stand there, or is empty"
    limit = re.search(r"length (<=|>=) (\d+)", text)
    if limit:
        many = "longer" if limit.group(1) == "<=" else "shorter"
        return f"it is {many} than {limit.group(2)}"
    return text[:1].lower() + text[1:]


def command(op: Operation, params: msgspec.Struct) -> list[str]:
    """Return the words of the same operation at a shell, after `pilotctl`.

    Defaults are left out. The text of a file cannot be a flag: its place is named FILE.
    """
    words: list[str] = []
    flags: list[str] = []
    for field in fields(op):
        value = getattr(params, field.name)
        if value is None or (not field.required and value == field.default):
            continue
        written = [write(field, each) for each in (value if field.param.repeats else [value])]
        if field.param.positional:
            words += written
        elif field.param.kind is Kind.FLAG:
            flags.append(f"--{field.flag}" if value else f"--no-{field.flag}")
        else:
            for text in written or [""]:
                # A value that begins with a dash would be taken for another flag.
                dashed = text.startswith("-") and len(text) > 1
                flags += [f"--{field.flag}={text}"] if dashed else [f"--{field.flag}", text]
    return [op.noun, op.verb, *words, *flags]


def write(field: Field, value: Any) -> str:
    """Return one value of `field` as a person types it: what `parse` reads back."""
    match value:
        case datetime():
            return rfc3339(value)
        case Stage():
            longest = length(value.longest_grant_seconds)
            return f"{value.key}:most-partners={value.most_partners},longest={longest}"
        case Limits():
            return limits_text.write(value)
        case int() if field.param.kind is Kind.DURATION:
            return length(value)
        case int() if field.param.kind is Kind.MONEY:
            return limits_text.shown_money(value)
        case str() if field.param.kind is Kind.FILE:
            return field.param.metavar or "FILE"
        case _:
            return str(value)


def _bad(message: str, example: str) -> PilotError:
    return PilotError("bad-value", message, exit=ExitCode.USAGE, hint=f"for example {example}")
