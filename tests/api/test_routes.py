"""A route that is called asks what it declares, and every call in the program fits its route."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import console
from console.api import audit, authzen, contract, gateway, operators, policy
from console.api.audit import log_files
from console.api.route import Reply, Route
from console.errors import ExitCode, PilotError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OF_EVERY_CALL = {"if_match", "validate"}
NAMED = {
    name: value
    for module in (audit, authzen, gateway, operators, policy)
    for name, value in vars(module).items()
    if isinstance(value, Route)
}
"""Each route by the name that it is called by."""

ASKED_BY_OTHERS = {
    "authzen.evaluations", "authzen.configuration", "audit.tail", "call.tail", "tombstone.list",
}  # fmt: skip
"""Routes for other AuthZEN clients and for scripts, and streams: no operation needs them."""

AT_EACH = {
    f"{api}.operator.{verb}"
    for api in ("policy", "gateway", "audit")
    for verb in ("cut", "freeze", "sessions")
}
"""Asked of every service side by side, from tables of them."""


def called() -> Iterator[tuple[str, ast.Call]]:
    """Return every call of a route, or of its `call`, in the program, and where it is."""
    root = Path(console.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(root)}:{node.lineno}", node


def route_of(node: ast.Call) -> Route[Any] | None:
    """Return the route that is called, or whose pages are asked for."""
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr == "call":
        function = function.value
    if isinstance(function, ast.Name) and function.id == "pages" and node.args:
        function = node.args[0]
    return NAMED.get(function.id) if isinstance(function, ast.Name) else None


@pytest.mark.parametrize("route", contract.ROUTES, ids=lambda route: route.id)
def test_a_route_takes_the_names_of_its_path_and_query_and_no_other(route):
    named = set(re.findall(r"{(\w+)}", route.path))
    call = route.call(None, if_match=3, validate=True, **dict.fromkeys({*named, *route.query}, "x"))
    assert (set(call.path), set(call.query)) == (named, set(route.query))
    assert (call.route, call.body, call.if_match, call.validate_only) == (route, None, 3, True)
    with pytest.raises(TypeError, match="takes no colour"):
        route.call(**dict.fromkeys(named, "x"), colour="red")
    for missing in named:
        with pytest.raises(TypeError, match=f"needs {missing}"):
            route.call(**dict.fromkeys(named - {missing}, "x"))


def test_every_call_in_the_program_fits_its_route():
    wrong, seen = [], set()
    for place, node in called():
        route = route_of(node)
        if route is None:
            continue
        seen.add(route.id)
        given = {each.arg for each in node.keywords if each.arg}
        named = set(re.findall(r"{(\w+)}", route.path))
        paged = isinstance(node.func, ast.Name) and node.func.id == "pages"
        body = len(node.args) - paged * 2
        if paged and not {"cursor", "limit"} <= set(route.query):
            wrong.append(f"{place}: {route.id} has no pages")
        if extra := given - {*named, *route.query, *OF_EVERY_CALL}:
            wrong.append(f"{place}: {route.id} takes no {extra}")
        if missing := named - given:
            wrong.append(f"{place}: {route.id} needs {missing}")
        if body != (route.body is not None):
            wrong.append(f"{place}: {route.id} takes {route.body or 'no body'}")
        if route.if_match and not {"if_match", "validate"} & given:
            wrong.append(f"{place}: {route.id} names no revision")
    assert not wrong, "\n".join(wrong)
    status = {f"{api}.status" for api in ("policy", "gateway", "audit")}
    searches = {each.id for each in contract.ROUTES if ".search" in each.id}
    declared = {route.id for route in contract.ROUTES}
    assert declared - status - searches - ASKED_BY_OTHERS - AT_EACH == seen


def test_a_flow_of_one_call_returns_what_was_answered():
    flow = gateway.LOCK_SHOW(lock="lck_1")
    assert next(flow) == gateway.LOCK_SHOW.call(lock="lck_1")
    with pytest.raises(StopIteration) as stop:
        flow.send(Reply(200, "a lock"))
    assert stop.value.value == "a lock"


def test_an_empty_filter_is_not_sent_zero_is_and_a_time_is_utc():
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    call = gateway.CALL_LIST.call(limit=100, partner="", model=None, since=there)
    assert call.query == {"limit": "100", "since": "2026-03-01T12:00:00Z"}
    assert audit.EVENT_LIST.call(after=0).query == {"after": "0"}


def test_of_files_side_by_side_one_that_is_not_there_is_none_and_a_fault_is_raised():
    flow = log_files(["a", "b"])
    assert [call.path["file"] for call in flow.send(None).calls] == ["a", "b"]
    missing = PilotError("not-found", "none", exit=ExitCode.NOT_FOUND)
    with pytest.raises(StopIteration) as stop:
        flow.send([Reply(200, b"x"), missing])
    assert stop.value.value == [b"x", None]
    again = log_files(["a"])
    again.send(None)
    with pytest.raises(PilotError, match="down"):
        again.send([PilotError("unreachable", "down", exit=ExitCode.UNAVAILABLE)])
