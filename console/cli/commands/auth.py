"""`pilotctl auth status`: which token is sent, and who each API takes the caller for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from console.api import audit, gateway, policy
from console.api.flow import Flow, Many
from console.api.route import Call, Reply
from console.cli.parser import Parser, add_common, common_of, usage
from console.credentials.sources import describe
from console.errors import ExitCode, PilotError
from console.model.operator import ServiceStatus
from console.model.stored import Page
from console.model.text import now

if TYPE_CHECKING:
    from console.cli.context import Context

_STATUS = {"policy": policy.STATUS, "gateway": gateway.STATUS, "audit": audit.STATUS}


class SignIn(msgspec.Struct, kw_only=True):
    """How one API answers to this profile."""

    api: str
    address: str
    state: str
    operator: str = ""
    roles: list[str] = []
    token: str
    message: str = ""


def run(argv: list[str], context: Context) -> int:
    """Ask the three APIs who the caller is; exit as the worst answer asks."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if namespace.verb != "status":
        raise usage("auth needs a verb: status", "pilotctl auth status")
    output.check(SignIn)
    profile = context.profile(common)
    token = describe(profile.setting("token"))
    session = context.session(common, profile)
    try:
        outcomes = session.run(_ask())
    finally:
        session.close()
    rows = []
    worst: PilotError | None = None
    for api, got in zip(_STATUS, outcomes, strict=True):
        address = str(profile.setting(api))
        if isinstance(got, PilotError):
            rows.append(
                SignIn(api=api, address=address, state=got.code, token=token, message=got.message)
            )
            if worst is None or got.exit is ExitCode.SIGN_IN:
                worst = got
            continue
        who = got.operator
        rows.append(
            SignIn(
                api=api,
                address=address,
                state="frozen" if who.frozen else "signed in",
                operator=who.name,
                roles=who.roles,
                token=token,
            )
        )
    output.result(
        Page(as_of=now(), source=profile.name, items=rows, partial=worst is not None), Page[SignIn]
    )
    if worst is not None:
        raise worst
    return ExitCode.DONE


def parser_of(_name: str = "auth") -> Parser:
    """Return the parser of this command."""
    parser = Parser("pilotctl auth status", "Who the APIs take you for, and by which token.")
    parser.add_argument("verb", nargs="?", help="status")
    add_common(parser)
    return parser


def _ask() -> Flow[list[ServiceStatus | PilotError]]:
    answers = yield Many([Call(route) for route in _STATUS.values()])
    return [got.value if isinstance(got, Reply) else got for got in answers]
