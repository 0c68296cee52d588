"""A validator of OCSF 1.8.0 events against the compiled schema in the public vectors.

It checks what the schema says: known attributes only, required ones, types and their
patterns, enumerations, arrays, constraints, objects recursively, and that
`type_uid = class_uid * 100 + activity_id`. `faults(event)` returns what is wrong.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from tests.vectors import vectors

FILE = "ocsf/ocsf-1.8.0-console-classes.json"

_PYTHON: dict[str, tuple[type, ...]] = {
    "string_t": (str,),
    "integer_t": (int,),
    "long_t": (int,),
    "float_t": (int, float),
    "boolean_t": (bool,),
}


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """Read the schema; skip the test where the vectors are missing."""
    read: dict[str, Any] = json.loads(vectors(FILE).read_text())
    return read


def faults(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with `event`, as `path: why`; nothing where it is valid."""
    classes = {each["uid"]: each for each in schema()["classes"].values()}
    which = classes.get(event.get("class_uid"))
    if which is None:
        return [f"class_uid: {event.get('class_uid')} is no class"]
    profiles = event.get("metadata", {}).get("profiles", [])
    found = _members(event, which, "", profiles)
    if event.get("type_uid") != which["uid"] * 100 + event.get("activity_id", -1):
        found.append("type_uid: is not class_uid * 100 + activity_id")
    found += _captions(event, which["attributes"])
    if event.get("activity_id") == 99 and not event.get("activity_name"):
        found.append("activity_name: is needed where activity_id is Other")
    return found


def _captions(event: dict[str, Any], attributes: dict[str, Any]) -> list[str]:
    """Return each `x` that is not the caption of its `x_id`, unless that is Other."""
    return [
        f"{name}: {event[name]!r} is not the caption of {name}_id {event[f'{name}_id']}"
        for name in event
        if f"{name}_id" in event
        and event[f"{name}_id"] != 99
        and event[name] != attributes[f"{name}_id"].get("enum", {}).get(str(event[f"{name}_id"]))
    ]


def _members(value: Any, shape: dict[str, Any], at: str, profiles: list[str]) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: is no object"]
    found: list[str] = []
    attributes = shape["attributes"]
    for name, each in value.items():
        if name not in attributes:
            found.append(f"{at}{name}: is not in the schema")
        elif (profile := attributes[name].get("profile")) and profile not in profiles:
            found.append(f"{at}{name}: is of the profile {profile}, which is not named")
        else:
            found += _attribute(each, attributes[name], f"{at}{name}", profiles)
    for name, rule in attributes.items():
        applies = "profile" not in rule or rule["profile"] in profiles
        if rule.get("requirement") == "required" and applies and name not in value:
            found.append(f"{at}{name}: is required")
    for rule, names in (shape.get("constraints") or {}).items():
        there = sum(name in value for name in names)
        if (rule == "at_least_one" and there < 1) or (rule == "just_one" and there != 1):
            found.append(f"{at}: {rule} of {', '.join(names)}")
    return found


def _attribute(value: Any, rule: dict[str, Any], at: str, profiles: list[str]) -> list[str]:
    if rule.get("array"):
        if not isinstance(value, list):
            return [f"{at}: is no array"]
        return [f for n, each in enumerate(value) for f in _one(each, rule, f"{at}[{n}]", profiles)]
    return _one(value, rule, at, profiles)


def _one(value: Any, rule: dict[str, Any], at: str, profiles: list[str]) -> list[str]:
    kind = rule["type"]
    if kind == "object":
        return [] if isinstance(value, dict) else [f"{at}: is no object"]
    if kind in schema()["objects"]:
        return _members(value, schema()["objects"][kind], at + ".", profiles)
    found: list[str] = []
    if "enum" in rule and str(value) not in rule["enum"]:
        found.append(f"{at}: {value!r} is not in the enumeration")
    while kind:
        fact = schema()["types"].get(kind)
        if fact is None:
            return [*found, f"{at}: the type {kind} is not in the vectors"]
        if kind in _PYTHON and (
            not isinstance(value, _PYTHON[kind])
            or (isinstance(value, bool) and kind != "boolean_t")
        ):
            found.append(f"{at}: {value!r} is no {kind}")
        if "regex" in fact and isinstance(value, str) and not re.match(fact["regex"], value):
            found.append(f"{at}: {value!r} does not match {kind}")
        if "max_len" in fact and isinstance(value, str) and len(value) > fact["max_len"]:
            found.append(f"{at}: is longer than {fact['max_len']}")
        kind = fact.get("type", "")
    return found
