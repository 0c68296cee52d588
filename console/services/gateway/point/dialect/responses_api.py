"""The OpenAI Responses API: what its requests may hold, and whose answers they go on from.

An answer's id is given to the caller in our own form: the upstream's id under a MAC that
binds it to the grant and the upstream. It needs no store, so it survives restarts and works
at every point; an id of another grant is like one that never was.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from console.services.gateway.point.dialect.shapes import invalid, unoffered
from console.services.home import Home, secret_file

KEY_FILE = "answers.key"
PREFIX = "resp_"
_MAC_BYTES = 16

_INCLUDABLE = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
"""The rest is about tools that run at the upstream."""


def answers_key(home: Home) -> bytes:
    """Return the key that binds answers' ids to grants, made and stored 0600 if there is none."""
    return secret_file(home.keys / KEY_FILE, lambda: secrets.token_bytes(32))


def checked(value: dict[str, Any]) -> dict[str, Any]:
    """Return a request's value without a `store` that is null, which upstreams take for true.

    Raises `NotOfferedError` where the answer would be stored, or holds what tools of the
    upstream found.
    """
    store = value.get("store")
    if store is not None and store is not False:
        raise unoffered("`store`: answers are kept for `previous_response_id` only")
    include = value.get("include")
    if include is not None and not isinstance(include, list):
        raise invalid("`include` must be a list.")
    for each in include or ():
        if not isinstance(each, str) or each not in _INCLUDABLE:
            raise unoffered(f"`include` of `{str(each)[:60]}`")
    if value.get("store", False) is None:
        return {name: inner for name, inner in value.items() if name != "store"}
    return value


def sealed(key: bytes, grant_id: str, upstream: str, there: str) -> str:
    """Return the id that the caller gets of an answer that the upstream calls `there`."""
    said = _mac(key, grant_id, upstream, there) + there.encode()
    return PREFIX + base64.urlsafe_b64encode(said).rstrip(b"=").decode()


def opened(key: bytes, grants: Iterable[str], upstream: str, given: str) -> str | None:
    """Return what the upstream calls an answer, or None where it is none of these grants'."""
    text = given.removeprefix(PREFIX)
    try:
        said = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        there = said[_MAC_BYTES:].decode()
    except (binascii.Error, ValueError):
        return None
    macs = [_mac(key, grant, upstream, there) for grant in grants]
    fits = [hmac.compare_digest(mac, said[:_MAC_BYTES]) for mac in macs]
    return there if given.startswith(PREFIX) and there and any(fits) else None


def _mac(key: bytes, grant_id: str, upstream: str, there: str) -> bytes:
    said = f"{grant_id}\0{upstream}\0{there}".encode()
    return hmac.new(key, said, hashlib.sha256).digest()[:_MAC_BYTES]


class Naming(NamedTuple):
    """How one call's answer is written for its caller: its own ids and names again."""

    key: bytes
    grant_id: str
    upstream: str
    previous: str
    user: str

    def whole(self, body: bytes) -> bytes:
        """Return the answer as the caller gets it; what cannot be read passes as it is."""
        renamed = self._renamed(body)
        return body if renamed is None else msgspec.json.encode(renamed)

    def event(self, event: bytes, data: bytes | None) -> bytes:
        """Return a server-sent event as the caller gets it; `data` is what it carries."""
        if data is None or b'"response"' not in data:
            return event
        said = _decoded(_members, data)
        inner = self._renamed(bytes(said["response"])) if said and "response" in said else None
        if inner is None:
            return event
        said["response"] = msgspec.Raw(msgspec.json.encode(inner))
        kind = _decoded(_string, said.get("type", b"")) or ""
        head = f"event: {kind}\n".encode() if kind else b""
        return head + b"data: " + msgspec.json.encode(said) + b"\n\n"

    def _renamed(self, response: bytes) -> dict[str, Any] | None:
        said: dict[str, msgspec.Raw] | None = _decoded(_members, response)
        if said is None:
            return None
        out: dict[str, Any] = dict(said)
        there = _decoded(_string, said.get("id", b""))
        if there is not None:
            out["id"] = sealed(self.key, self.grant_id, self.upstream, there)
        if self.previous:
            out["previous_response_id"] = self.previous
        for name in ("user", "safety_identifier"):
            if name in said and bytes(said[name]) != b"null":
                out[name] = self.user or None
        return out


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes | msgspec.Raw) -> Any:
    """Return a value of the decoder's type; None where it is another."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
