"""From operations to argparse: one parser for the one verb that was typed.

Nothing here knows a verb by name. Words and flags that do not exist are answered with
the nearest that do.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from console.cli.output import FORMATS
from console.cli.terminal import columns
from console.errors import ExitCode, PilotError
from console.model.number import whole_number
from console.model.operator import Direction
from console.model.text import now
from console.operations.spec import Effect, Field, Kind, Operation, fields
from console.operations.values import Typed, build, seconds
from console.parsing.suggest import suggest
from console.parsing.text_file import read_text


class Common(NamedTuple):
    """The flags that every command takes."""

    profile: str = ""
    config: str = ""
    read_only: bool = False
    format: str = "table"
    fields: tuple[str, ...] = ()
    verbose: bool = False


class Asked(NamedTuple):
    """How an operation is to be carried out, apart from its own parameters."""

    dry_run: bool = False
    yes: bool = False
    confirm: str | None = None
    revision: int | None = None
    idempotency_key: str = ""
    wait: bool = True
    timeout: float | None = None
    exit_status: bool = False
    secret_file: str = ""
    ids_from: str = ""


class Parsed(NamedTuple):
    """A command line, understood. `params` of one operation, or of several (`--ids-from`)."""

    operation: Operation
    params: list[msgspec.Struct]
    asked: Asked
    common: Common
    refused: tuple[tuple[str, PilotError], ...] = ()
    """The ids of `--ids-from` that can be none of what the operation acts on, and why."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours and which never guesses an abbreviation."""

    def __init__(self, prog: str, description: str = "", epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=_Formatter,
        )

    def error(self, message: str) -> Any:
        """Raise what is wrong with the command line, instead of printing and leaving."""
        raise usage(message, f"see {self.prog} --help")

    def understood(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse `argv`; a flag that does not exist is answered with the nearest."""
        namespace, unknown = self.parse_known_args(list(argv))
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            name = word.split("=")[0]
            if not name.startswith("-"):
                raise usage(f"unexpected argument {name!r}", f"see {self.prog} --help")
            near = suggest(name, [flag for flag in flags if len(flag) > 2])
            hint = f"did you mean {near}?" if near else f"see {self.prog} --help"
            raise usage(f"there is no flag {name}", hint)
        return namespace


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(100, columns(os.environ)))


def usage(message: str, hint: str = "") -> PilotError:
    """Return the error for a command line that cannot be understood."""
    return PilotError("usage", message, exit=ExitCode.USAGE, hint=hint)


def no_such(kind: str, word: str, known: Iterable[str], *, see: str) -> PilotError:
    """Return the error for a word that does not exist, naming the nearest that does."""
    names = list(known)
    near = suggest(word, names)
    return usage(
        f"there is no {kind} {word!r}",
        f"did you mean {near!r}?" if near else see or f"{kind}s: {', '.join(names)}",
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command takes."""
    group = parser.add_argument_group("everywhere")
    group.add_argument("-o", "--output", metavar="FORMAT", dest="output_", default="table",
                       help=" | ".join(FORMATS))  # fmt: skip
    group.add_argument("--fields", metavar="A,B.C", dest="fields_", default="",
                       help="only these members")  # fmt: skip
    group.add_argument("--profile", metavar="NAME", dest="profile_", default="",
                       help="the profile to use")  # fmt: skip
    group.add_argument("--config", metavar="FILE", dest="config_", default="",
                       help="the configuration file")  # fmt: skip
    group.add_argument("--read-only", action="store_true", dest="read_only_",
                       help="refuse what opens access")  # fmt: skip
    group.add_argument("--verbose", action="store_true", dest="verbose_",
                       help="show each API call on standard error")  # fmt: skip
    group.add_argument("-h", "--help", action="store_true", dest="help_", help="this text")


def common_of(namespace: argparse.Namespace) -> Common:
    """Return the common flags from what was parsed."""
    if namespace.output_ not in FORMATS:
        raise no_such("output format", namespace.output_, FORMATS, see="")
    return Common(
        namespace.profile_,
        namespace.config_,
        namespace.read_only_,
        namespace.output_,
        tuple(path.strip() for path in namespace.fields_.split(",") if path.strip()),
        namespace.verbose_,
    )


def operation_parser(op: Operation) -> Parser:
    """Return the parser of one operation."""
    body = op.help.partition("\n")[2].strip()
    parser = Parser(
        f"pilotctl {op.noun} {op.verb}",
        description=op.summary + (f"\n\n{body}" if body else ""),
        epilog=f"example:\n  {example(op)}",
    )
    parser.usage = f"{example(op)} [FLAGS]".replace("%", "%%")
    for field in fields(op):
        _add_field(parser, field)
    _add_manner(parser, op)
    add_common(parser)
    return parser


def parse_operation(op: Operation, argv: Sequence[str]) -> Parsed:
    """Return what `argv` (after noun and verb) asks of `op`. Raises `PilotError` (exit 2)."""
    namespace = operation_parser(op).understood(argv)
    asked = _asked(namespace)
    typed: dict[str, Typed] = {}
    for field in fields(op):
        given = getattr(namespace, field.name, None)
        if given is not None:
            typed[field.name] = _utf8(field, given)
    batch = _batch_field(op)
    if not asked.ids_from or batch is None:
        return Parsed(op, [build(op, typed, now=now())], asked, common_of(namespace))
    if batch.name in typed:
        raise usage(f"name the {batch.flag} or use --ids-from, not both")
    ids = _ids(asked.ids_from)
    params: list[msgspec.Struct] = []
    refused: list[tuple[str, PilotError]] = []
    for one in ids or ["x"]:  # what is wrong with every item is told of an empty list too
        try:
            params.append(build(op, {**typed, batch.name: one}, now=now()))
        except PilotError as error:
            if error.detail.get("parameter") != batch.name:
                raise
            refused.append((one, error))
    if not ids:
        params, refused = [], []
    return Parsed(op, params, asked, common_of(namespace), tuple(refused))


def example(op: Operation) -> str:
    """Return a command line that shows the operation's required parameters."""
    words = ["pilotctl", op.noun, op.verb]
    for field in fields(op):
        if field.param.positional:
            words.append(_metavar(field))
        elif field.required:
            words += [f"--{field.flag}", "'…'" if "TEXT" in _metavar(field) else _metavar(field)]
    return " ".join(words)


def _add_field(parser: Parser, field: Field) -> None:
    param = field.param
    text = param.help + (f" ({', '.join(param.choices)})" if param.choices else "")
    if field.required and not param.positional:
        text += " Required."
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "default": None}
    if param.positional:
        options["metavar"] = _metavar(field)
        many = "*" if param.repeats else "?"
        # an absent one is refused by `build`, in our words
        parser.add_argument(field.name, nargs=many, **options)
        return
    options["dest"] = field.name
    if param.kind is Kind.FLAG:
        off = field.default is True
        parser.add_argument(
            f"--{'no-' if off else ''}{field.flag}",
            action="store_false" if off else "store_true",
            **options,
        )
        return
    options["metavar"] = _metavar(field)
    if param.repeats:
        options["action"] = "append"
    parser.add_argument(f"--{field.flag}", **options)


def _add_manner(parser: Parser, op: Operation) -> None:
    group = parser.add_argument_group("how")
    if op.effect is Effect.READ:
        group.add_argument("--exit-status", action="store_true", dest="exit_status_",
                           help="exit 1 where the answer is no")  # fmt: skip
    else:
        group.add_argument("--dry-run", action="store_true", dest="dry_run_",
                           help="show the plan, and change nothing")  # fmt: skip
        group.add_argument("--yes", "-y", action="store_true", dest="yes_",
                           help="do not ask" if op.effect is Effect.CHANGE
                           else argparse.SUPPRESS)  # fmt: skip
        group.add_argument("--confirm", metavar="NAME", dest="confirm_",
                           help="the name that would have to be typed")  # fmt: skip
        group.add_argument("--idempotency-key", metavar="KEY", dest="idempotency_key_", default="",
                           help="the key of an earlier try of this same command")  # fmt: skip
        if op.direction is not Direction.CLOSES:
            group.add_argument("--revision", metavar="N", dest="revision_",
                               help="refuse if it has changed since")  # fmt: skip
        if _batch_field(op):
            group.add_argument("--ids-from", metavar="FILE", dest="ids_from_", default="",
                               help="one id a line, - for standard input")  # fmt: skip
        if op.secret:
            group.add_argument("--secret-file", metavar="PATH", dest="secret_file_", default="",
                               help="write the key to this new file, 0600; - for standard "
                               "output, if that is a pipe; a folder with --ids-from")  # fmt: skip
    if op.converges:
        group.add_argument("--no-wait", action="store_true", dest="no_wait_",
                           help="do not follow it to its end")  # fmt: skip
        group.add_argument("--wait", action="store_true", dest="wait_",
                           help="follow it to its end (the default)")  # fmt: skip
        group.add_argument("--timeout", metavar="LENGTH", dest="timeout_",
                           help="follow it for at most so long: 30s, 5m")  # fmt: skip


def _asked(namespace: argparse.Namespace) -> Asked:
    timeout = getattr(namespace, "timeout_", None)
    said = getattr(namespace, "revision_", None)
    revision = None if said is None else whole_number(said)
    if said is not None and revision is None:
        raise usage(f"--revision {said!r} is not a number")
    key = getattr(namespace, "idempotency_key_", "")
    if key and not (key.isascii() and key.isprintable() and len(key) <= 128 and " " not in key):
        raise usage("--idempotency-key is at most 128 printable ASCII characters")
    return Asked(
        dry_run=getattr(namespace, "dry_run_", False),
        yes=getattr(namespace, "yes_", False),
        confirm=getattr(namespace, "confirm_", None),
        revision=revision,
        idempotency_key=key,
        wait=not getattr(namespace, "no_wait_", False),
        timeout=None if timeout is None else float(seconds(timeout)),
        exit_status=getattr(namespace, "exit_status_", False),
        secret_file=getattr(namespace, "secret_file_", ""),
        ids_from=getattr(namespace, "ids_from_", ""),
    )


def _batch_field(op: Operation) -> Field | None:
    """Return the parameter that `--ids-from` fills: the only positional one, an id or slug."""
    if op.effect is Effect.READ or not op.subject:
        return None
    positional = [field for field in fields(op) if field.param.positional]
    if len(positional) != 1 or positional[0].param.kind not in {Kind.ID, Kind.SLUG}:
        return None
    return positional[0]


def _metavar(field: Field) -> str:
    if field.param.metavar:
        return field.param.metavar
    names = {
        Kind.NUMBER: "N", Kind.WHEN: "WHEN", Kind.SINCE: "SINCE", Kind.DURATION: "LENGTH",
        Kind.FILE: "FILE", Kind.FOLDER: "DIR", Kind.LONG_TEXT: "TEXT", Kind.NETWORK: "CIDR",
        Kind.MONEY: "AMOUNT",
    }  # fmt: skip
    return names.get(field.param.kind, field.flag.upper())


def _utf8(field: Field, given: Any) -> Any:
    """Return what was typed, refusing bytes that no API could be sent."""
    for word in given if isinstance(given, list) else [given]:
        if isinstance(word, str) and not word.isascii():
            try:
                word.encode()
            except UnicodeEncodeError:
                raise usage(f"{field.flag} is not UTF-8 text") from None
    return given


def _ids(path: str) -> list[str]:
    try:
        text = read_text(path)
    except ValueError as error:
        raise usage(f"--ids-from: {error}") from error
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
