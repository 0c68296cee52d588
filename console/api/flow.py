"""Flows: what an operation does to the APIs, described and not done.

A flow is a generator. It yields what it wants (`Call`, `Many`, `Wait`, `Report`, or one of
the questions about the log), is sent what came back, and returns its result. It has no
other effect, so a driver may be synchronous or asynchronous, may stop between two yields,
and a test feeds the replies by hand. `net/driver.py` holds the two drivers.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from console.api.route import Call
from console.model.log import LogSuccession

T = TypeVar("T")


class Many(NamedTuple):
    """Calls that may run side by side. Answered by one outcome each, in order."""

    calls: Sequence[Call]


class Wait(NamedTuple):
    """Ask again later: the driver sleeps `seconds`, or raises at its deadline.

    Answered by the seconds left until the deadline (`inf` where there is none); a flow
    that must end by then looks at it.
    """

    seconds: float


class Report(NamedTuple):
    """A step that is worth showing as it happens. `state` is the result so far."""

    text: str
    state: Any = None


class Waiting(NamedTuple):
    """The state of a report that says: `api` is not there, and is waited for before going on."""

    api: str


class CheckHead(NamedTuple):
    """Open a checkpoint with the pinned key, and check that the log only grew.

    Answered by a `TrustedHead`; raises exit 11 where the signature or the growth does not hold.
    """

    note: str


class PinnedKey(NamedTuple):
    """Answered by the log's verifier key (C2SP signed note), pinned at first contact."""


class SigningKeys(NamedTuple):
    """Answered by the keys that have signed the pinned log, oldest first, without asking it."""


class CheckSuccession(NamedTuple):
    """Read the log that took the place of the pinned one, and check it against the pin.

    Answered by a `LogSuccession`; raises `log-not-restarted` where none did, exit 11 where it
    does not hold.
    """


class TrustedHead(NamedTuple):
    """A log head whose signature, and growth from the pinned head, have been checked."""

    origin: str
    size: int
    root: bytes
    at: datetime
    """When this console checked it."""
    key: str = ""
    """The verifier key that signed it: the pinned one, or one that it followed or preceded."""


TrustStep: TypeAlias = CheckHead | PinnedKey | SigningKeys | CheckSuccession
Step: TypeAlias = Call | Many | Wait | Report | TrustStep
Flow: TypeAlias = Generator[Step, Any, T]


class LogTrust(Protocol):
    """Who answers the steps about the log: what this console believes of it, by its pins."""

    def check(self, note: str) -> Flow[TrustedHead]:
        """Answer `CheckHead`."""

    def key(self) -> Flow[str]:
        """Answer `PinnedKey`."""

    def keys(self) -> list[str]:
        """Answer `SigningKeys`."""

    def succession(self) -> Flow[LogSuccession]:
        """Answer `CheckSuccession`."""


def check_head(note: str) -> Flow[TrustedHead]:
    """Return the head of the checkpoint `note`, checked against the pinned log."""
    head: TrustedHead = yield CheckHead(note)
    return head


def pinned_key() -> Flow[str]:
    """Return the log's verifier key, pinned at first contact."""
    key: str = yield PinnedKey()
    return key


def signing_keys() -> Flow[list[str]]:
    """Return the keys that have signed the pinned log, oldest first."""
    keys: list[str] = yield SigningKeys()
    return keys


def check_succession() -> Flow[LogSuccession]:
    """Return the log that took the place of the pinned one, checked against the pin."""
    found: LogSuccession = yield CheckSuccession()
    return found
