"""What can go wrong, and the exit code that says so.

One error class, one table of exit codes. `MEANING` is the published text
(`pilotctl help exit-codes`); nothing else defines what a code means.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status promises to the script that reads it (see `MEANING`)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    SIGN_IN = 4
    REFUSED = 5
    CONFLICT = 6
    UNAVAILABLE = 7
    PENDING = 8
    UNVERIFIED = 9
    NOT_CONFIRMED = 10
    LOG_FAILED = 11
    INTERRUPTED = 130
    CLOSED_PIPE = 141


MEANING: dict[ExitCode, str] = {
    ExitCode.DONE: "done; a negative answer is an answer, unless --exit-status is given",
    ExitCode.FAILED: "failed, for a reason that no other code names, or a bug in pilotctl",
    ExitCode.USAGE: "a bad flag, value, profile or configuration file; nothing was sent",
    ExitCode.NOT_FOUND: "the thing named does not exist",
    ExitCode.SIGN_IN: "not signed in, or the credential has expired",
    ExitCode.REFUSED: "refused: by role, policy, a read-only profile, or an invariant",
    ExitCode.CONFLICT: "it changed since you looked, or the key was used for something else",
    ExitCode.UNAVAILABLE: "the API did not answer, or cannot now: retry",
    ExitCode.PENDING: "accepted and still going: --no-wait, or it waits for approval",
    ExitCode.UNVERIFIED: "the deadline passed, or only a part was done or verified",
    ExitCode.NOT_CONFIRMED: "not confirmed: it needed --yes or --confirm, or was declined",
    ExitCode.LOG_FAILED: "the log failed verification",
    ExitCode.INTERRUPTED: "interrupted before anything was sent",
    ExitCode.CLOSED_PIPE: "the reader of standard output went away",
}


class PilotError(Exception):
    """An error written for the person who meets it.

    `code` is a stable kebab-case name that scripts and tests branch on, `message`
    says what happened and to what, `hint` says what to do next. `exit` is the
    command's exit code. `request_id` names the request at the API that answered;
    `detail` holds further JSON-safe facts (never a secret).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        exit: ExitCode = ExitCode.FAILED,
        hint: str = "",
        request_id: str = "",
        source: str = "",
        detail: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.exit = exit
        self.hint = hint
        self.request_id = request_id
        self.source = source
        """Which API (and where) answered, as people know it: `gateway unix:/…`."""
        self.detail = detail or {}

    def as_json(self) -> dict[str, object]:
        """Return the one JSON object that `-o json` prints on stderr for this error."""
        return {"error": self.facts()}

    def facts(self) -> dict[str, object]:
        """Return what this error tells, for a JSON object."""
        said: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "exit": int(self.exit),
        }
        for name in ("hint", "request_id", "source"):
            if value := getattr(self, name):
                said[name] = value
        if self.detail:
            said["detail"] = self.detail
        return said
