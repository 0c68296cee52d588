"""`pilotctl __complete KIND`: the names that completion offers, from this machine alone.

Asked at each press of a key: it reads one file, and no API, keyring or token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.parser import Common
from console.config.completion_names import Names
from console.config.profile import load_profile
from console.errors import ExitCode

if TYPE_CHECKING:
    from console.cli.context import Context


def run(argv: list[str], context: Context) -> int:
    """Print `name<TAB>words` for each known name of a kind; nothing where none is known."""
    kind = argv[1] if len(argv) > 1 else ""
    profile = load_profile(context.environ)
    known = Names(profile.name, context.environ).known(kind)
    context.output(Common()).lines(f"{name}\t{words}" for name, words in known.items())
    return ExitCode.DONE
