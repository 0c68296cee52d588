"""`pilotctl owner`: what the owner of the pilot's folder can always do, at the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.commands.services import require_local
from console.cli.execute import changing, command_line
from console.cli.parser import Parser, add_common, common_of, no_such, usage
from console.config.paths import local_home
from console.errors import ExitCode, PilotError
from console.model.stored import Page
from console.model.text import now

if TYPE_CHECKING:
    import argparse

    from console.cli.context import Context
    from console.cli.output import Output
    from console.cli.stderr import Stderr

_VERBS = {
    "list": "who is an operator here, and in which state",
    "cut": "cut an operator off at every service",
    "thaw": "let an operator who was frozen do everything again",
    "restore": "let an operator in again who was cut off; their old tokens stay dead",
}
_WORDS = (
    "For the OS user who owns the pilot's folder, at the machine: it works while the services "
    "are up or down, and whatever the operators did to one another. Each change is a critical "
    "alert."
)


def run(argv: list[str], context: Context) -> int:
    """Do what the verb says."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output, stderr = context.output(common), context.stderr(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if namespace.verb not in _VERBS:
        raise no_such("verb", namespace.verb or "", tuple(_VERBS), see="pilotctl owner --help")
    require_local()
    home = Path(namespace.home).expanduser() if namespace.home else local_home(context.environ)
    if namespace.verb == "list":
        return _list(home.absolute(), output)
    if not namespace.operator:
        raise usage(f"owner {namespace.verb} needs an operator", "pilotctl owner list")
    if not namespace.reason:
        raise usage(f"owner {namespace.verb} needs a --reason")
    _confirm(namespace, context, stderr)
    look = command_line(("owner", "list", "--home", str(home.absolute())))
    with changing(f"owner {namespace.verb} {namespace.operator}", f"look with: {look}"):
        return _change(namespace, home.absolute(), output, stderr)


def parser_of(_name: str = "owner") -> Parser:
    """Return the parser of this command."""
    verbs = "; ".join(f"{name}: {words}" for name, words in _VERBS.items())
    parser = Parser("pilotctl owner", f"{_WORDS} {verbs}.")
    parser.add_argument("verb", nargs="?", help="list, cut, thaw or restore")
    parser.add_argument("operator", nargs="?", default="", metavar="OPERATOR", help="their name")
    parser.add_argument("--home", default="", metavar="DIR", help="the pilot's state folder")
    parser.add_argument("--reason", default="", help="why; it goes into the log")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    add_common(parser)
    return parser


def _list(home: Path, output: Output) -> int:
    from console.model.account import OperatorAccount  # noqa: PLC0415  # help needs none of this
    from console.services.home import Home  # noqa: PLC0415
    from console.services.owner.owner_acts import Owner  # noqa: PLC0415

    found = Owner(Home(home)).accounts()
    page = Page(as_of=now(), source=str(home), items=found)
    output.result(page, Page[OperatorAccount])
    return ExitCode.DONE


def _change(flags: argparse.Namespace, home: Path, output: Output, stderr: Stderr) -> int:
    from console.model.account import OperatorAccount, OperatorCut  # noqa: PLC0415  # as above
    from console.services.home import Home  # noqa: PLC0415
    from console.services.owner.owner_acts import Owner  # noqa: PLC0415

    at = Owner(Home(home))
    name, reason = flags.operator, flags.reason
    if flags.verb == "cut":
        cut = asyncio.run(at.cut(name, reason))
        output.result(cut, OperatorCut)
        if cut.state != "cut":
            away = "; ".join(f"{each.service}: {each.why}" for each in cut.services if each.why)
            stderr.note(f"not cut off everywhere yet: {away}")
            return ExitCode.UNVERIFIED
        return ExitCode.DONE
    acts = {"thaw": at.thaw, "restore": at.restore}
    output.result(asyncio.run(acts[flags.verb](name, reason)), OperatorAccount)
    return ExitCode.DONE


def _confirm(flags: argparse.Namespace, context: Context, stderr: Stderr) -> None:
    if flags.yes:
        return
    again = command_line(context.argv, "--yes")
    if not context.terminal.can_ask:
        raise PilotError(
            "not-confirmed", f"owner {flags.verb}: it was not confirmed, and nobody can be asked",
            exit=ExitCode.NOT_CONFIRMED, hint=again,
        )  # fmt: skip
    stderr.note(f"{_VERBS[flags.verb]}: {flags.operator}. It is a critical alert.")
    answer = stderr.ask("Go on? [y/N]")
    if answer is None or answer.strip().lower() not in {"y", "yes"}:
        raise PilotError(
            "not-confirmed", "declined: nothing was changed",
            exit=ExitCode.NOT_CONFIRMED, hint=again,
        )  # fmt: skip
