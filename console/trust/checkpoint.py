"""C2SP checkpoints: a log's signed head (c2sp.org/tlog-checkpoint).

The text is three lines: origin, size, root. Extension lines are read, because a signature
covers them, and never written. The parser is strict: one spelling for each checkpoint.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from console.errors import ExitCode, PilotError
from console.trust.merkle import EMPTY_ROOT, HASH_SIZE
from console.trust.note import Note, SignerKey, VerifierKey, decode_base64, open_note, sign_note

MAX_SIZE = (1 << 63) - 1
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(NamedTuple):
    """The head of a log: which log, how many entries, and the root over all of them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the note text of this checkpoint, three lines and any extensions."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


class SignedCheckpoint(NamedTuple):
    """A checkpoint whose signature has been verified, with the note that proves it."""

    checkpoint: Checkpoint
    note: bytes
    """Verbatim, as it was served."""
    opened: Note


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text; `PilotError` (`log-checkpoint-malformed`, exit 11) otherwise."""
    if not text.endswith("\n"):
        raise _malformed("the text does not end in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise _malformed("it needs origin, size and root, and no line may be empty")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise _malformed("the size is not a decimal number below 2^63")
    decoded = decode_base64(root)
    if decoded is None or len(decoded) != HASH_SIZE:
        raise _malformed("the root is not the base64 of 32 bytes")
    if size == "0" and decoded != EMPTY_ROOT:
        raise _malformed("a log without entries has only one root, and this is not it")
    return Checkpoint(origin, int(size), decoded, tuple(lines[3:]))


def open_checkpoint(
    note: bytes,
    key: VerifierKey,
    *,
    origin: str | None = None,
    witnesses: Sequence[VerifierKey] = (),
) -> SignedCheckpoint:
    """Verify and read a signed checkpoint.

    The log's own `key` must have signed. `origin` is what the first line must say, the
    key's name unless given. Raises `PilotError` with exit 11: the codes of `note`,
    `log-checkpoint-malformed` or `log-origin-wrong`.
    """
    open_note(note, (key,))
    opened = open_note(note, (key, *witnesses))
    checkpoint = parse_checkpoint(opened.text)
    expected = origin or key.name
    if checkpoint.origin != expected:
        raise PilotError(
            "log-origin-wrong",
            f"this is the log {checkpoint.origin!a}, not {expected!a}",
            exit=ExitCode.LOG_FAILED,
        )
    return SignedCheckpoint(checkpoint, note, opened)


def sign_checkpoint(checkpoint: Checkpoint, signer: SignerKey) -> bytes:
    """Write the signed note of a checkpoint, in the form that `open_checkpoint` reads."""
    parse_checkpoint(checkpoint.text())
    return sign_note(checkpoint.text(), (signer,))


def cosign(signed: SignedCheckpoint, witness: SignerKey, time: int) -> bytes:
    """Add a witness's cosignature, made at `time` (Unix seconds), to a verified checkpoint."""
    kept = (*signed.opened.verified, *signed.opened.unknown)
    return sign_note(signed.opened.text, (witness,), time=time, signatures=kept)


def _malformed(why: str) -> PilotError:
    return PilotError(
        "log-checkpoint-malformed", f"not a checkpoint: {why}", exit=ExitCode.LOG_FAILED
    )
