"""How long a request is: its text in bytes, and what its inline media may come to in tokens.

An image is no text: 700 KB of it are some 1,600 tokens, and not 230,000. Where no upstream
tells, media are taken as below, roughly what the labs' own documents say of large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def size_of(asked: Any, encoded: int) -> Size:
    """Return the size of what is asked, whose JSON text has `encoded` bytes with all beside it.

    `asked` is the judged list of messages or items, the only place of content parts; a text
    has none.
    """
    held = tokens = 0
    for part in _content_parts(asked):
        data = _data_of(part)
        if data is not None:
            held += len(data[0])
            tokens += data[1]
    return Size(max(0, encoded - held), tokens)


def _content_parts(asked: Any) -> Iterator[dict[str, Any]]:
    """Iterate over messages, items and their content parts, those within parts too.

    Nothing else is looked into: a tool's call or schema may hold anything, and what is shaped
    like a part there is read as text.
    """
    left = [asked]
    while left:
        this = left.pop()
        if isinstance(this, list):
            left += this
        elif isinstance(this, dict):
            yield this
            source = this.get("source")
            within = source.get("content") if isinstance(source, dict) else None
            places = (this.get("content"), this.get("output"), within)
            left += [inner for inner in places if isinstance(inner, list)]


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
