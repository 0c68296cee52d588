"""`pilotctl demo`: a whole pilot on this machine; the console on a terminal, else a tour."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.builtin.services import require_local
from console.cli.parser import Parser, add_common, common_of, usage
from console.errors import ExitCode

if TYPE_CHECKING:
    from console.cli.context import Context

INCIDENT_ON_SCREEN = 20.0
INCIDENT_IN_TOUR = 1.0
"""Seconds until the scenario's incident begins."""


def run(argv: list[str], context: Context) -> int:
    """Start the demo, show it, and leave nothing of it behind."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if common.format != "table":
        raise usage("the demo prints for people: it takes no -o", "pilotctl demo")
    require_local()
    from console.services.demo.stage import Demo  # noqa: PLC0415  # needs the extra `local`

    on_screen = context.terminal.can_show_screen and not namespace.tour
    stderr = context.stderr(common)
    stderr.note("starting the demo's services and partners …")
    # a short path: a Unix socket's address has room for some hundred bytes
    with (
        tempfile.TemporaryDirectory(prefix="pilotctl-demo-") as folder,
        Demo(
            Path(folder) / "home",
            number=namespace.seed,
            incident_after=INCIDENT_ON_SCREEN if on_screen else INCIDENT_IN_TOUR,
        ) as demo,
    ):
        if on_screen:
            return context.open_screen(demo.home, namespace.theme)
        from console.cli.builtin.tour import Tour, walk  # noqa: PLC0415  # as above

        walk(Tour(demo.home, context.environ, output))
    return ExitCode.DONE


def parser_of(_name: str = "demo") -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "pilotctl demo",
        "A whole pilot on this machine: services, partners, live traffic, one incident.",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another run of events")
    parser.add_argument("--tour", action="store_true", help="print the tour, on a terminal too")
    parser.add_argument("--theme", default="", metavar="NAME", help="a theme, or its file's path")
    add_common(parser)
    return parser
