"""Whose backup it is: the keys by which a backup is believed, before anything of it is used.

Those are the key that the operator names, else those of the state folder, else the log key in
the backup's sealed part, which only the passphrase opens. A key that a backup merely names is
anybody's.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from console.errors import ExitCode, PilotError
from console.services.audit.log import handover
from console.services.audit.migrations import STEPS as AUDIT_STEPS
from console.services.backup.seal import unseal
from console.services.home import Home
from console.services.store import Step, Store
from console.trust.note import SignerKey, VerifierKey


def trusted(home: Home, vkey: str) -> list[VerifierKey]:
    """Return the keys that may have signed the backup: the one named, else the home's own."""
    if vkey:
        return [VerifierKey.parse(vkey)]
    keys = []
    with suppress(OSError):
        keys.append(VerifierKey.parse((home.path / "log.vkey").read_text().strip()))
    with suppress(OSError, ValueError):
        keys.append(SignerKey.parse((home.keys / "log.key").read_text()).verifier)
    if not keys:
        return []
    with suppress(PilotError, OSError), opened(home.store("audit"), AUDIT_STEPS) as audit:
        name = keys[0].name
        keys += audit.read_now(lambda conn: handover.keys_before(conn, name))
        keys += audit.read_now(lambda conn: handover.ended_keys(conn, name))
    return keys


def sealed_key(unpacked: Path, passphrase: bytes | None) -> VerifierKey:
    """Return the log key in the sealed part of a backup: only the passphrase leads to it."""
    sealed = unpacked / "keys.sealed"
    if not sealed.exists():
        raise untrusted("it holds no keys, and there are none here: nothing tells whose it is")
    return log_key_of(unsealed(sealed, passphrase))


def unsealed(sealed: Path, passphrase: bytes | None) -> dict[str, bytes]:
    """Return the sealed keys by their file names."""
    if passphrase is None:
        raise PilotError(
            "missing-value",
            "the keys in the backup are sealed, and there are none in the state folder",
            exit=ExitCode.USAGE,
            hint="give the passphrase with --passphrase-file",
        )
    plain = unseal(sealed.read_bytes(), passphrase)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for info in tar:
            content = tar.extractfile(info)
            if content is not None and Path(info.name).name == info.name:
                found[info.name] = content.read()
    return found


def log_key_of(keys: dict[str, bytes]) -> VerifierKey:
    """Return the verifier of the log key among these. Raises `PilotError` where there is none."""
    try:
        return SignerKey.parse(keys["log.key"].decode()).verifier
    except (KeyError, ValueError, PilotError):
        raise untrusted("its sealed part holds no key of a log") from None


def untrusted(why: str) -> PilotError:
    """Return the error (exit 5) that says why a backup is not believed."""
    return PilotError(
        "backup-untrusted",
        f"the backup is not trusted: {why}",
        exit=ExitCode.REFUSED,
        hint="nothing was changed; name the key of its log: --vkey KEY (`pilotctl log show`)",
    )


@contextmanager
def opened(path: Path, steps: Sequence[Step]) -> Iterator[Store]:
    """Open a store for a while. Raises the `PilotError` `not-found` where there is none."""
    if not path.exists():
        raise PilotError("not-found", f"there is no store {path.name}", exit=ExitCode.NOT_FOUND)
    store = Store.open(path, steps, readers=1)
    try:
        yield store
    finally:
        store.close()
