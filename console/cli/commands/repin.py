"""`pilotctl log repin`: accept a log that took the place of the one that was pinned.

It changes this console's memory and nothing at any API, so it is no operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.execute import changing, command_line
from console.cli.parser import Parser, add_common, common_of
from console.errors import ExitCode, PilotError

if TYPE_CHECKING:
    from console.cli.context import Context


def run(argv: list[str], context: Context) -> int:
    """Check the new log, show what was found, and take it over once that is confirmed."""
    from console.model.log import LogSuccession  # noqa: PLC0415  # help needs none of this
    from console.operations.log import takeover  # noqa: PLC0415
    from console.present.plan import plan_lines  # noqa: PLC0415

    parser = parser_of(argv[0])
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output, stderr = context.output(common), context.stderr(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    session = context.session(common, context.profile(common))
    try:
        found = session.run(session.log_trust.succession())
        if namespace.dry_run:
            output.result(found, LogSuccession)
            return ExitCode.DONE
        if namespace.confirm is None and context.terminal.can_ask:
            stderr.lines(plan_lines(takeover(found)))
            namespace.confirm = (stderr.ask(f"Type {found.origin} to go on:") or "").strip()
        if namespace.confirm != found.origin:
            raise PilotError(
                "not-confirmed",
                f"log repin: it wants {found.origin!r} confirmed",
                exit=ExitCode.NOT_CONFIRMED,
                hint=command_line(context.argv, "--confirm", found.origin),
            )
        look = "pilotctl log show (exit 11 while the old log is pinned)"
        with changing(f"holding this console to {found.origin}", f"look with: {look}"):
            output.result(session.run(session.log_trust.repin()), LogSuccession)
        return ExitCode.DONE
    finally:
        session.close()


def parser_of(name: str) -> Parser:
    """Return the parser of `pilotctl repin`."""
    parser = Parser(f"pilotctl {name}", (run.__doc__ or "").strip())
    parser.add_argument("--confirm", default=None, metavar="NAME", help="the new log's name")
    parser.add_argument("--dry-run", action="store_true", help="only say what was found")
    add_common(parser)
    return parser
