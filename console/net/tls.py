"""What is wrong with a TLS connection, in words: who has to mend what, and where.

None of these heals by trying again, so none of them is *unavailable*.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

_EXPIRED, _NOT_YET = 10, 9
_WRONG_NAMES = frozenset({62, 64})
"""X509_V_ERR_… of OpenSSL (x509_vfy.h): has expired, not yet valid, another host or address."""

PROBE_SECONDS = 3.0


class TlsFault(NamedTuple):
    """Why a server is not trusted. `why` follows the name of the API in a message."""

    code: str
    why: str
    hint: str


def tls_fault(error: BaseException, address: str, ca_file: str) -> TlsFault | None:
    """Return what is wrong with TLS, if that is what an exchange with `address` failed for."""
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _certificate_fault(each, address, ca_file)
        if isinstance(each, ssl.SSLError):
            return TlsFault(
                "tls-not-spoken",
                f"does not speak TLS as https asks ({each.reason or 'the handshake failed'})",
                "if it listens in clear, write http:// in the profile; a service serves TLS by "
                "cert_file and key_file in its pilot.toml",
            )
    return None


def clear_fault(address: str) -> TlsFault | None:
    """Return a fault where `address` says http and whoever listens there speaks TLS."""
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over it but the handshake
    try:
        _handshake(context, parts.hostname, parts.port or 80)
    except (OSError, ValueError):
        return None
    return TlsFault(
        "tls-expected",
        "speaks TLS, and the profile's address says http",
        f"write https://{parts.netloc} in the profile",
    )


def certificate_end(address: str, ca_file: str) -> datetime | None:
    """Return when the certificate of a trusted https address ends; None where that is not told."""
    parts = urlsplit(address)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        shown = _handshake(context, parts.hostname or "", parts.port or 443)
        ends = shown.get("notAfter") if shown else None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) if ends else None
    except (OSError, ValueError):
        return None


def _handshake(context: ssl.SSLContext, host: str, port: int) -> dict[str, object] | None:
    with (
        socket.create_connection((host, port), PROBE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return dict(secured.getpeercert() or {})


def _certificate_fault(error: ssl.SSLCertVerificationError, address: str, ca_file: str) -> TlsFault:
    host = urlsplit(address).hostname or address
    by = f"checked with ca_file {ca_file}" if ca_file else "checked with this system's authorities"
    if error.verify_code == _EXPIRED:
        return TlsFault(
            "certificate-expired",
            f"shows a certificate that has expired, or whose authority has ({by})",
            "renew the file that cert_file names in that service's pilot.toml: it is served "
            "without a restart",
        )
    if error.verify_code == _NOT_YET:
        return TlsFault(
            "certificate-not-yet-valid",
            f"shows a certificate that is not valid yet ({by})",
            "compare the clock of this machine with the server's",
        )
    if error.verify_code in _WRONG_NAMES:
        return TlsFault(
            "certificate-wrong-host",
            f"shows a certificate that is not for {host} ({by})",
            f"use a name that the certificate has, or have {host} put into the file that "
            "cert_file names in that service's pilot.toml",
        )
    where = ca_file or "the authorities of this system"
    return TlsFault(
        "certificate-untrusted",
        f"shows a certificate that {where} did not sign ({error.verify_message})",
        "set ca_file in the profile to the authority that signed it; if that is set, you may not "
        "be talking to the server that you mean",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
