"""`pilotctl spec`: the registry, or the contract of one API as OpenAPI 3.1, as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from console import __version__
from console.api.contract import CONTRACT
from console.api.problems import Problem
from console.api.route import Route
from console.cli.command_list import BUILTINS
from console.cli.parser import Parser, add_common, common_of, example, no_such
from console.errors import MEANING, ExitCode
from console.operations.index import all_operations
from console.operations.spec import Operation, fields

if TYPE_CHECKING:
    from console.cli.context import Context

_ABOUT = (
    "Requests refuse members that are not named here; answers may have more. Text never holds "
    "control or format characters where its pattern excludes them: the service also refuses "
    "the tag characters U+E0000 to U+E007F there, which not every engine's patterns can name."
)
_ASTRAL = re.compile("[\U00010000-\U0010ffff](-[\U00010000-\U0010ffff])?")
_TITLES = {op.id: op.summary for op in all_operations()}

_APIS: dict[str, tuple[Route[Any], ...]] = {str(api): routes for api, routes in CONTRACT.items()}


def run(argv: list[str], context: Context) -> int:
    """Print every operation, or the OpenAPI document of one API."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    output = context.output(common_of(namespace))
    if namespace.help_:
        output.text(parser.format_help())
    elif not namespace.api:
        output.json(registry())
    elif namespace.api in _APIS:
        output.json(openapi(namespace.api))
    else:
        raise no_such("API", namespace.api, _APIS, see="")
    return ExitCode.DONE


def parser_of(_name: str = "spec") -> Parser:
    """Return the parser of this command."""
    parser = Parser("pilotctl spec", "Every operation as JSON, or an API as OpenAPI 3.1.")
    parser.add_argument("--api", default="", help=" | ".join(_APIS))
    add_common(parser)
    return parser


def registry() -> dict[str, Any]:
    """Return every operation, by hand written command and exit code, as plain data."""
    return {
        "version": __version__,
        "operations": [_operation(op) for op in all_operations()],
        "commands": {name: summary for name, (_, summary) in BUILTINS.items()},
        "exit_codes": {str(int(code)): meaning for code, meaning in MEANING.items()},
    }


def openapi(api: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `api`, made from its route data."""
    routes = _APIS[api]
    kinds = [kind for route in routes for kind in (route.body, route.answer) if kind]
    schemas, components = msgspec.json.schema_components(
        [*kinds, Problem], ref_template="#/components/schemas/{name}"
    )
    by_kind = {str(kind): schema for kind, schema in zip([*kinds, Problem], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _path_item(route, by_kind)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": f"pilotctl {api} API",
            "version": __version__,
            "description": _ABOUT,
            "contact": {"name": "the operators of this pilot"},
        },
        "servers": [{"url": "/", "description": "a Unix socket, or the address of a profile"}],
        "tags": [{"name": name} for name in sorted({_tag(route) for route in routes})],
        "paths": {path: dict(sorted(paths[path].items())) for path in sorted(paths)},
        "components": {"schemas": dict(sorted(components.items()))},
    }
    published: dict[str, Any] = _portable(document)
    return published


def _operation(op: Operation) -> dict[str, Any]:
    return {
        "id": op.id,
        "title": op.title,
        "summary": op.summary,
        "help": op.help,
        "effect": op.effect,
        "direction": op.direction,
        "role": op.role,
        "converges": op.converges,
        "key": op.key,
        "example": example(op),
        "parameters": [
            {
                "name": field.name,
                "flag": None if field.param.positional else f"--{field.flag}",
                "help": field.param.help,
                "kind": field.param.kind,
                "required": field.required,
                "repeats": field.param.repeats,
                "choices": list(field.param.choices),
                "completes": field.param.completes,
            }
            for field in fields(op)
        ],
    }


def _path_item(route: Route[Any], by_kind: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = re.findall(r"\{(\w+)\}", route.path)
    parameters = [_parameter(name, "path", required=True) for name in named]
    parameters += [_parameter(name, "query") for name in route.query]
    if route.writes:
        parameters.append(_parameter("Idempotency-Key", "header", required=True))
    if route.if_match:
        parameters.append(_parameter("If-Match", "header", required=True))
    media = "application/octet-stream" if route.answer is bytes else "application/json"
    media = "text/event-stream" if route.streams else media
    item: dict[str, Any] = {
        "operationId": route.id,
        "tags": [_tag(route)],
        "description": _description(route),
        "x-role": route.role,
        "x-direction": route.direction,
        "parameters": parameters,
        "responses": {
            "201" if route.created else "200": {
                "description": "done",
                "content": {media: {"schema": by_kind.get(str(route.answer), {})}},
            },
            "default": {
                "description": "a problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": by_kind[str(Problem)]}},
            },
        },
    }
    if route.body:
        schema = by_kind[str(route.body)]
        item["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return item


def _tag(route: Route[Any]) -> str:
    """Return the noun that a route is about."""
    return route.id.partition(".")[0]


def _description(route: Route[Any]) -> str:
    """Say what a route does, where an operation says it, and who may ask for it."""
    does = {"opens": " Opens access.", "closes": " Closes access."}.get(route.direction, "")
    title = f"{_TITLES[route.id].rstrip('.')}. " if route.id in _TITLES else ""
    return f"{title}For the role {route.role.value}.{does}"


def _portable(value: Any) -> Any:
    """Return JSON data whose patterns compile in every dialect of regular expressions.

    Engines without a Unicode mode read a character beyond U+FFFF as two, and a range of such
    as one that runs backwards. What stands for itself is escaped, so that it can be read.
    """
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _portable_pattern(each) if name == "pattern" and isinstance(each, str)
        else _portable(each)
        for name, each in value.items()
    }  # fmt: skip


def _portable_pattern(pattern: str) -> str:
    return "".join(
        char if " " <= char <= "~" else f"\\u{ord(char):04x}" for char in _ASTRAL.sub("", pattern)
    )


def _parameter(name: str, where: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": {"type": "string"}}
