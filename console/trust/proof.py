"""C2SP transparency log proofs: one entry's inclusion, verifiable offline (tlog-proof).

The text form goes into a file with the suffix `.tlog-proof`. It holds the index, the
inclusion proof and the signed checkpoint verbatim, but not the entry: that is the other
half of the evidence.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from console.errors import ExitCode, PilotError
from console.trust.checkpoint import SignedCheckpoint, open_checkpoint
from console.trust.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from console.trust.note import VerifierKey, decode_base64

HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Proof(NamedTuple):
    """That some entry is number `leaf_index` of the log which signed `checkpoint`."""

    leaf_index: int
    hashes: tuple[bytes, ...]
    """From the leaf's sibling up to the root's child."""
    checkpoint: bytes
    """The signed note, verbatim."""
    extra: bytes | None = None
    """Whatever the maker added. Nothing authenticates it."""

    def text(self) -> bytes:
        """Return the file's bytes."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {b64encode(self.extra).decode()}")
        lines.append(f"index {self.leaf_index}")
        lines += [b64encode(each).decode() for each in self.hashes]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def parse_proof(raw: bytes) -> Proof:
    """Read a proof file; `PilotError` (`log-proof-malformed`, exit 11) for anything else."""
    head, gap, checkpoint = raw.partition(b"\n\n")
    if not gap or not head.isascii():
        raise _malformed("no empty line leads to a checkpoint")
    lines = head.decode().split("\n")
    if lines.pop(0) != HEADER:
        raise _malformed(f"the first line is not {HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise _malformed("the extra data is not base64")
    index = lines.pop(0) if lines else ""
    if not index.startswith("index ") or not _INDEX.fullmatch(index.removeprefix("index ")):
        raise _malformed("it does not name an index")
    if len(lines) > 63:
        raise _malformed("no inclusion proof has more than 63 hashes")
    hashes = tuple(_hash(line) for line in lines)
    return Proof(int(index.removeprefix("index ")), hashes, checkpoint, extra)


def verify_proof(
    proof: Proof,
    entry: bytes,
    key: VerifierKey,
    *,
    origin: str | None = None,
    witnesses: Sequence[VerifierKey] = (),
) -> SignedCheckpoint:
    """Check that the exact bytes `entry` are in the log under `key`'s signature.

    Returns the checkpoint that shows it. Raises `PilotError` (exit 11) as `open_checkpoint`
    and `verify_inclusion` do.
    """
    signed = open_checkpoint(proof.checkpoint, key, origin=origin, witnesses=witnesses)
    head = signed.checkpoint
    verify_inclusion(leaf_hash(entry), proof.leaf_index, head.size, proof.hashes, head.root)
    return signed


def _hash(line: str) -> bytes:
    decoded = decode_base64(line)
    if decoded is None or len(decoded) != HASH_SIZE:
        raise _malformed("a line of the proof is not the base64 of 32 bytes")
    return decoded


def _malformed(why: str) -> PilotError:
    return PilotError("log-proof-malformed", f"not a log proof: {why}", exit=ExitCode.LOG_FAILED)
