"""Answers for every route of the contract, made from the types that the contract declares."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect
from pilot_rig import AT
from tiny_api import Asked, TinyApi, Told

from console.api.contract import ROUTES
from console.api.route import Route
from console.model.operator import Role


class AnyApi:
    """Answers what it is asked with one sample of the route's type, lists with `items` of them."""

    def __init__(self, api: TinyApi, items: int = 2) -> None:
        self.api = api
        self.items = items
        api.routes = self  # type: ignore[assignment]  # looked up by `get` alone

    def get(self, asked: str) -> Any:
        """Return what answers `METHOD path`, None where the contract has no such route."""
        route = route_of(*asked.split(" ", 1))
        return (lambda request: self._answer(route, request)) if route else None

    def _answer(self, route: Route, _asked: Asked) -> Told:
        if route.answer is bytes:
            return Told(b"", headers={"content-type": "application/octet-stream"})
        value = sample(inspect.type_info(route.answer), self.items)
        headers = {"etag": '"1"'} if isinstance(value, dict) and "revision" in value else {}
        return Told(value, 201 if route.created else 200, headers)


def route_of(method: str, path: str) -> Route | None:
    """Return the route of the contract that a request is for."""
    for route in ROUTES:
        pattern = re.escape(route.path).replace(r"\{file\}", ".+")
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
        if route.method == method and re.fullmatch(pattern, path):
            return route
    return None


def changes(api: TinyApi) -> list[Asked]:
    """Return what was asked that changes something, plans and dry runs apart."""
    return [asked for asked in api.asked if is_change(asked)]


def is_change(asked: Asked) -> bool:
    """Tell whether a request would change something."""
    route = route_of(asked.method, asked.path)
    assert route is not None, asked
    planned = asked.query.get("validate_only") == "true"
    return route.writes and route.role is not Role.VIEWER and not planned


def sample(kind: inspect.Type, items: int) -> Any:
    """Return plain data of a type: what a service could answer."""
    match kind:
        case inspect.StructType():
            return {field.encode_name: _member(field, items) for field in kind.fields}
        case inspect.ListType() | inspect.VarTupleType():
            return [sample(kind.item_type, min(items, 2)) for _ in range(items)]
        case inspect.DictType():
            return {"a": sample(kind.value_type, items)}
        case inspect.UnionType():
            return sample(kind.types[0], items)
        case inspect.EnumType():
            return next(iter(kind.cls)).value
        case inspect.DateTimeType():
            return AT
        case inspect.DateType():
            return AT[:10]
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return max(1, kind.ge or 0)
        case inspect.FloatType():
            return 1.0
        case inspect.NoneType():
            return None
        case _:
            return "sample"


def _member(field: inspect.Field, items: int) -> Any:
    if field.name in {"next_cursor", "fault"}:
        return ""
    if field.name in {"id", "slug"} or field.name.endswith("_id"):
        return "type:a" if field.name != "slug" else "acme"
    return sample(field.type, items)
