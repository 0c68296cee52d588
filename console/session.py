"""The one object that both fronts receive: a profile, who answers it, and the drivers.

It joins what operations describe with the means to do it, and remembers what this
console believes of the log.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from console.api.engines import Engines, TrustedHead
from console.api.flow import Flow, Report
from console.config.load import Profile
from console.config.paths import state_folder
from console.credentials.secret import Secret
from console.credentials.sources import Token, obtain
from console.engines.native import native
from console.engines.native.audit import Log
from console.errors import ExitCode, PilotError
from console.model.stored import Page
from console.net.client import Apis
from console.net.drive import Drive, Exchange, arun, run

if TYPE_CHECKING:
    from console.config.names import Names
    from console.trust.monitor import Monitor, Pin
    from console.trust.note import VerifierKey

T = TypeVar("T")


class Session:
    """One profile in use. Close it: `close`, or `aclose` after `arun`."""

    def __init__(
        self,
        profile: Profile,
        environ: Mapping[str, str] | None = None,
        *,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.profile = profile
        self._environ = os.environ if environ is None else environ
        self._on_exchange = on_exchange or (lambda _: None)
        self._token: Token | None = None
        self.apis = Apis(
            {api: profile.setting(api) for api in ("policy", "gateway", "audit")},
            token=self._secret,
            ca_file=profile.setting("ca_file"),
        )

    @cached_property
    def engines(self) -> Engines:
        """Who answers each facet."""
        return native(self.log_trust)

    @cached_property
    def log_trust(self) -> PinnedLog:
        """What this console believes of the profile's log."""
        return PinnedLog(log_folder(self.profile, self._environ), self.profile.setting("log_key"))

    def token(self) -> Token | None:
        """Return the API token, asking its source once and again when it has run out."""
        ends = self._token.expires_at if self._token else None
        if self._token is None or (ends and ends.timestamp() <= time.time()):
            self._token = obtain(
                self.profile.setting("token"), self._environ, profile=self.profile.name
            )
        return self._token

    def drive(
        self,
        *,
        seconds: float = math.inf,
        idempotency_key: str = "",
        on_report: Callable[[Report], None] | None = None,
    ) -> Drive:
        """Return what one run of a flow needs; `seconds` from now is its deadline."""
        return Drive(
            self.apis,
            idempotency_key=idempotency_key,
            deadline=time.monotonic() + seconds,
            on_report=on_report or (lambda _: None),
            on_exchange=self._on_exchange,
        )

    def run(self, flow: Flow[T], drive: Drive | None = None) -> T:
        """Drive `flow` to its result."""
        return self._remembered(run(flow, drive or self.drive()))

    async def arun(self, flow: Flow[T], drive: Drive | None = None) -> T:
        """Drive `flow` to its result without blocking the loop."""
        return self._remembered(await arun(flow, drive or self.drive()))

    @cached_property
    def names(self) -> Names:
        """What completion may offer: see `config.names`."""
        from console.config.names import Names  # noqa: PLC0415  # what changes things needs none

        return Names(self.profile.name, self._environ)

    def _remembered(self, result: T) -> T:
        if isinstance(result, Page):
            self.names.remember(result.items)
        return result

    def close(self) -> None:
        """Close what `run` opened."""
        self.apis.close()

    async def aclose(self) -> None:
        """Close everything."""
        await self.apis.aclose()

    def _secret(self) -> Secret | None:
        token = self.token()
        return token.secret if token else None


def log_folder(profile: Profile, environ: Mapping[str, str]) -> Path:
    """Return where the profile's log is remembered: another address is another log."""
    place = sha256(str(profile.setting("audit")).encode()).hexdigest()[:12]
    readable = "".join(c for c in profile.name if c.isascii() and (c.isalnum() or c in "-_"))[:40]
    return state_folder(environ) / "logs" / f"{readable}-{place}"


class PinnedLog:
    """`facets.LogTrust` by the pins below one folder.

    The key is the profile's `log_key`, else the one that the log showed at first contact.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._configured = key
        self._log = Log()

    @property
    def key_file(self) -> Path:
        """The key of first contact."""
        return self.folder / "vkey"

    @cached_property
    def monitor(self) -> Monitor:
        """The heads that this console holds the log to."""
        from console.trust.monitor import Monitor  # noqa: PLC0415  # only proofs need cryptography

        return Monitor(self.folder)

    def pinned_key(self) -> str:
        """Return the key in force without asking the log; empty before first contact."""
        if self._configured:
            return self._configured
        try:
            return self.key_file.read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise PilotError(
                "log-pin-damaged",
                f"the pinned log key in {self.key_file} cannot be read",
                exit=ExitCode.LOG_FAILED,
                hint="restore it from a copy; removing it makes the console forget this log",
            ) from error

    def key(self) -> Flow[str]:
        """Return the log's verifier key, asking for it and pinning it at first contact."""
        if known := self.pinned_key():
            return known
        from tempfile import NamedTemporaryFile  # noqa: PLC0415  # once in a log's life

        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`

        head = yield from self._log.head()
        key = str(VerifierKey.parse(head.key))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # linked into place whole: another process reads the key, or none, never a part of it
        with NamedTemporaryFile(dir=self.folder, prefix="vkey-") as file:
            file.write(f"{key}\n".encode())
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, self.key_file)
        return self.pinned_key()

    def check(self, note: str) -> Flow[TrustedHead]:
        """Open the checkpoint `note`, and check that it belongs to the log as it is pinned.

        A head older than the pin is taken where the log proves that it grew from it.
        """
        from console.trust.checkpoint import open_checkpoint  # noqa: PLC0415  # see `monitor`
        from console.trust.note import VerifierKey  # noqa: PLC0415

        key = VerifierKey.parse((yield from self.key()))
        head = open_checkpoint(note.encode(), key, origin=key.name).checkpoint
        for _ in range(50):  # each that fails was beaten by one that did not
            pin = self.monitor.pinned(head.origin)
            try:
                yield from self._hold(pin, note.encode(), head.size, head.root, key)
                return TrustedHead(head.origin, head.size, head.root, datetime.now(UTC))
            except PilotError as error:
                if error.code != "log-pin-moved":
                    raise
        raise PilotError(
            "log-pin-moved",
            "other processes keep moving the pinned head of the log",
            exit=ExitCode.UNAVAILABLE,
        )

    def _hold(
        self, pin: Pin | None, note: bytes, size: int, root: bytes, key: VerifierKey
    ) -> Flow[None]:
        since = pin.size if pin else 0
        if pin is None or since in {0, size}:
            self.monitor.accept(note, key, origin=key.name, since=since)
            return
        proof = yield from self._growth(min(since, size), max(since, size))
        if size > since or proof is None:
            # without a proof, accepting is refused there, and both notes are kept
            self.monitor.accept(note, key, proof or (), origin=key.name, since=since)
        elif size:
            from console.trust.merkle import verify_consistency  # noqa: PLC0415  # see `monitor`

            try:
                verify_consistency(size, since, proof, root, pin.root)
            except PilotError:
                # refused there as well, and both notes are kept
                self.monitor.accept(note, key, origin=key.name, since=since)
                raise

    def _growth(self, old: int, new: int) -> Flow[list[bytes] | None]:
        """Ask how the log grew; None where it says that it did not, or nonsense."""
        if old == 0:
            return []
        import binascii  # noqa: PLC0415  # see `monitor`
        from base64 import b64decode  # noqa: PLC0415

        try:
            growth = yield from self._log.growth(old, new)
            return [b64decode(each, validate=True) for each in growth.hashes]
        except binascii.Error:
            return None
        except PilotError as error:
            if error.exit in {ExitCode.UNAVAILABLE, ExitCode.SIGN_IN, ExitCode.REFUSED}:
                raise
            return None
