"""The view of what decides: each policy of the bundle in force, and asking it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from console.model.policy import Bundle
from console.operations.spec import Operation
from console.present.amounts import counted
from console.present.table_columns import TableColumn
from console.present.times import age, local_and_utc
from console.tui.views.list_views import Sight, Source, View, ViewKey
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Subject

_POLICY = re.compile(
    r"(?:^//[^\n]*\n)*^(?:@\w+\([^\n]*\)\s*)*(?P<effect>permit|forbid)\b.*?;[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_NAME = re.compile(r'@id\("(?P<name>[^"]*)"\)')


class PolicyText(msgspec.Struct, kw_only=True, frozen=True):
    """One policy of the bundle, as it is written."""

    name: str
    effect: str
    what: str
    """Its annotation or comment in words, or nothing."""
    text: str


def policies_of(bundle: Bundle) -> list[PolicyText]:
    """Return the policies in the order of the bundle; what forbids is what is looked at first."""
    out = []
    for at, found in enumerate(_POLICY.finditer(bundle.policies), 1):
        text = found.group().strip()
        named = _NAME.search(text)
        said = [line.lstrip("/ ").strip() for line in text.splitlines() if line.startswith("//")]
        out.append(
            PolicyText(
                name=named["name"] if named else f"policy {at}",
                effect=found["effect"], what=" ".join(said), text=text,
            )
        )  # fmt: skip
    return out


def _rows(items: Sequence[Any], _: datetime) -> Sequence[Any]:
    return [policy for bundle in items for policy in policies_of(bundle)]


def _below(sight: Sight) -> list[Line]:
    bundle = next(iter(sight.parts[0].known()), None)
    if not isinstance(bundle, Bundle):
        return []
    count = counted(len(policies_of(bundle)), "policy", many="policies")
    said = f" {count} of bundle {bundle.revision}, in force since"
    when = f"{local_and_utc(bundle.activated_at)} ({age(bundle.activated_at, sight.now)})"
    return [[Ink(f"{said} {when}", "dim")]]


def policy_view(op: Operation) -> View:
    """Return the view of the bundle in force."""

    def plain(_: Any) -> str:
        return ""

    return View(
        "policy", "policy", "Policies in force", (Source(op, {}, _rows),),
        (
            TableColumn("effect", lambda row, _: row.effect,
                        lambda row: "bad" if row.effect == "forbid" else "good",
                        lambda row: row.effect, 0, 6, 6),
            TableColumn("name", lambda row, _: row.name, plain, lambda row: row.name, 0, 16, 40),
            TableColumn("what", lambda row, _: row.what, lambda _: "dim",
                        lambda row: row.what, 1, 12, 120),
        ),
        lambda row: Subject("policy-text", row.name, row),
        lambda row: row.name,
        10.0,
        ("No policies: everything is denied.",),
        ("policies", "bundle"),
        below=_below,
        keys=(
            ViewKey("c", "check", "ask whether something is allowed now", act="policy.check"),
            ViewKey("e", "explain", "ask policy, and see the policies that decided",
                    act="policy.explain"),
        ),
    )  # fmt: skip
