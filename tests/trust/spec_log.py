"""A tiled log written from the specifications with hashlib alone: it imports nothing of ours.

RFC 6962 for the hashes, C2SP signed-note, tlog-checkpoint and tlog-tiles for the files. It is
slow, plain and recursive on purpose.
"""

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def mth(entries):
    """RFC 6962 section 2.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def n_path(n):
    """1234067 is x001/x234/067."""
    digits = str(n)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join(["x" + group for group in groups[:-1]] + [groups[-1]])


class SpecLog:
    """A key, an origin, and a folder that holds the log of some entries."""

    def __init__(self, folder, origin="log.example/audit"):
        self.folder = Path(folder)
        self.origin = origin
        self.private = Ed25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()
        self.entries = []

    @property
    def key_id(self):
        return hashlib.sha256(self.origin.encode() + b"\n\x01" + self.public).digest()[:4]

    @property
    def vkey(self):
        key = base64.b64encode(b"\x01" + self.public).decode()
        return f"{self.origin}+{self.key_id.hex()}+{key}"

    def checkpoint(self, size, root, origin=None):
        root_text = base64.b64encode(root).decode()
        text = f"{origin or self.origin}\n{size}\n{root_text}\n"
        signature = self.key_id + self.private.sign(text.encode())
        line = f"\u2014 {self.origin} {base64.b64encode(signature).decode()}\n"
        return (text + "\n" + line).encode()

    def put(self, path, content):
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def grow(self, entries, *, history=True):
        """Add entries and write all that a tree of the new size consists of."""
        self.entries += entries
        size = len(self.entries)
        hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in self.entries]
        level = 0
        while size // 256**level:
            for n in range((size // 256**level + 255) // 256):
                width = min(256, size // 256**level - n * 256)
                partial = "" if width == 256 else f".p/{width}"
                row = hashes[n * 256 : n * 256 + width]
                self.put(f"tile/{level}/{n_path(n)}{partial}", b"".join(row))
                if level == 0:
                    bundle = b"".join(
                        len(entry).to_bytes(2, "big") + entry
                        for entry in self.entries[n * 256 : n * 256 + width]
                    )
                    self.put(f"tile/entries/{n_path(n)}{partial}", bundle)
            hashes = [
                self.full_tile_root(hashes[at : at + 256])
                for at in range(0, len(hashes) - 255, 256)
            ]
            level += 1
        note = self.checkpoint(size, self.root())
        self.put("checkpoint", note)
        if history:
            self.put(f"checkpoint.{size}", note)
        return note

    @staticmethod
    def full_tile_root(row):
        while len(row) > 1:
            row = [
                hashlib.sha256(b"\x01" + row[at] + row[at + 1]).digest()
                for at in range(0, len(row), 2)
            ]
        return row[0]

    def root(self, size=None):
        return mth(self.entries[: len(self.entries) if size is None else size])


def numbered(count, start=0):
    """Entries that differ, of several lengths, one of them empty in every 97."""
    return [
        b"" if at % 97 == 96 else b'{"entry":%d,"pad":"%b"}' % (at, b"x" * (at % 41))
        for at in range(start, start + count)
    ]
