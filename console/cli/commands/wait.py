"""`pilotctl wait NOUN ID --for FIELD=VALUE`: until something is so, for scripts.

It looks politely, needs no terminal, and outlives an API that is away for a while. Exit 0
when it is so, 9 when the time is over, and 9 at once where it can never become so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from console.cli.parser import Parser, add_common, common_of, no_such, usage
from console.errors import ExitCode, PilotError
from console.model.stored import Page

if TYPE_CHECKING:
    from console.api.flow import Flow
    from console.cli.context import Context
    from console.operations.spec import Operation

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 2.0
"""Seconds between two looks, growing by half each time."""

_ENDED = {
    "grant": {"revoked", "expired", "denied"},
    "key": {"revoked"},
    "lock": {"released"},
    "receipt": {"verified"},
    "partner": {"offboarded"},
    "pilot": {"closed"},
}
"""States that nothing leaves."""

_SHORT = {"receipt": "verified", "point": "serving", "grant": "active"}
"""What is waited for where `--for` is left out."""


class _Wanted(NamedTuple):
    """One condition: a member, perhaps of a member, and the values that will do."""

    path: str
    values: tuple[str, ...]

    def holds(self, plain: Any) -> bool:
        for name in self.path.split("."):
            plain = plain.get(name) if isinstance(plain, dict) else None
        return _text(plain) in self.values


def run(argv: list[str], context: Context) -> int:
    """Wait for what the words say."""
    parser = parser_of(argv[0])
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output, stderr = context.output(common), context.stderr(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    noun, name = namespace.noun, namespace.id_
    if not noun or not name:
        raise usage("wait needs a noun and an id", "pilotctl wait grant GRANT --for state=active")
    from console.operations.values import seconds  # noqa: PLC0415  # help needs none of this

    wanted = _wanted(noun, namespace.for_)
    op = _shown(noun)
    for each in wanted:
        _check(op, each)
    limit = math.inf if namespace.timeout == "0" else float(seconds(namespace.timeout))
    session = context.session(common, context.profile(common))
    try:
        drive = session.drive(seconds=limit)
        try:
            found = session.run(_until(op, name, wanted), drive)
        except PilotError as error:
            if error.code != "deadline":
                raise
            said = " and ".join(f"{each.path}={'|'.join(each.values)}" for each in wanted)
            raise PilotError(
                "deadline",
                f"{noun} {name} did not come to {said or 'be in the log'} within {limit:g} s",
                exit=ExitCode.UNVERIFIED,
                hint=f"pilotctl {noun} show {name}",
            ) from None
        output.result(found, type(found))
        return ExitCode.DONE
    except KeyboardInterrupt:
        stderr.note("interrupted: it was only looked at")
        return ExitCode.INTERRUPTED
    finally:
        session.close()


def parser_of(name: str) -> Parser:
    """Return the parser of `pilotctl wait`."""
    parser = Parser(f"pilotctl {name}", (__doc__ or "").split("\n", 1)[1].strip())
    parser.add_argument("noun", nargs="?", default="", metavar="NOUN", help="grant, alert, …")
    parser.add_argument(
        "id_", nargs="?", default="", metavar="ID",
        help="its id or name; an event waits until it is proven to be in the log",
    )  # fmt: skip
    parser.add_argument(
        "--for", dest="for_", action="append", default=[], metavar="FIELD=VALUE[|VALUE]",
        help="what is to be so: state=active; a value alone is a state; may be given again",
    )  # fmt: skip
    parser.add_argument("--timeout", default="60s", metavar="TIME", help="60s, 10m; 0 for ever")
    add_common(parser)
    return parser


def _wanted(noun: str, given: Sequence[str]) -> list[_Wanted]:
    if noun in {"event", "audit"}:
        if given:
            raise usage("an event is waited for until it is in the log: it takes no --for")
        return []
    asked = list(given) or ([_SHORT[noun]] if noun in _SHORT else [])
    if not asked:
        raise usage(f"wait {noun} needs --for", "like --for state=resolved")
    found = []
    for each in asked:
        path, equals, values = each.partition("=")
        path, values = (path, values) if equals else ("state", path)
        if not path or not values:
            raise usage(f"--for {each!r} is no FIELD=VALUE")
        found.append(_Wanted(path, tuple(values.split("|"))))
    return found


def _check(op: Operation, wanted: _Wanted) -> None:
    """Refuse a field, or a state, that such a thing never has: nobody waits for a typing error."""
    kind = get_args(op.result)[0] if get_origin(op.result) is Page else op.result
    for name in wanted.path.split("."):
        known = _members(kind)
        if known is None:
            return  # free-form: labels, and what an event was about
        if name not in known:
            raise no_such("field", name, known, see=f"pilotctl {op.noun} show -o json has them")
        kind = known[name]
    words = _words(kind)
    for value in wanted.values:
        if words and value not in words:
            what = wanted.path.rpartition(".")[2]
            raise no_such(what, value, words, see=f"{wanted.path} is: {', '.join(words)}")


def _members(kind: Any) -> dict[str, Any] | None:
    """Return the members of a type and their types; None where they are anybody's guess."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return get_type_hints(each, include_extras=True)
    plain = {str, int, float, bool, datetime, type(None)}
    return {} if {kind, *get_args(kind)} <= {*plain, Union, UnionType} else None


def _words(kind: Any) -> list[str]:
    """Return the words of the enum that a member's type names; none where it names no enum."""
    enums = (each for each in get_args(kind) if isinstance(each, type))
    return [word.value for each in enums if issubclass(each, StrEnum) for word in each]


def _shown(noun: str) -> Operation:
    """Return the operation that shows one of a noun."""
    from console.operations.index import NOUNS, load  # noqa: PLC0415  # see `run`

    meant = {"event": "audit"}.get(noun, noun)
    if meant not in NOUNS:
        raise no_such("noun", noun, NOUNS, see="pilotctl --help lists them")
    verbs = {op.verb: op for op in load(meant)}
    wanted = "proof" if meant == "audit" else "show"
    found = verbs.get(wanted) or verbs.get("list")
    if found is None:
        raise usage(f"there is nothing to wait for about {noun}")
    return found


def _until(op: Operation, name: str, wanted: Sequence[_Wanted]) -> Flow[Any]:
    """Look until every condition holds. Raises `deadline`, or `never` where none can any more."""
    from console.api.flow import Wait  # noqa: PLC0415  # see `run`

    pause = FIRST_PAUSE_SECONDS
    ended = _ENDED.get(op.noun, set())
    while True:
        try:
            found = yield from _look(op, name)
        except PilotError as error:
            later = op.id == "audit.proof" and error.exit is ExitCode.NOT_FOUND
            if error.exit is not ExitCode.UNAVAILABLE and not later:
                raise
            found = None
        if found is not None:
            plain = msgspec.to_builtins(found)
            if fault := plain.get("fault"):
                raise PilotError(
                    "log-store-changed",
                    f"it is in the log, and the log's store was changed: {fault}",
                    exit=ExitCode.LOG_FAILED,
                )
            if all(each.holds(plain) for each in wanted):
                return found
            states = next((each.values for each in wanted if each.path == "state"), ())
            if states and plain.get("state") in ended and not ended & set(states):
                raise PilotError(
                    "never",
                    f"{op.noun} {name} is {plain['state']}, and stays that",
                    exit=ExitCode.UNVERIFIED,
                )
        yield Wait(pause)
        pause = min(MAX_PAUSE_SECONDS, pause * 1.5)


def _look(op: Operation, name: str) -> Flow[Any]:
    from console.model.text import now  # noqa: PLC0415  # see `run`
    from console.operations.spec import fields  # noqa: PLC0415
    from console.operations.values import build  # noqa: PLC0415

    if op.verb == "list":
        page = yield from op.run(build(op, {"limit": "0"}, now=now()), None)
        names = ("name", "slug", "id")
        return next(
            (row for row in page.items if name in {getattr(row, each, None) for each in names}),
            None,
        )
    subject = next(each.name for each in fields(op) if each.param.positional)
    return (yield from op.run(build(op, {subject: name}, now=now()), None))


def _text(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return "" if value is None else str(value)
