"""The command line: find the noun, import it alone, run its verb, say how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from console.cli.command_list import BUILTINS, BY_HAND, HIDDEN, root_help
from console.cli.gc_tuning import started
from console.cli.stderr import Stderr
from console.cli.terminal import Terminal
from console.errors import ExitCode, PilotError
from console.operations.index import NOUNS
from console.streams import closed_pipe, ignore_interrupts, say

if TYPE_CHECKING:
    from console.cli.context import Context, Picker
    from console.cli.parser import Common
    from console.operations.spec import Operation

_VALUED = {"--profile", "--config", "--output", "-o", "--fields", "--theme"}
_LONE = {"--read-only", "--verbose"}


def main(
    argv: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    picker: Picker | None = None,
) -> int:
    """Run the command line `argv` (without the program's name); return its exit code.

    `picker` is how a choice is made on the screen, which this front does not know.
    """
    environ = os.environ if environ is None else environ
    terminal = Terminal.of_process(environ)
    line = CommandLine(tuple(argv), environ, terminal, picker)
    return told(lambda: _dispatch(line), argv, environ)


def told(work: Callable[[], int], argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do `work`, and turn every way in which it can fail into words and an exit code."""
    stderr = Stderr(Terminal.of_process(environ), as_json=_wants_json(argv))
    try:
        return int(work())
    except PilotError as error:
        ignore_interrupts()
        stderr.error(error)
        return int(error.exit)
    except KeyboardInterrupt as interrupt:
        ignore_interrupts()
        before = interrupt.__context__
        if isinstance(before, PilotError):
            # a second Ctrl-C, while what the first one left was on its way here
            stderr.error(before)
            return int(before.exit)
        return interrupted(argv, environ)
    except Exception as error:
        ignore_interrupts()
        # by name: importing the writer of results would make every error wait for it
        if type(error).__name__ == "ClosedPipe":
            return closed_pipe()
        stderr.error(_bug(error, environ))
        return int(ExitCode.FAILED)


def interrupted(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """Say that the command was interrupted before it sent anything; return its exit code."""
    environ = os.environ if environ is None else environ
    stderr = Stderr(Terminal.of_process(environ), as_json=_wants_json(argv))
    stderr.error(
        PilotError("interrupted", "interrupted: nothing was sent", exit=ExitCode.INTERRUPTED)
    )
    return int(ExitCode.INTERRUPTED)


class CommandLine(NamedTuple):
    """What was typed, and where."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    terminal: Terminal
    picker: Picker | None = None

    def context(self) -> Context:
        """Return it as commands take it."""
        from console.cli.context import Context  # noqa: PLC0415  # help and usage need none

        return Context(self.argv, self.environ, self.terminal, self.picker)


def only_common(argv: Sequence[str]) -> bool:
    """Tell whether `argv` names no command: nothing, or flags that every command takes."""
    return not split_leading(argv)[1]


def screen_flags(argv: Sequence[str]) -> tuple[Common, str]:
    """Return the flags of a command line that names no command, and the theme of the screen."""
    from console.cli.parser import Parser, add_common, common_of  # noqa: PLC0415  # not for help

    parser = Parser("pilotctl")
    parser.add_argument("--theme", default="", metavar="NAME", help="a theme, or its file's path")
    add_common(parser)
    namespace = parser.understood(argv)
    return common_of(namespace), str(namespace.theme)


def split_leading(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the common flags before the noun, and the rest."""
    at = 0
    while at < len(argv):
        word = argv[at]
        if word in _VALUED:
            at += 2
        elif word in _LONE or word.split("=")[0] in _VALUED or _is_glued(word):
            at += 1
        else:
            break
    return list(argv[:at]), list(argv[at:])


def _is_glued(word: str) -> bool:
    return word.startswith("-o") and len(word) > 2


def _dispatch(line: CommandLine) -> int:
    leading, rest = split_leading(line.argv)
    if rest and rest[0] in {"-h", "--help"}:
        return say(root_help())
    if rest and rest[0] in {"-V", "--version"}:
        from console import __version__  # noqa: PLC0415  # usually answered before this

        return say(f"pilotctl {__version__}\n")
    if not rest:
        from console.cli.parser import usage  # noqa: PLC0415  # help must not wait for argparse

        raise usage("no command was given", "pilotctl --help lists them")
    word = rest[0]
    if word in NOUNS:
        return _operation(word, [*leading, *rest[1:]], line)
    if word in BUILTINS or word in HIDDEN:
        return _builtin(word, [*leading, *rest[1:]], line)
    from console.cli.parser import no_such, usage  # noqa: PLC0415  # as above

    if word.startswith("-"):
        raise usage(f"there is no flag {word.split('=')[0]} here", "pilotctl --help")
    raise no_such("command", word, [*NOUNS, *BUILTINS], see="pilotctl --help lists them")


def _operation(noun: str, words: list[str], line: CommandLine) -> int:
    from console.cli.parser import no_such, operation_parser, parse_operation  # noqa: PLC0415
    from console.operations.index import load  # noqa: PLC0415

    operations = {op.verb: op for op in load(noun)}
    leading, rest = split_leading(words)
    if not rest:
        raise PilotError(
            "usage",
            f"{noun} needs a verb: {', '.join(operations)}",
            exit=ExitCode.USAGE,
            hint=f"see pilotctl {noun} --help",
        )
    if rest[0] in {"-h", "--help"}:
        return say(noun_help(noun, list(operations.values())))
    if meant := BY_HAND.get((noun, rest[0])):
        return _builtin(meant[0], [*leading, *meant[1:], *rest[1:]], line)
    if rest[0] not in operations:
        raise no_such("verb", rest[0], operations, see=f"see pilotctl {noun} --help")
    op = operations[rest[0]]
    flags = [*leading, *rest[1:]]
    if _asks_help(flags):
        return say(operation_parser(op).format_help())
    parsed = parse_operation(op, flags)
    from console.cli.execute import execute  # noqa: PLC0415  # a usage error needs none of it

    return execute(parsed, line.context())


def _builtin(name: str, words: list[str], line: CommandLine) -> int:
    from importlib import import_module  # noqa: PLC0415  # only commands by hand need it

    module = import_module(BUILTINS[name][0] if name in BUILTINS else HIDDEN[name])
    started()
    code: int = module.run([name, *words], line.context())
    return code


def noun_help(noun: str, operations: Sequence[Operation]) -> str:
    """Return the text of `pilotctl NOUN --help`."""
    said = {op.verb: op.summary for op in operations}
    said |= {verb: BUILTINS[meant[0]][1] for (of, verb), meant in BY_HAND.items() if of == noun}
    room = max(map(len, said)) + 2
    verbs = "\n".join(f"  {verb:<{room}}{summary}" for verb, summary in said.items())
    return f"pilotctl {noun} VERB [FLAGS]\n\n{NOUNS[noun][1]}\n\nverbs:\n{verbs}\n"


def _asks_help(words: Sequence[str]) -> bool:
    before = list(words)[: list(words).index("--")] if "--" in words else words
    return "--help" in before or "-h" in before


def _wants_json(argv: Sequence[str]) -> bool:
    for at, word in enumerate(argv):
        following = argv[at + 1] if at + 1 < len(argv) else ""
        if word in {"-o", "--output"} and following in {"json", "jsonl"}:
            return True
        if word in {"-ojson", "-ojsonl", "--output=json", "--output=jsonl"}:
            return True
    return False


def _bug(error: Exception, environ: Mapping[str, str]) -> PilotError:
    hint = "PILOTCTL_DEBUG=1 shows where"
    if environ.get("PILOTCTL_DEBUG"):
        import traceback  # noqa: PLC0415  # for bugs alone

        # frames only: values of variables may hold what nobody should read
        hint = "".join(traceback.format_tb(error.__traceback__))
    return PilotError("bug", f"a bug in pilotctl: {type(error).__name__}: {error}", hint=hint)
