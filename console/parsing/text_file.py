"""Text that a person hands over: a file, or standard input."""

from __future__ import annotations

from pathlib import Path

from console.streams import read_stdin

MAX_TEXT_BYTES = 1 << 20
"""The APIs take no more."""


def read_text(path: str) -> str:
    """Return the text of a file, `-` for standard input: UTF-8, at most a mebibyte.

    Raises `ValueError`, whose words are for people.
    """
    try:
        if path == "-":
            raw = read_stdin(MAX_TEXT_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(MAX_TEXT_BYTES + 1)
        if len(raw) > MAX_TEXT_BYTES:
            raise ValueError(f"{path} is longer than {MAX_TEXT_BYTES} bytes")
        return raw.decode()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from error
