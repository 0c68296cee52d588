"""What a pilot keeps of what is sent and answered: nothing, its hashes, or sealed copies."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec

from console.model.access import ContentKeeping
from console.model.grant import GrantProjection
from console.services.gateway.decision.content_crypto import ContentKeys, day_of, seal
from console.services.gateway.point.dialect.request_body import Body
from console.services.wire.points import KeptContent, Said

MAX_KEPT_BYTES = 1024 * 1024
"""Of each, the request and the answer. The hashes are of the whole."""


class Kept:
    """What is kept of one call, as it passes."""

    __slots__ = ("_answer", "_days", "_grant", "_hash", "_keys", "_request", "_room", "mode",
                 "request_sha256")  # fmt: skip

    def __init__(
        self, keys: ContentKeys, grant: GrantProjection, received: bytes, sent_on: bytes
    ) -> None:
        """`received` is what the caller sent, `sent_on` what the upstream gets of it."""
        self.mode = grant.content
        if self.mode == ContentKeeping.SEALED and grant.content_days < 1:
            self.mode = ContentKeeping.HASHED  # for no time: what is sealed would be gone at once
        self.request_sha256 = hashlib.sha256(received).hexdigest()
        self._grant = grant
        self._keys = keys
        self._days = grant.content_days
        self._hash = hashlib.sha256()
        self._answer: list[bytes] = []
        self._room = MAX_KEPT_BYTES + 1
        self._request = sent_on[: MAX_KEPT_BYTES + 1]

    def answered(self, part: bytes) -> None:
        """Take in what the caller is sent, in order."""
        self._hash.update(part)
        if self.mode == ContentKeeping.SEALED and self._room > 0:
            self._answer.append(part[: self._room])
            self._room -= len(part)

    @property
    def answer_sha256(self) -> str:
        """The hash of what the caller was sent so far (hex)."""
        return self._hash.hexdigest()

    def sealed(self, call: str, ended_at: datetime) -> bytes:
        """Return what goes to control, encoded; nothing where only hashes are kept."""
        if self.mode != ContentKeeping.SEALED:
            return b""
        answer = b"".join(self._answer)
        expires_at = ended_at + timedelta(days=self._days)
        plain = msgspec.msgpack.encode(
            Said(request=self._request[:MAX_KEPT_BYTES], answer=answer[:MAX_KEPT_BYTES])
        )
        return msgspec.json.encode(
            KeptContent(
                call=call,
                pilot=self._grant.pilot,
                partner=self._grant.partner,
                stored_at=ended_at,
                expires_at=expires_at,
                truncated=max(len(self._request), len(answer)) > MAX_KEPT_BYTES,
                sealed=seal(self._keys.public(day_of(expires_at)), call, plain),
            )
        )


def keeping(
    keys: ContentKeys, grant: GrantProjection | None, received: bytes, body: Body
) -> Kept | None:
    """Return what is kept of a call under `grant`, None where that is nothing.

    `received` is what the caller sent, `body` what the upstream gets of it.
    """
    if grant is None or grant.content not in {ContentKeeping.HASHED, ContentKeeping.SEALED}:
        return None
    return Kept(keys, grant, received, body.encode(body.model))
