"""`pilotctl demo`: a whole pilot on this machine; the console on a terminal, else a tour."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.commands.services import require_local
from console.cli.execute import command_line
from console.cli.parser import Parser, add_common, common_of, usage
from console.errors import ExitCode, PilotError

if TYPE_CHECKING:
    from console.cli.context import Context

LAST_DAY = 90
"""Days of history that the demo has."""
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
    context.stderr(common).note("starting the demo …")
    from console.services.demo import personas  # noqa: PLC0415  # as above
    from console.services.demo.stage import Demo  # noqa: PLC0415  # needs the extra `local`

    on_screen = context.terminal.can_show_screen and not namespace.tour
    stderr = context.stderr(common)
    if namespace.persona:
        if namespace.persona not in personas.NAMES:
            known = ", ".join(personas.NAMES)
            raise usage(f"the demo has no operator {namespace.persona!a}; it has {known}",
                        f"pilotctl demo --as {personas.NAMES[0]}")  # fmt: skip
        if not on_screen:
            raise usage("--as opens the console, which needs a terminal", "pilotctl demo --tour")
        if (there := personas.running()) is not None:
            token = personas.token(there, namespace.persona)
            return context.open_screen(there, namespace.theme, token)
    folder = ""
    try:
        # a short path: a Unix socket's address has room for some hundred bytes
        with (
            tempfile.TemporaryDirectory(
                prefix=personas.FOLDER_PREFIX, ignore_cleanup_errors=True
            ) as folder,
            Demo(
                Path(folder) / "home",
                number=namespace.seed,
                incident_after=INCIDENT_ON_SCREEN if on_screen else INCIDENT_IN_TOUR,
                day=namespace.day,
                say=stderr.note,
            ) as demo,
        ):
            stderr.note(f"{demo.about()}; as another operator: pilotctl demo --as auditor-1")
            if on_screen:
                token = personas.token(demo.home, namespace.persona) if namespace.persona else ""
                return context.open_screen(demo.home, namespace.theme, token)
            from console.cli.commands.demo_tour import Tour, walk  # noqa: PLC0415  # as above

            walk(Tour(demo.home, context.environ, output))
    except KeyboardInterrupt:
        if not folder:
            raise
        raise _interrupted(Path(folder)) from None
    return ExitCode.DONE


def _interrupted(folder: Path) -> PilotError:
    """Return what an interruption left of the demo: nothing, where it could be cleared away."""
    if not folder.exists():
        return PilotError(
            "interrupted",
            "interrupted: the demo was stopped, and nothing of it is left",
            exit=ExitCode.INTERRUPTED,
        )
    return PilotError(
        "interrupted",
        f"interrupted: parts of the demo may still run, or lie in {folder}",
        exit=ExitCode.UNVERIFIED,
        hint=command_line(("down", "--home", str(folder / "home"))),
    )


def parser_of(_name: str = "demo") -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "pilotctl demo",
        "A whole pilot on this machine: 40 partners, 90 days, live traffic, incidents.",
    )
    parser.add_argument(
        "--at", dest="day", type=_day, default=LAST_DAY, metavar="DAY",
        help=f"the pilot at the end of that day, 1 to {LAST_DAY}: nothing later is there",
    )  # fmt: skip
    parser.add_argument(
        "--as", dest="persona", default="", metavar="OPERATOR",
        help="open the console as owner-1, duty-1, duty-2, approver-1 or auditor-1",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another run of events")
    parser.add_argument("--tour", action="store_true", help="print the tour, on a terminal too")
    parser.add_argument("--theme", default="", metavar="NAME", help="a theme, or its file's path")
    add_common(parser)
    return parser


def _day(text: str) -> int:
    """Read a day of the history."""
    day = int(text)
    if not 1 <= day <= LAST_DAY:
        raise ValueError(text)
    return day
