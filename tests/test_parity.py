"""The registry, walked: what is defined once is whole, and says the same everywhere."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

from console.api import contract
from console.api.flow import Many, Report, Wait
from console.api.route import Call, Route
from console.errors import PilotError
from console.model.limits import Limits
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.operations.index import NOUNS, all_operations, find, load
from console.operations.spec import Effect, Kind, Operation, fields, operation
from console.present.columns import columns_of
from tests.operations.replay import AT, SANDBOX

ROOT = Path(__file__).parents[1]
OPERATIONS = all_operations()
ROUTES = {route.id: route for route in contract.ROUTES}
MADE_BY_OPERATORS = {
    name for name, route in ROUTES.items() if route.writes and route.role is not Role.VIEWER
}
WHOLE = {
    "Answer", "Bundle", "Checked", "EventProof", "Explained", "Explanation", "GrantPlan",
    "IssuedKey",
    "IssuedToken", "OperatorCut", "CallContent", "LogCheck", "PilotFile", "LogHandover",
    "LogHead", "LogSuccession", "UsagePicture",
}  # fmt: skip
"""Results that are shown member by member."""

OF_EVERY_COMMAND = {
    "confirm", "debug", "dry-run", "exit-status", "fields", "help", "idempotency-key",
    "ids-from", "no-wait", "output", "profile", "secret-file", "timeout", "wait", "yes",
}  # fmt: skip
"""Flags that the command line gives to operations: no parameter may be called so."""

PILOT = """
slug = "a"
title = "A"
models = ["m"]
[stages.limited]
most_partners = 1
longest = "30d"
"""
"""The one file that is read on this side of the wire; any other is sent as it is."""

each_operation = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.id)


def sample(kind: Kind, choices: tuple[str, ...]) -> Any:
    match kind:
        case Kind.CHOICE:
            return choices[0]
        case Kind.WHEN | Kind.SINCE:
            return AT
        case Kind.STAGE:
            return SANDBOX
        case Kind.FILE:
            return PILOT
        case Kind.LIMITS:
            return Limits(parallel=1)
        case Kind.NUMBER | Kind.DURATION | Kind.MONEY:
            return 1
        case Kind.FLAG:
            return True
        case Kind.NETWORK:
            return "203.0.113.0/24"
        case _:
            return "type:a"


def sample_of(op: Operation) -> Any:
    given = {}
    for field in fields(op):
        if field.required:
            value = sample(field.param.kind, field.param.choices)
            given[field.name] = [value] if field.param.repeats else value
    return op.params(**given)


class Blank:
    """An answer that has every member, so that a flow goes as far as it can."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Blank()

    def __iter__(self) -> Any:
        return iter(())

    def __str__(self) -> str:
        return ""


def routes_of(flow: Any) -> list[Call]:
    """Return the calls that a flow makes before it needs a real answer."""
    calls: list[Call] = []
    answer: Any = None
    try:
        while len(calls) < 5:
            step = flow.send(answer)
            match step:
                case Call():
                    calls.append(step)
                    answer = type("Answered", (), {"value": Blank()})()
                case Many():
                    calls += step.calls
                    return calls
                case Wait():
                    answer = 0.0
                case Report():
                    answer = None
    except (StopIteration, PilotError, TypeError, AttributeError, ValueError):
        pass
    finally:
        flow.close()
    return calls


def written_by(op: Operation) -> list[Route]:
    """Return the routes through which an operation changes things, run on a planned revision."""
    plan = None
    if op.plan is not None:
        plan = type("P", (), {"revision": 3, "subject": None})()
    calls = routes_of(op.run(sample_of(op), plan))
    return [call.route for call in calls if call.route.id in MADE_BY_OPERATORS]


def test_the_index_is_the_modules():
    folder = ROOT / "console/operations"
    holding = {
        path.stem
        for path in folder.glob("*.py")
        if any(
            isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "OPERATIONS"
            for node in ast.parse(path.read_text()).body
        )
    }
    assert holding == {noun.replace("-", "_") for noun in NOUNS}
    for noun, (module, summary) in NOUNS.items():
        assert module == f"console.operations.{noun.replace('-', '_')}"
        assert summary
        assert (import_module(module).__doc__ or "").strip()
        assert load(noun)
        for op in load(noun):
            assert op.noun == noun
            assert find(op.id) is op


def test_every_operation_that_a_module_makes_is_in_its_list():
    for noun in NOUNS:
        module = import_module(NOUNS[noun][0])
        made = [each for each in vars(module).values() if isinstance(each, Operation)]
        own = [each for each in made if each.noun == noun]
        assert {each.id for each in own} == {each.id for each in load(noun)}


def test_ids_titles_and_keys_are_each_of_one_operation():
    ids = [op.id for op in OPERATIONS]
    assert len(ids) == len(set(ids))
    titles = [op.title for op in OPERATIONS]
    assert len(titles) == len(set(titles))
    keyed = [op for op in OPERATIONS if op.key]
    assert len(keyed) <= 25
    anywhere = {op.key for op in keyed if not op.subject}
    assert len(anywhere) == sum(not op.subject for op in keyed)
    places = [(op.key, op.subject) for op in keyed if op.subject]
    assert len(places) == len(set(places))
    assert not anywhere & {key for key, _ in places}


@each_operation
def test_it_is_documented(op):
    assert op.title[0].isupper()
    assert op.summary.endswith(".")
    assert len(op.summary) <= 100
    for field in fields(op):
        assert field.param.help.endswith("."), field.name
        assert len(field.param.help) <= 100, field.name
    assert op.params.__doc__


@each_operation
def test_its_parameters_can_be_typed_and_completed(op):
    listed = fields(op)
    flags = [field.flag for field in listed]
    assert len(flags) == len(set(flags))
    assert not OF_EVERY_COMMAND & set(flags)
    for field in listed:
        param = field.param
        assert (param.kind is Kind.CHOICE) == bool(param.choices), field.name
        if param.completes:
            assert get_origin(find(param.completes).result) is Page
        if param.repeats:
            assert "list" in str(field.type), field.name
    positional = [field.param.positional for field in listed]
    required = [field.required for field in listed if field.param.positional]
    assert required == sorted(required, reverse=True), "what may be left out comes last"
    assert positional.count(True) <= 3
    if op.subject:
        assert listed[0].name == op.subject
        assert listed[0].param.positional
        assert listed[0].required


@each_operation
def test_a_change_has_a_plan_and_a_reading_has_none(op):
    assert (op.plan is not None) == (op.effect is not Effect.READ)
    if op.effect is Effect.READ:
        assert op.direction is Direction.NEUTRAL
        assert op.role in {Role.VIEWER, Role.AUDITOR}
        assert not op.converges


@each_operation
def test_planning_changes_nothing(op):
    if op.plan is None:
        return
    calls = routes_of(op.plan(sample_of(op)))
    assert calls
    for call in calls:
        assert call.validate_only or call.route.id not in MADE_BY_OPERATORS


@each_operation
def test_it_asks_for_the_role_and_goes_the_way_of_its_route(op):
    written = written_by(op)
    # an operator is cut off, and frozen, by each service itself
    writes = (
        3 if op.id in {"operator.cut", "operator.freeze"} else int(op.effect is not Effect.READ)
    )
    assert len(written) == writes, "one verb is one write"
    for route in written:
        assert (op.role, op.direction) == (route.role, route.direction)
        body = route.body
        assert body is not None
        asked = {field.name: field.required for field in fields(op) if field.name == "reason"}
        wanted = {f.name: f.required for f in msgspec.structs.fields(body) if f.name == "reason"}
        assert asked == wanted


def test_every_write_of_the_contract_is_made_by_one_operation():
    made = [route.id for op in OPERATIONS for route in written_by(op)]
    # one permanent mark, for whichever kind of thing is ended
    assert sorted(set(made)) == sorted(MADE_BY_OPERATORS)
    twice = {name for name in made if made.count(name) > 1}
    assert twice == {"tombstone.create"}
    kinds = {
        call.body.kind
        for op in OPERATIONS
        for call in routes_of(op.run(sample_of(op), None))
        if call.route.id == "tombstone.create"
    }
    assert kinds == {"grant", "credential"}


@each_operation
def test_its_result_can_be_shown(op):
    result = op.result
    if get_origin(result) is Page:
        (row,) = get_args(result)
        assert columns_of(row), f"{row.__name__} has no columns"
    else:
        assert issubclass(result, msgspec.Struct)
        assert columns_of(result) or result.__name__ in WHOLE
    if op.secret:
        assert op.secret in result.__struct_fields__


def test_what_destroys_wants_a_name_and_what_closes_takes_one_person():
    destructive = {op.id for op in OPERATIONS if op.effect is Effect.DESTRUCTIVE}
    assert destructive == {
        "grant.revoke", "key.revoke", "partner.offboard", "operator.cut", "log.restart",
        "call.redact", "pilot.close",
    }  # fmt: skip
    converging = {op.id for op in OPERATIONS if op.converges}
    assert {"grant.revoke", "key.revoke", "lock.add"} <= converging


def test_a_change_without_a_plan_cannot_be_declared():
    with pytest.raises(ValueError, match="needs a plan"):
        operation("grant.x", title="X", result=Page, effect=Effect.CHANGE)
