"""`pilotctl pick`: a choice made on the terminal, printed for a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.parser import Parser, add_common, common_of, no_such, usage
from console.errors import ExitCode
from console.present.safe import safe

if TYPE_CHECKING:
    from console.cli.context import Context

NOUNS = ("partner", "grant", "key", "alert", "lock", "pilot", "capability")


def run(argv: list[str], context: Context) -> int:
    """Let the operator pick one, and print its slug or id; nothing and 130 for none."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if not namespace.noun:
        raise usage(f"pick what? {', '.join(NOUNS)}", "see pilotctl pick --help")
    if namespace.noun not in NOUNS:
        raise no_such("list", namespace.noun, NOUNS, see=f"there are {', '.join(NOUNS)}")
    if common.format not in {"table", "name"}:
        raise usage("pick prints one name: it takes no -o", "pilotctl pick --help")
    if context.picker is None:
        raise usage("there is no screen here to pick on", "pilotctl NOUN list -o name")
    session = context.session(common, context.profile(common))
    try:
        picked = context.picker(session, namespace.noun)
    finally:
        session.close()
    if not picked:
        return ExitCode.INTERRUPTED
    output.lines([safe(picked)])
    return ExitCode.DONE


def parser_of(_name: str = "pick") -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "pilotctl pick",
        "Choose one from a list on the terminal; prints its slug or id, and nothing else.\n"
        "esc chooses nothing: exit 130.",
        'example:\n  pilotctl grant list --partner "$(pilotctl pick partner)"',
    )
    parser.add_argument("noun", nargs="?", help=" | ".join(NOUNS))
    add_common(parser)
    return parser
