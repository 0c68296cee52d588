"""TLS for listeners: a certificate of one's own, taken up again when its file changes."""

from __future__ import annotations

import asyncio
import ssl
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from console.errors import ExitCode, PilotError

LOOK_SECONDS = 30.0
"""How often the certificate's file is looked at: a renewed one is served from then on."""


class Certificate(msgspec.Struct, kw_only=True, frozen=True):
    """A certificate (with its chain, PEM) and its private key (PEM, mode 0600)."""

    cert_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        """Return what a listener serves by: TLS 1.2 at least.

        Raises `PilotError` (`bad-config`) where the files do not fit, or others may read the key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let new connections be served by what the files hold now."""
        key = Path(self.key_file)
        try:
            if stat.S_IMODE(key.stat().st_mode) & 0o077:
                raise _broken(f"{key} can be read by others; run chmod 600 on it")
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            words = getattr(error, "reason", "") or getattr(error, "strerror", "") or error
            raise _broken(
                f"the certificate {self.cert_file} and its key {self.key_file} "
                f"cannot be used: {words}"
            ) from error

    def pinned(self) -> ssl.SSLContext:
        """Return what our own probes trust: this certificate alone, whatever name it is for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(self.cert_file)
        return context


async def follow(certificate: Certificate, *contexts: ssl.SSLContext) -> None:
    """Take up a renewed certificate, for ever; one that cannot be used leaves the old in force."""
    seen = _mark(certificate)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if (now := _mark(certificate)) != seen:
            with suppress(PilotError):
                for context in contexts:
                    certificate.load_into(context)
                seen = now


def _mark(certificate: Certificate) -> tuple[int, ...]:
    marks = []
    for each in (certificate.cert_file, certificate.key_file):
        try:
            found = Path(each).stat()
            marks += [found.st_mtime_ns, found.st_ino]
        except OSError:
            marks += [0, 0]
    return tuple(marks)


def _no_password() -> str:
    raise ValueError("the key wants a password: keep it without one, mode 0600")


def _broken(message: str) -> PilotError:
    return PilotError("bad-config", message, exit=ExitCode.USAGE, hint="see pilot.toml")
