"""A pilot as a TOML file that a person reads and edits, and back, with the line of each slip."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from console.errors import ExitCode, PilotError
from console.model.access import CapabilityText, PilotText, Stage
from console.model.limits import UNLIMITED
from console.model.number import whole_number
from console.operations import limits_text
from console.operations.values import length, seconds
from console.parsing.suggest import suggest
from console.parsing.toml_file import line_of, toml_table

_PILOT = ("slug", "title", "models", "grace", "credit", "content", "content_days",
          "stages", "capabilities")  # fmt: skip
_STAGE = ("most_partners", "longest", "criteria", "limits", "principal_limits")
_CAPABILITY = ("title", "category", "tier", "models", "routes", "longest")

_HEAD = "# A pilot, as `pilotctl pilot export` wrote it. `pilotctl pilot import FILE` reads it.\n"


def write(pilot: PilotText) -> str:
    """Return a pilot as TOML. Nothing secret is in a pilot."""
    plain = as_plain(pilot)
    stages, capabilities = plain.pop("stages"), plain.pop("capabilities")
    lines = [_HEAD, *_lines(plain)]
    for key, stage in stages.items():
        lines += ["", f"[stages.{_key(key)}]", *_lines(stage)]
    for slug, capability in capabilities.items():
        lines += ["", f"[capabilities.{_key(slug)}]", *_lines(capability)]
    return "\n".join(lines) + "\n"


def as_plain(pilot: PilotText) -> dict[str, Any]:
    """Return a pilot as the file's tables: lengths and limits as a person writes them."""
    plain: dict[str, Any] = {
        "slug": pilot.slug,
        "title": pilot.title,
        "models": pilot.models,
        "grace": length(pilot.grace_seconds),
    }
    if pilot.credit_micros is not None:
        plain["credit"] = limits_text.shown_money(pilot.credit_micros)
    plain["content"] = str(pilot.content)
    if pilot.content_days:
        plain["content_days"] = pilot.content_days
    plain["stages"] = {str(each.key): _stage(each) for each in pilot.stages}
    plain["capabilities"] = {
        slug: _capability(each) for slug, each in sorted(pilot.capabilities.items())
    }
    return plain


def _stage(stage: Stage) -> dict[str, Any]:
    out: dict[str, Any] = {
        "most_partners": stage.most_partners,
        "longest": length(stage.longest_grant_seconds),
    }
    if stage.criteria:
        out["criteria"] = stage.criteria
    if stage.limits != UNLIMITED:
        out["limits"] = limits_text.write(stage.limits)
    if stage.principal_limits != UNLIMITED:
        out["principal_limits"] = limits_text.write(stage.principal_limits)
    return out


def _capability(capability: CapabilityText) -> dict[str, Any]:
    return {
        "title": capability.title,
        "category": str(capability.category),
        "tier": capability.tier,
        "models": capability.models,
        "routes": [str(each) for each in capability.routes],
        "longest": length(capability.longest_grant_seconds),
    }


def read(text: str) -> PilotText:
    """Return the pilot that a file describes. Raises exit 2 with the line of what is wrong."""
    try:
        plain = toml_table(text)
    except tomllib.TOMLDecodeError as error:
        raise PilotError("bad-file", f"it is no TOML: {error}", exit=ExitCode.USAGE) from error
    _known(text, plain, (), _PILOT)
    stages = _tables(text, plain, "stages", _STAGE)
    capabilities = _tables(text, plain, "capabilities", _CAPABILITY)
    members: dict[str, Any] = {
        name: plain[name]
        for name in ("slug", "title", "models", "content", "content_days")
        if name in plain
    }
    if "grace" in plain:
        members["grace_seconds"] = _parsed(text, ("grace",), plain["grace"], seconds)
    if "credit" in plain:
        members["credit_micros"] = _parsed(text, ("credit",), plain["credit"], limits_text.money)
    members["stages"] = [
        {"key": key, **_bounds(text, ("stages", key), each)} for key, each in stages.items()
    ]
    members["capabilities"] = {
        slug: _bounds(text, ("capabilities", slug), each) for slug, each in capabilities.items()
    }
    try:
        return msgspec.convert(members, PilotText)
    except msgspec.ValidationError as error:
        raise _wrong(text, _place(str(error), members), str(error).split(" - at ")[0]) from error


def changes(old: PilotText | None, new: PilotText) -> list[str]:
    """Return what a file changes, a line each: `stages.limited.longest: 30d -> 60d`."""
    before = dict(_flat(as_plain(old), "")) if old else {}
    after = dict(_flat(as_plain(new), ""))
    if old is not None:
        after = {**{n: v for n, v in before.items() if n.startswith("capabilities.")}, **after}
    out = []
    for name in [*before, *(each for each in after if each not in before)]:
        was, now = before.get(name), after.get(name)
        if was != now:
            out.append(f"{name}: {_said(was)} -> {_said(now)}" if old else f"{name}: {_said(now)}")
    return out


def _said(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _flat(table: Mapping[str, Any], under: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{under}{name}.")
        else:
            yield f"{under}{name}", value


def _tables(
    text: str, plain: Mapping[str, Any], name: str, known: Sequence[str]
) -> dict[str, dict[str, Any]]:
    found = plain.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise _wrong(text, (name,), f"{name} are tables, like [{name}.NAME]")
    for key, table in found.items():
        _known(text, table, (name, key), known)
    return found


def _known(
    text: str, table: Mapping[str, Any], under: tuple[str, ...], known: Sequence[str]
) -> None:
    for name in table:
        if name not in known:
            near = suggest(name, known)
            hint = f"did you mean {near}?" if near else f"it takes {', '.join(known)}"
            raise _wrong(text, (*under, name), f"there is no key {name!r}", hint)


def _bounds(text: str, under: tuple[str, ...], table: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(table)
    if "longest" in out:
        said = out.pop("longest")
        out["longest_grant_seconds"] = _parsed(text, (*under, "longest"), said, seconds)
    for name in ("limits", "principal_limits"):
        if name in out:
            out[name] = msgspec.to_builtins(
                _parsed(text, (*under, name), out[name], limits_text.read)
            )
    return out


def _parsed(text: str, place: tuple[str, ...], value: Any, how: Any) -> Any:
    try:
        return how(str(value))
    except PilotError as error:
        raise _wrong(text, place, error.message, error.hint) from error


def _place(error: str, members: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the place in the file of a msgspec error: `$.stages[0].most_partners`."""
    found = re.search(r"`\$\.?([^`]*)`", error)
    parts = re.findall(r"[^.\[\]]+", found.group(1)) if found else []
    place = whole_number(parts[1]) if len(parts) > 1 and parts[0] == "stages" else None
    if place is not None:
        parts[1] = str(members["stages"][place]["key"])
    names = {"longest_grant_seconds": "longest", "grace_seconds": "grace"}
    return tuple(names.get(part, part) for part in parts)


def _wrong(text: str, place: tuple[str, ...], message: str, hint: str = "") -> PilotError:
    line = line_of(text, place)
    where = f"line {line}: " if line else ""
    named = f"{'.'.join(place)}: " if place else ""
    return PilotError("bad-file", f"{where}{named}{message}", exit=ExitCode.USAGE, hint=hint)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, int) else _string(str(value))


def _string(text: str) -> str:
    """Return a basic string (TOML 1.0), in which only what is printable stands for itself."""
    out = []
    for char in text:
        if char in {'"', "\\"}:
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)
