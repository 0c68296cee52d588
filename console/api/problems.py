"""Problem types (RFC 9457): what a client branches on, and what it means to a person.

One table serves both sides: a service answers with the type and status, the console
turns them back into the error and exit code. Text is never branched on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from console.errors import ExitCode, PilotError

PREFIX = "urn:pilotctl:problem:"


class Kind(NamedTuple):
    """An HTTP status and the exit code that it becomes."""

    status: int
    exit: ExitCode


KINDS: dict[str, Kind] = {
    "malformed": Kind(400, ExitCode.USAGE),
    "unknown-member": Kind(400, ExitCode.USAGE),
    "invalid": Kind(422, ExitCode.USAGE),
    "too-large": Kind(413, ExitCode.USAGE),
    "wrong-content-type": Kind(415, ExitCode.USAGE),
    "not-an-operator": Kind(401, ExitCode.SIGN_IN),
    "role-missing": Kind(403, ExitCode.REFUSED),
    "refused": Kind(403, ExitCode.REFUSED),
    "prohibited": Kind(403, ExitCode.REFUSED),
    "needs-approval": Kind(403, ExitCode.REFUSED),
    "not-found": Kind(404, ExitCode.NOT_FOUND),
    "no-such-route": Kind(404, ExitCode.FAILED),
    "wrong-method": Kind(405, ExitCode.FAILED),
    "exists": Kind(409, ExitCode.CONFLICT),
    "state": Kind(409, ExitCode.CONFLICT),
    "in-progress": Kind(409, ExitCode.CONFLICT),
    "stale": Kind(412, ExitCode.CONFLICT),
    "revision-required": Kind(428, ExitCode.USAGE),
    "key-reused": Kind(422, ExitCode.CONFLICT),
    "key-required": Kind(400, ExitCode.USAGE),
    "store-full": Kind(507, ExitCode.UNAVAILABLE),
    "store-damaged": Kind(503, ExitCode.UNAVAILABLE),
    "unavailable": Kind(503, ExitCode.UNAVAILABLE),
    "internal": Kind(500, ExitCode.FAILED),
}
"""Problem name to status and exit code. Names only ever get added."""


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An RFC 9457 body. `mend` and `current` are our extensions."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""
    mend: str = ""
    """What to do next, in words or as a command."""
    current: Any = None
    """The object as it is now, where the write was planned on another revision."""

    @property
    def name(self) -> str:
        """The name in `KINDS`, or the bare type of somebody else's problem."""
        return self.type.removeprefix(PREFIX)


def refusal(
    name: str, detail: str, *, mend: str = "", current: Any = None, **facts: object
) -> PilotError:
    """Return the error that a service raises for the problem `name` of `KINDS`."""
    return PilotError(
        name,
        detail,
        exit=KINDS[name].exit,
        hint=mend,
        detail={**facts, **({"current": msgspec.to_builtins(current)} if current else {})},
    )


def as_problem(error: PilotError, request_id: str) -> Problem:
    """Return the body in which a service answers `error`."""
    kind = KINDS.get(error.code, KINDS["internal"])
    return Problem(
        type=PREFIX + error.code,
        title=error.code.replace("-", " "),
        status=kind.status,
        detail=error.message,
        request_id=request_id,
        mend=error.hint,
        current=error.detail.get("current"),
    )


def as_error(status: int, body: bytes, *, source: str, request_id: str = "") -> PilotError:
    """Return the error that an answer of `status` means to the operator.

    Any body is taken: a problem of ours, another's, HTML, or nothing.
    """
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(type="about:blank", title=f"HTTP {status}", status=status)
    kind = KINDS.get(problem.name)
    return PilotError(
        problem.name if kind else f"http-{status}",
        problem.detail or problem.title,
        exit=kind.exit if kind else _exit_of(status),
        hint=problem.mend,
        request_id=problem.request_id or request_id,
        source=source,
        detail={"current": problem.current} if problem.current is not None else {},
    )


def _exit_of(status: int) -> ExitCode:
    if status == 401:
        return ExitCode.SIGN_IN
    if status == 403:
        return ExitCode.REFUSED
    if status == 404:
        return ExitCode.NOT_FOUND
    if status in {409, 412}:
        return ExitCode.CONFLICT
    if status in {408, 425, 429} or status >= 500:
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILED
