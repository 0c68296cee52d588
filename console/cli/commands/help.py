"""`pilotctl help [TOPIC | NOUN [VERB] | man]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.command_list import BUILTINS, root_help
from console.cli.main import main, noun_help
from console.cli.parser import Common, no_such
from console.cli.topics import topics
from console.operations.index import NOUNS, load

if TYPE_CHECKING:
    from console.cli.context import Context


def run(argv: list[str], context: Context) -> int:
    """Show what was asked about."""
    words = [word for word in argv[1:] if not word.startswith("-")]
    output = context.output(Common())
    known = topics()
    if not words:
        output.text(f"{root_help()}\ntopics: {', '.join(known)}\n")
    elif words[0] == "man":
        from console.cli.commands.manpage import page  # noqa: PLC0415  # it reads every noun

        output.text(page())
    elif words[0] in known:
        output.text(known[words[0]])
    elif words[0] in NOUNS and len(words) == 1:
        output.text(noun_help(words[0], load(words[0])))
    elif words[0] in NOUNS or words[0] in BUILTINS:
        return main([*words, "--help"], context.environ)
    else:
        names = [*known, "man", *NOUNS, *BUILTINS]
        raise no_such("topic", words[0], names, see=f"topics: {', '.join(known)}")
    return 0
