"""How long a request is: its text in bytes, and what its inline media may come to in tokens.

An image is no text: 700 KB of it are some 1,600 tokens, and not 230,000. Where no upstream
tells, media are taken as below, roughly what the labs' own documents say of large ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1_600
_AUDIO_BYTES_PER_TOKEN = 400
_FILE_BYTES_PER_TOKEN = 16
_HELD = 4
"""A hold reserves so many times what is usual: an image may be large, a page full."""


class Size(NamedTuple):
    """What is asked: bytes of JSON text, and the tokens that inline media usually come to."""

    text_bytes: int
    media_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Return the usual tokens, at four bytes of text to one."""
        return -(-self.text_bytes // BYTES_PER_TOKEN) + self.media_tokens

    @property
    def most_tokens(self) -> int:
        """Return the most tokens: a byte of text is at most one."""
        return self.text_bytes + _HELD * self.media_tokens


def size_of(value: Any, encoded: int) -> Size:
    """Return the size of a judged value whose JSON text has `encoded` bytes."""
    media, tokens = _media(value)
    return Size(max(0, encoded - media), tokens)


def _media(value: Any) -> tuple[int, int]:
    """Return the bytes of inline media in a value, and the tokens that those come to."""
    held = tokens = 0
    left = [value]
    while left:
        this = left.pop()
        if isinstance(this, list):
            left += [inner for inner in this if isinstance(inner, dict | list)]
        elif isinstance(this, dict):
            data = _data_of(this)
            if data is None:
                left += [inner for inner in this.values() if isinstance(inner, dict | list)]
            else:
                held += len(data[0])
                tokens += data[1]
    return held, tokens


def _data_of(part: dict[str, Any]) -> tuple[str, int] | None:
    """Return the inline data of a content part, and its tokens; None where it holds none."""
    match part:
        case {"type": "image_url", "image_url": {"url": str(data)}}:
            return data, IMAGE_TOKENS
        case {"type": "input_image", "image_url": str(data)}:
            return data, IMAGE_TOKENS
        case {"type": "image", "source": {"data": str(data)}}:
            return data, IMAGE_TOKENS
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return data, -(-len(data) // _AUDIO_BYTES_PER_TOKEN)
        case (
            {"type": "file", "file": {"file_data": str(data)}}
            | {"type": "input_file", "file_data": str(data)}
            | {"type": "document", "source": {"type": "base64", "data": str(data)}}
        ):
            return data, max(IMAGE_TOKENS, len(data) // _FILE_BYTES_PER_TOKEN)
    return None
