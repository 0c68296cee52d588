"""`pilotctl audit tail` and `pilotctl call tail`: what happens, as it happens.

One line each, until it is interrupted. An event is marked `ok` once it is proven to be in
the log, against the head that this console has pinned; anything else is said.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from console.cli.output import ClosedPipe
from console.cli.parser import Parser, add_common, common_of, usage
from console.errors import ExitCode, PilotError
from console.present.data import as_json_line
from console.present.safe import safe
from console.present.times import utc

if TYPE_CHECKING:
    from console.api.route import Route
    from console.cli.context import Context
    from console.cli.output import Output
    from console.operations.proving import Prover
    from console.session.session import Session

_OF = {"audit": "events", "event": "events", "events": "events", "call": "calls", "calls": "calls"}
_NO_PROOF = "calls are in the log by the digests of their point, a little later"


def run(argv: list[str], context: Context) -> int:
    """Follow what `argv[1]` names: audit or call."""
    what = _OF.get(argv[1], "") if len(argv) > 1 else ""
    parser = parser_of(argv[0])
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output, stderr = context.output(common), context.stderr(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if not what:
        raise usage("tail follows audit or call", "pilotctl tail audit, or pilotctl tail call")
    if common.format not in {"table", "jsonl"}:
        raise usage("a tail has no end: it writes lines", "use -o jsonl")
    route = _route(what)
    query = _query(route, vars(namespace))
    session = context.session(common, context.profile(common))
    from console.net.stream import Tail  # noqa: PLC0415  # help needs none of this
    from console.operations.proving import Prover  # noqa: PLC0415

    after = namespace.from_ - 1 if namespace.from_ is not None else None
    try:
        tail = Tail(session.apis, route, query, after=after, on_trouble=stderr.note)
        prover = Prover() if what == "events" else None
        rows = _Rows(output, session, prover, jsonl=common.format == "jsonl", most=namespace.count)
        for messages in tail:
            if _nobody_reads():
                raise ClosedPipe
            found = [each for each in messages if each.row is not None]
            if found and not rows.write([each.row for each in found]):
                return ExitCode.DONE
        return ExitCode.DONE
    except KeyboardInterrupt:
        # It is how a tail ends: nothing is left undone.
        return ExitCode.INTERRUPTED
    finally:
        session.close()


def parser_of(name: str) -> Parser:
    """Return the parser of `pilotctl tail`."""
    parser = Parser(f"pilotctl {name}", (__doc__ or "").split("\n", 1)[1].strip())
    parser.add_argument("what", nargs="?", default="", metavar="audit|call", help="which")
    for flag, text in (
        ("actor", "only by this operator or service (audit)"),
        ("action", "only this action, like grant.revoke (audit)"),
        ("target", "only about this id or slug (audit)"),
        ("source", "only from this API (audit)"),
        ("partner", "only of this partner"),
        ("outcome", "only with this outcome"),
        ("text", "only with these words"),
        ("grant", "only under this grant (call)"),
        ("key", "only with this key (call)"),
        ("model", "only of this model (call)"),
        ("capability", "only under this capability (call)"),
        ("principal", "only of this principal (call)"),
        ("network", "only from this network (call)"),
        ("code", "only with this code (call)"),
    ):
        parser.add_argument(f"--{flag}", default="", help=text)
    parser.add_argument(
        "--from", dest="from_", type=int, default=None, metavar="INDEX",
        help="begin with this index of the log, or row of the calls; without it, with the next",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=0, help="end after so many rows")
    add_common(parser)
    return parser


def _route(what: str) -> Route[Any]:
    from console.api import audit, gateway  # noqa: PLC0415  # see `run`

    return audit.EVENT_TAIL if what == "events" else gateway.CALL_TAIL


def _query(route: Route[Any], given: dict[str, Any]) -> dict[str, str]:
    """Return the filters that the stream takes; one that it does not is refused."""
    names = {"key": "credential"}
    query = {}
    filters = (
        "actor", "action", "target", "source", "partner", "outcome", "text", "grant", "key",
        "model", "capability", "principal", "network", "code",
    )  # fmt: skip
    for name in filters:
        if value := given[name]:
            asked = names.get(name, name)
            if asked not in route.query:
                raise usage(f"{route.id.replace('.', ' ')} does not filter by --{name}")
            query[asked] = value
    return query


class _Rows:
    """Writes rows, counting them."""

    def __init__(
        self,
        output: Output,
        session: Session,
        prover: Prover | None,
        *,
        jsonl: bool,
        most: int,
    ) -> None:
        self._output = output
        self._session = session
        self._prover = prover
        self._jsonl = jsonl
        self._left = most or -1

    def write(self, rows: Sequence[Any]) -> bool:
        """Write rows with what is proven of each; False once there were enough."""
        if self._left > 0:
            rows = rows[: self._left]
        prover, whys = self._prover, [_NO_PROOF] * len(rows)
        if prover is not None:
            whys = self._session.run(prover.prove(rows))
        lines = []
        for row, why in zip(rows, whys, strict=True):
            if self._jsonl:
                told = {**msgspec.to_builtins(row), "verified": not why, "why": why}
                lines.append(as_json_line(self._output.selected(told)).rstrip("\n"))
            else:
                lines.append(_event(row, why) if prover else _call(row))
        self._output.lines(lines)
        if prover and prover.failed:
            raise PilotError(
                "log-proof-failed", prover.failed, exit=ExitCode.LOG_FAILED,
                hint="pilotctl audit verify",
            )  # fmt: skip
        self._left -= len(rows)
        return self._left != 0


def _event(row: Any, why: str) -> str:
    mark = f"({why})" if why else "ok"
    words = (row.action, row.actor, row.target, row.partner, row.outcome, row.reason)
    said = "  ".join(safe(each) for each in words if each)
    return f"{utc(row.at)}  {row.index:>8}  {safe(mark)}  {said}"


def _call(row: Any) -> str:
    words = (row.outcome, row.code, row.partner, row.model, row.capability, row.address, row.id)
    said = "  ".join(safe(each) for each in words if each)
    tokens = f"{row.input_tokens}+{row.output_tokens} tokens"
    return f"{utc(row.started_at)}  {row.status}  {said}  {tokens}  {row.total_ms:.0f} ms"


def _nobody_reads() -> bool:
    """Tell whether the reader of standard output went away while nothing was written."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLERR)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False
