"""`pilotctl up`, `down` and `status`: the services on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from console.cli.execute import changing, command_line
from console.cli.parser import Parser, add_common, common_of
from console.config.paths import local_home
from console.errors import ExitCode, PilotError
from console.model.stored import Page
from console.model.text import now
from console.present.amounts import counted

if TYPE_CHECKING:
    import argparse

    from console.cli.context import Context
    from console.cli.output import Output
    from console.cli.parser import Common
    from console.cli.stderr import Stderr
    from console.services.supervisor import Process, Status

_LOCAL = ("aiohttp", "sqlalchemy", "cedarpy")

_WORDS = {
    "up": "Run the services on this machine, durable on SQLite, until `pilotctl down`.",
    "down": "Stop the services of `pilotctl up`; calls in flight may end first.",
    "status": "How the services of `pilotctl up` are.",
}


def run(argv: list[str], context: Context) -> int:
    """Do what `argv[0]` says."""
    verb = argv[0]
    parser = parser_of(verb)
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    require_local()
    home = Path(namespace.home).expanduser().absolute() if namespace.home else None
    order = _Order(verb, home or local_home(context.environ), namespace)
    with _interruption(order):
        return _do(order, common, output, context.stderr(common))


class _Order(NamedTuple):
    verb: str
    home: Path
    flags: argparse.Namespace


def _interruption(order: _Order) -> AbstractContextManager[None]:
    """Say what an interruption leaves unknown: the pilot is a process of its own by then."""
    look, back = (command_line((verb, "--home", str(order.home))) for verb in ("status", "down"))
    if order.verb == "up":
        what = f"the start of the pilot in {order.home}"
        return changing(what, f"look with: {look}; stop it with: {back}")
    if order.verb == "down":
        what = f"the stop of the pilot in {order.home}"
        return changing(what, f"look with: {look}; stop what still runs with: {back}")
    return nullcontext()


def require_local() -> None:
    """Refuse, saying how to install them, where the services' libraries are missing."""
    missing = [name for name in _LOCAL if find_spec(name) is None]
    if missing:
        raise PilotError(
            "local-missing",
            f"the services are not installed here: {', '.join(missing)} missing",
            exit=ExitCode.USAGE,
            hint="pip install 'pilotctl[local]'",
        )


def parser_of(verb: str) -> Parser:
    """Return the parser of `up`, `down` or `status`."""
    parser = Parser(f"pilotctl {verb}", _WORDS[verb])
    parser.add_argument("--home", default="", metavar="DIR", help="their state folder")
    if verb == "up":
        parser.add_argument("--foreground", action="store_true", help="until a signal comes")
    if verb == "down":
        parser.add_argument(
            "--drain", type=_seconds, default=None, metavar="SECONDS",
            help="how long calls in flight may go on; else drain_seconds of pilot.toml",
        )  # fmt: skip
    if verb == "status":
        parser.add_argument("--exit-status", action="store_true", help="exit 1 where one is down")
    add_common(parser)
    return parser


def _do(order: _Order, common: Common, output: Output, stderr: Stderr) -> int:
    from console.services import settings, supervisor  # noqa: PLC0415  # needs the extra `local`
    from console.services.demo import personas  # noqa: PLC0415  # as above
    from console.services.supervisor.admins import (  # noqa: PLC0415  # as above
        operators_of,
        restricted_admins,
    )

    home = order.home
    if order.verb == "up":
        found = supervisor.start(home, foreground=order.flags.foreground)
        if found.already:
            stderr.note(f"running already in {home}: nothing was changed")
        read = settings.load(home)
        for said in (operators_of(read), restricted_admins(read)):
            if said:
                stderr.note(said)
        if order.flags.foreground:
            return ExitCode.DONE
    else:
        if order.verb == "down":
            _stop(home, order.flags.drain, stderr)
        found = supervisor.status(home)
        if order.verb == "status" and found.running:
            found = replace(found, points=supervisor.points(home))
            if found.points is None:
                stderr.note("the gateway does not answer: its points and upstreams are unknown")
        if order.verb == "status" and not found.running:
            stderr.note(f"nothing is running in {home}: pilotctl up")
        elif order.verb == "status" and (told := personas.told(home)):
            stderr.note(told)
    _print(found, common, output)
    all_well = (
        found.running
        and found.points is not None
        and all(each.state in {"running", "serving", "untried", "failing"} for each in _rows(found))
    )
    if order.verb == "status" and order.flags.exit_status and not all_well:
        return ExitCode.FAILED
    return ExitCode.DONE


def _stop(home: Path, drain: float | None, stderr: Stderr) -> None:
    """Stop the pilot, saying for how long calls in flight may go on."""
    from console.services import supervisor  # noqa: PLC0415  # loaded by then

    def told(found: Status | None) -> None:
        known = found.points if found is not None else None
        seconds = supervisor.drain_seconds(home) if drain is None else drain
        calls = "calls in flight (how many is unknown)"
        if known is not None:
            calls = counted(sum(each.in_flight for each in known), "call") + " in flight"
        if known is not None and not any(each.in_flight for each in known):
            stderr.note("stopping: no call is in flight")
        else:
            stderr.note(f"stopping: {calls} may go on for {seconds:g} s, new ones are refused")

    # The order comes first: the stated time begins when it is typed, not once it was announced.
    if not supervisor.stop(home, drain, told=told):
        stderr.note(f"nothing was running in {home}")


def _seconds(text: str) -> float:
    """Read a number of seconds, up to an hour, with or without its unit."""
    from argparse import ArgumentTypeError  # noqa: PLC0415  # loaded by then

    try:
        found = float(text.removesuffix("s"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 3600:
        raise ArgumentTypeError(f"{text!r} must be seconds from 0 to 3600, like 10 or 10s")
    return found


def _print(found: Status, common: Common, output: Output) -> None:
    from console.services.supervisor import Process  # noqa: PLC0415  # loaded by then

    if common.format == "json":
        output.result(found, type(found))
        return
    page = Page(as_of=now(), source=found.home, items=_rows(found))
    output.result(page, Page[Process])


def _rows(found: Status) -> list[Process]:
    """Return the processes, the points that serve nothing, and the upstreams behind the points."""
    from console.services.supervisor import Process  # noqa: PLC0415  # loaded by then

    rows = list(found.processes)
    for point in found.points or ():
        if point.state == "fenced":
            rows.append(
                Process(
                    name=f"point {point.name}", state=point.state, since=point.last_seen_at,
                    why="it holds no lease: it serves nothing",
                )
            )  # fmt: skip
        rows += [
            Process(
                name=f"upstream {each.name} at {point.name}", state=each.state.replace("_", " "),
                since=each.since, why=each.why,
            )
            for each in point.upstreams
            if each.kind != "builtin"
        ]  # fmt: skip
    return rows
