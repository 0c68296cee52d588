"""Each method of the native engine is its one route: path, query, body and answer fit."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import pytest

from console.api import contract
from console.api.engines import Engines, Paging
from console.api.flow import Call, Many, Reply
from console.api.gateway import CALL_CHECK
from console.engines.native import native
from console.errors import ExitCode, PilotError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENGINES = native(None)  # the log trust is the session's
METHODS = [
    (facet, name)
    for facet in Engines._fields
    if facet != "log_trust"
    for name, _ in inspect.getmembers(getattr(ENGINES, facet), inspect.ismethod)
]
PLAIN = {"str": "text", "int": 7, "bool": True, "datetime | None": AT, "int | None": 7}
ASKED_BY_OTHERS = {"authzen.evaluations", "authzen.configuration", "audit.tail", "call.tail"}
"""Routes for other AuthZEN clients, and streams: no operation of ours needs them."""

AT_EACH = {
    f"{api}.operator.{verb}"
    for api in ("policy", "audit")
    for verb in ("cut", "freeze", "sessions")
}
"""Asked of every service side by side: the gateway's is the one that is looked at."""

JOINED = {("log", "files"), ("operators", "cut"), ("operators", "freeze")}
"""What several answers come to is not what one of them is."""


def argument(annotation: str) -> Any:
    if annotation == "Paging":
        return Paging("cursor-1", 50)
    if annotation == "Mapping[str, str]":
        return dict.fromkeys(CALL_CHECK.query, "text")
    if annotation == "Sequence[str]":
        return ["checkpoint"]
    return PLAIN.get(annotation, annotation)


def asked(facet: str, name: str) -> tuple[Call, dict[str, Any]]:
    """Call the method with every argument given; return the call that it makes."""
    method = getattr(getattr(ENGINES, facet), name)
    given = {
        each.name: argument(str(each.annotation))
        for each in inspect.signature(method).parameters.values()
    }
    step = method(**given).send(None)
    return (step.calls[0] if isinstance(step, Many) else step), given


@pytest.mark.parametrize(("facet", "name"), METHODS, ids=".".join)
def test_a_question_is_what_its_route_declares(facet, name):
    call, given = asked(facet, name)
    route = call.route
    hints = get_type_hints(getattr(getattr(ENGINES, facet), name))
    assert set(call.path) == set(re.findall(r"{(\w+)}", route.path))
    assert set(call.query) <= set(route.query)
    if call.query:
        assert set(call.query) == set(route.query), "every filter of the route can be asked for"
    bodies = [hints[each] for each, value in given.items() if value is call.body and call.body]
    assert bodies == ([route.body] if route.body else [])
    assert (call.if_match is not None) == route.if_match
    (answer,) = get_args(hints["return"])[-1:]
    if (facet, name) not in JOINED:
        assert answer == route.answer


def test_every_route_for_operators_is_asked_by_one_method():
    routes = [asked(*method)[0].route.id for method in METHODS]
    assert len(routes) == len(set(routes))
    declared = {
        route.id
        for route in contract.ROUTES
        if not route.id.startswith("authzen.search") and route.id not in ASKED_BY_OTHERS
    }
    assert declared - AT_EACH == set(routes)


def test_an_empty_filter_is_not_sent_and_a_time_is_utc():
    call = ENGINES.calls.find(Paging(), since=AT).send(None)
    assert call.query == {"limit": "100", "since": "2026-03-01T12:00:00Z"}


def test_of_files_side_by_side_one_that_is_not_there_is_none_and_a_fault_is_raised():
    flow = ENGINES.log.files(["a", "b"])
    assert [call.path["file"] for call in flow.send(None).calls] == ["a", "b"]
    missing = PilotError("not-found", "none", exit=ExitCode.NOT_FOUND)
    with pytest.raises(StopIteration) as stop:
        flow.send([Reply(200, b"x"), missing])
    assert stop.value.value == [b"x", None]
    again = ENGINES.log.files(["a"])
    again.send(None)
    with pytest.raises(PilotError, match="down"):
        again.send([PilotError("unreachable", "down", exit=ExitCode.UNAVAILABLE)])
