"""C2SP signed notes: text signed by named keys (c2sp.org/signed-note@v1.0.0).

Two signature types: Ed25519 over the text (0x01), and the timestamped Ed25519 cosignature
of a witness (0x04, c2sp.org/tlog-cosignature). A note that cannot be trusted raises
`PilotError` with exit 11 and one of the codes `log-note-malformed`, `log-signature-bad`,
`log-key-unknown`; a key that cannot be read, `log-key-malformed`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from console.errors import ExitCode, PilotError

ED25519 = 0x01
COSIGNATURE = 0x04

MAX_NOTE = 1_000_000
"""Bytes of the longest note that is looked at."""
MAX_SIGNATURES = 100
"""The specification asks for at least 16."""

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_SIGNATURE_START = "\N{EM DASH} "


class VerifierKey(NamedTuple):
    """A public key with the name it signs under; `str(key)` is its C2SP text form (vkey)."""

    name: str
    kind: int
    """`ED25519` or `COSIGNATURE`."""
    public: bytes
    """32 bytes (RFC 8032)."""

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `name+hex key id+base64(kind || public key)`; the id must be the key's own."""
        name, _, rest = text.strip().partition("+")
        given, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not is_name(name) or not _KEY_ID.fullmatch(given) or not material:
            raise _bad_key("a verifier key reads name+hash+base64")
        key = cls(name, material[0], material[1:])
        if key.kind not in {ED25519, COSIGNATURE}:
            raise _bad_key(f"key type 0x{key.kind:02x} is not known here")
        if len(key.public) != 32:
            raise _bad_key(f"an Ed25519 public key is 32 bytes, not {len(key.public)}")
        if key.id.hex() != given:
            raise _bad_key(f"the key id should be {key.id.hex()}, not {given}")
        return key

    @property
    def id(self) -> bytes:
        """SHA-256(name || LF || kind || public key)[:4]: finds the key, proves nothing."""
        return sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over kind and public key, for people to compare: `sha256:<64 hex digits>`."""
        return "sha256:" + sha256(bytes((self.kind,)) + self.public).hexdigest()

    def __str__(self) -> str:
        encoded = b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check a signature (without its key id) over `text`.

        Returns the time of a cosignature (Unix seconds), None for a plain signature.
        Raises `PilotError` (`log-signature-bad`).
        """
        time, message = None, text.encode()
        if self.kind == COSIGNATURE:
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            if time >= 1 << 63:
                raise _bad_signature(self.name)
            message = _cosigned(time, message)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise _bad_signature(self.name) from None
        return time


class NoteSignature(NamedTuple):
    """One signature line of a note."""

    name: str
    key_id: bytes
    signature: bytes
    """Without the key id; for a cosignature, time and signature."""
    time: int | None = None
    """Of a verified cosignature: when it was made, in Unix seconds."""

    def line(self) -> str:
        """Return the line as it stands in the note, with its newline."""
        blob = b64encode(self.key_id + self.signature).decode()
        return f"{_SIGNATURE_START}{self.name} {blob}\n"


class Note(NamedTuple):
    """An opened note: its text and which of its signatures are known to be good."""

    text: str
    """Ends in a newline."""
    verified: tuple[NoteSignature, ...]
    unknown: tuple[NoteSignature, ...]
    """By keys that were not given: they say nothing."""


class SignerKey:
    """A private signing key. Its text form is a secret: keep it in a file made 0600."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey, kind: int = ED25519) -> None:
        if not is_name(name):
            raise _bad_key("a key name is not empty and holds neither space nor plus")
        self._private = private
        self.verifier = VerifierKey(name, kind, private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SignerKey({self.verifier.name!r})"

    @classmethod
    def generate(cls, name: str, kind: int = ED25519) -> SignerKey:
        """Make a new key."""
        return cls(name, Ed25519PrivateKey.generate(), kind)

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """Read `PRIVATE+KEY+name+hash+base64(kind || 32-byte seed)`, as Go's sumdb/note does."""
        private, key, name, given, encoded = (text.strip().split("+", 4) + [""] * 5)[:5]
        material = decode_base64(encoded)
        if (private, key) != ("PRIVATE", "KEY") or not is_name(name) or not material:
            raise _bad_key("a signer key reads PRIVATE+KEY+name+hash+base64")
        if material[0] not in {ED25519, COSIGNATURE} or len(material) != 33:
            raise _bad_key("not an Ed25519 signer key")
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(material[1:]), material[0])
        if signer.verifier.id.hex() != given:
            raise _bad_key("the key id does not belong to this signer key")
        return signer

    def secret_text(self) -> str:
        """Return the form that `parse` reads. It is the secret itself."""
        material = bytes((self.verifier.kind,)) + self._private.private_bytes_raw()
        name, id_ = self.verifier.name, self.verifier.id.hex()
        return f"PRIVATE+KEY+{name}+{id_}+{b64encode(material).decode()}"

    def sign(self, text: str, *, time: int | None = None) -> NoteSignature:
        """Sign a note's text. A cosignature needs `time`, in Unix seconds; others ignore it."""
        if self.verifier.kind != COSIGNATURE:
            signature, time = self._private.sign(text.encode()), None
        elif time is None or not 0 <= time < 1 << 63:
            raise PilotError("log-note-unsignable", "a cosignature needs the time it is made")
        else:
            signed = self._private.sign(_cosigned(time, text.encode()))
            signature = time.to_bytes(8, "big") + signed
        return NoteSignature(self.verifier.name, self.verifier.id, signature, time)


def sign_note(
    text: str,
    signers: Iterable[SignerKey],
    *,
    time: int | None = None,
    signatures: Iterable[NoteSignature] = (),
) -> bytes:
    """Write a note: `text`, the `signatures` that it already has, and one of each signer."""
    if not text.endswith("\n") or _CONTROL.search(_encoded(text)):
        raise PilotError(
            "log-note-unsignable", "a note's text ends in a newline and holds no control character"
        )
    lines = [each.line() for each in signatures]
    lines += [signer.sign(text, time=time).line() for signer in signers]
    return f"{text}\n{''.join(lines)}".encode()


def split_note(raw: bytes) -> tuple[str, list[NoteSignature]]:
    """Read a note's shape without trusting it: the text, and its signature lines."""
    if len(raw) > MAX_NOTE:
        raise _malformed(f"it is longer than {MAX_NOTE} bytes")
    if control := _CONTROL.search(raw):
        raise _malformed(f"it holds the control character 0x{control[0].hex()}")
    try:
        whole = raw.decode()
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    cut = whole.rfind("\n\n")
    if cut < 0:
        raise _malformed("no empty line separates the text from the signatures")
    text, tail = whole[: cut + 1], whole[cut + 2 :]
    if not tail.endswith("\n"):
        raise _malformed("it has no signature, or does not end in a newline")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed(f"it has more than {MAX_SIGNATURES} signatures")
    return text, [_signature(line) for line in lines]


def open_note(raw: bytes, keys: Sequence[VerifierKey]) -> Note:
    """Verify a note: at least one good signature by a known key, and no bad one.

    Signatures by other keys are kept apart and believed in nothing. Identical lines count
    once.
    """
    text, signatures = split_note(raw)
    known = {(key.name, key.id): key for key in keys}
    verified: dict[NoteSignature, None] = {}
    unknown: dict[NoteSignature, None] = {}
    for each in signatures:
        if key := known.get((each.name, each.key_id)):
            verified[each._replace(time=key.verify(text, each.signature))] = None
        else:
            unknown[each] = None
    if not verified:
        raise PilotError(
            "log-key-unknown",
            "the note is not signed by a known key",
            exit=ExitCode.LOG_FAILED,
            detail={"signed_by": [each.name for each in unknown]},
        )
    return Note(text, tuple(verified), tuple(unknown))


def is_name(name: str) -> bool:
    """Say whether `name` can be a key's name: not empty, no Unicode space, no plus."""
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 in its one canonical spelling; None for any other text."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if b64encode(raw).decode() == text else None


def _signature(line: str) -> NoteSignature:
    start, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    blob = decode_base64(encoded)
    if f"{start} " != _SIGNATURE_START or not is_name(name) or blob is None or len(blob) < 5:
        raise _malformed("a line after the text is not a signature")
    return NoteSignature(name, blob[:4], blob[4:])


def _cosigned(time: int, message: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time, message)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PilotError("log-note-unsignable", "a note's text is Unicode text") from None


def _malformed(why: str) -> PilotError:
    return PilotError("log-note-malformed", f"not a signed note: {why}", exit=ExitCode.LOG_FAILED)


def _bad_signature(name: str) -> PilotError:
    return PilotError(
        "log-signature-bad",
        f"the signature by {name!a} does not verify",
        exit=ExitCode.LOG_FAILED,
    )


def _bad_key(why: str) -> PilotError:
    return PilotError("log-key-malformed", f"not a usable key: {why}", exit=ExitCode.USAGE)
