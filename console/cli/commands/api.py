"""`pilotctl api METHOD PATH`: one request of the contract, as it is.

Only routes of the contract are sent, so that the rules for opening and closing hold here
as they do everywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import msgspec

from console.api.contract import ROUTES
from console.api.flow import Flow
from console.api.route import Call, Route
from console.cli.execute import check_permitted, command_line
from console.cli.parser import Parser, add_common, common_of, no_such, usage
from console.errors import ExitCode, PilotError
from console.model.number import whole_number
from console.model.operator import Role
from console.parsing.text_file import read_text

if TYPE_CHECKING:
    from console.cli.context import Context

_METHODS = ("GET", "POST", "PUT", "DELETE")


def run(argv: list[str], context: Context) -> int:
    """Send one request and print the decoded answer."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if not namespace.method or not namespace.path:
        raise usage("api needs a method and a path", "pilotctl api GET gateway/v1/points")
    method = namespace.method.upper()
    if method not in _METHODS:
        raise no_such("method", method, _METHODS, see="")
    route, path, query = _find(method, namespace.path)
    if route.secret:
        # the operation has the route's id, and hands the secret over safely
        raise usage(
            f"the answer of {route.id} holds a secret, which `api` would print",
            f"use: pilotctl {route.id.replace('.', ' ')} --secret-file PATH",
        )
    revision = whole_number(namespace.revision or "")
    if namespace.revision and revision is None:
        raise usage(f"--revision {namespace.revision!r} is not a number")
    body = _body(namespace.data) if route.body or namespace.data else None
    changes = route.writes and route.role is not Role.VIEWER
    profile = context.profile(common)
    if changes:
        check_permitted(route.id, route.direction, profile, context)
        if not namespace.yes:
            raise PilotError(
                "not-confirmed",
                f"{route.id} changes things",
                exit=ExitCode.NOT_CONFIRMED,
                hint=command_line(context.argv, "--yes"),
            )
    session = context.session(common, profile)
    drive = session.drive(idempotency_key=namespace.key)
    call = Call(
        route,
        path,
        query,
        body,
        revision,
        idempotency_key=namespace.key,
    )
    try:
        value = session.run(_ask(call), drive)
    except KeyboardInterrupt:
        if not (changes and (drive.writes or drive.unanswered)):
            raise
        from console.net.driver import interruption  # noqa: PLC0415  # it is loaded by then

        raise interruption(route.id, drive) from None
    finally:
        session.close()
    if isinstance(value, bytes):
        output.text(value.decode("utf-8", "replace")) if _is_text(value) else output.json(value)
        return ExitCode.DONE
    output.json(value)
    return ExitCode.DONE


def parser_of(_name: str = "api") -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "pilotctl api",
        "One request of the contract: METHOD GET or POST, PATH as API/v1/…",
        "examples:\n  pilotctl api GET gateway/v1/points\n"
        "  pilotctl api POST policy/v1/grants:plan --data @grant.json",
    )
    parser.add_argument("method", nargs="?", help=" | ".join(_METHODS))
    parser.add_argument("path", nargs="?", help="policy/…, gateway/… or audit/…")
    parser.add_argument("--data", default="", help="the body: JSON, @FILE or - for standard input")
    parser.add_argument("--revision", default="", help="sent as If-Match")
    parser.add_argument("--idempotency-key", dest="key", default="", help="kept over retries")
    parser.add_argument("--yes", "-y", action="store_true", help="needed by what changes")
    add_common(parser)
    return parser


def _ask(call: Call) -> Flow[Any]:
    reply = yield call
    return reply.value


def _find(method: str, text: str) -> tuple[Route[Any], dict[str, str], dict[str, str]]:
    target, _, query = text.lstrip("/").partition("?")
    api, _, rest = target.partition("/")
    if api not in {"policy", "gateway", "audit"}:
        raise usage(f"{text!r} does not begin with an API", "like gateway/v1/points")
    others = []
    for route in ROUTES:
        if route.api != api:
            continue
        pattern = re.sub(
            r"\{file\}",
            "(?P<file>.+)",
            re.escape(route.path).replace(r"\{", "{").replace(r"\}", "}"),
        )
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        found = re.fullmatch(pattern, f"/{rest}")
        if found and route.method == method:
            path = {name: unquote(value) for name, value in found.groupdict().items()}
            return route, path, dict(parse_qsl(query))
        if found:
            others.append(route.method)
    if others:
        raise usage(f"{target} takes {', '.join(others)}, not {method}")
    known = [f"{route.api}{route.path}" for route in ROUTES]
    raise no_such("path", target, known, see="pilotctl spec --api NAME lists them")


def _body(data: str) -> Any:
    if data.startswith("@") or data == "-":
        try:
            text = read_text(data.removeprefix("@"))
        except ValueError as error:
            raise usage(f"--data: {error}") from error
    else:
        text = data
    try:
        msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise usage(f"--data is not JSON: {error}") from error
    # sent as it is: the API says what is wrong with it
    return msgspec.Raw(text.encode())


def _is_text(value: bytes) -> bool:
    from console.present.safe import is_safe  # noqa: PLC0415  # for files of the log alone

    try:
        return is_safe(value.decode(), multiline=True)
    except UnicodeDecodeError:
        return False
