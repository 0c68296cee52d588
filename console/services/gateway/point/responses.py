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

from console.services.gateway.point.meter import NotAnAnswerError
from console.services.home import Home, secret_file

KEY_FILE = "answers.key"
PREFIX = "resp_"
_MAC_BYTES = 16

_INCLUDABLE = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
"""The rest is about tools that run at the upstream."""

_TEXT_PARTS = frozenset({"input_text", "output_text", "refusal"})
_CALLED = frozenset({"function_call", "custom_tool_call"})
_RETURNED = frozenset({"function_call_output", "custom_tool_call_output"})


class NotOfferedError(ValueError):
    """A request asks for what is not offered, or is none. `code` is one of the table's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def answers_key(home: Home) -> bytes:
    """Return the key that binds answers' ids to grants, made and stored 0600 if there is none."""
    return secret_file(home.keys / KEY_FILE, lambda: secrets.token_bytes(32))


def checked(members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """Return a request's members, with those that can hold more written anew as they were judged.

    Raises `NotOfferedError`. Nothing that an upstream would fetch, look up or run is let
    through: references to items, files and addresses, stored prompts, its own tools.
    """
    out = dict(members)
    if "store" in members:
        if _plain(members, "store") not in {False, None}:
            raise _unoffered("`store`: answers are kept for `previous_response_id` only")
        if _plain(members, "store") is None:
            del out["store"]
    for name in ("include", "input", "tools"):
        if name not in members:
            continue
        value = _plain(members, name)
        match name:
            case "include":
                _check_include(value)
            case "input":
                _check_input(value)
        out[name] = msgspec.Raw(msgspec.json.encode(value))
    return out


def _plain(members: dict[str, msgspec.Raw], name: str) -> Any:
    try:
        return msgspec.json.decode(members[name])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotOfferedError("request_invalid", f"`{name}` is no JSON: {error}.") from None


def _check_include(value: Any) -> None:
    for each in value or ():
        if each not in _INCLUDABLE:
            raise _unoffered(f"`include` of `{str(each)[:60]}`")


def _check_input(value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise NotOfferedError("request_invalid", "`input` must be a string or a list of items.")
    for item in value:
        match item.get("type", "message"):
            case "message":
                _check_parts(item.get("content"))
            case kind if kind in _CALLED:
                pass
            case kind if kind in _RETURNED:
                _check_parts(item.get("output"))
            case "reasoning":
                if not isinstance(item.get("encrypted_content"), str):
                    raise _unoffered("Reasoning by its id alone (without `encrypted_content`)")
            case kind:
                raise _unoffered(f"Input of type `{str(kind)[:60]}`")


def _check_parts(content: Any) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise NotOfferedError("request_invalid", "`content` must be a string or a list of parts.")
    for part in content:
        kind = part.get("type")
        inline = (kind == "input_image" and _is_data(part.get("image_url"))) or (
            kind == "input_file" and isinstance(part.get("file_data"), str)
        )
        if kind not in _TEXT_PARTS and not inline:
            raise _unoffered(f"Content of type `{str(kind)[:60]}` from elsewhere")
        if any(part.get(name) is not None for name in ("file_id", "file_url")):
            raise _unoffered("Content by a file's id or address")


def _is_data(url: Any) -> bool:
    return isinstance(url, str) and url.startswith("data:")


def _unoffered(what: str) -> NotOfferedError:
    return NotOfferedError("feature_unknown", f"{what} is not offered here.")


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
        """Return the answer as the caller gets it. Raises NotAnAnswerError."""
        return msgspec.json.encode(self._renamed(body))

    def event(self, event: bytes, data: bytes | None) -> bytes:
        """Return a server-sent event as the caller gets it; `data` is what it carries.

        Raises NotAnAnswerError.
        """
        if data is None or b'"response"' not in data:
            return event
        said = _decoded(_members, data)
        if "response" not in said:
            return event
        inner = self._renamed(bytes(said["response"]))
        said["response"] = msgspec.Raw(msgspec.json.encode(inner))
        kind = _decoded(_string, said["type"]) if "type" in said else ""
        head = f"event: {kind}\n".encode() if kind else b""
        return head + b"data: " + msgspec.json.encode(said) + b"\n\n"

    def _renamed(self, response: bytes) -> dict[str, Any]:
        said: dict[str, msgspec.Raw] = _decoded(_members, response)
        out: dict[str, Any] = dict(said)
        if "id" in said:
            there = _decoded(_string, said["id"])
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
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotAnAnswerError(str(error)) from None
