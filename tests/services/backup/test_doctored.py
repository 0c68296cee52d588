"""A backup that somebody changed and signed with a key of their own restores nowhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from console.model.backup import Manifest
from console.services import supervisor
from console.services.audit.log.signing_keys import new_signer
from console.services.backup.archive import member_of, write
from console.services.backup.seal import seal
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.note import SignerKey
from tests.thread.pilot_rig import Rig, running, short_folder

WHY = ("--reason", "a rehearsal", "--yes", "-o", "json")
PHRASE = "a long enough passphrase\n"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as found:
        (folder / "passphrase").touch(0o600)
        (folder / "passphrase").write_text(PHRASE)
        found.ok("operator", "add", "viewer", "--role", "viewer", *WHY)
        found.ok("backup", str(folder / "whole.tar"), "--passphrase-file", f"{folder}/passphrase")
        found.ok("backup", str(folder / "without.tar"), "--without-keys")
        yield found


def restored(rig: Rig, archive: Path, *more: str) -> tuple[int, str]:
    """Try to restore into an empty folder; return the exit code and the error's code."""
    fresh = rig.home.parent / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    sealed = ("--passphrase-file", str(rig.home.parent / "passphrase"))
    tried = ("--home", str(fresh), "--dry-run", *sealed, *WHY, *more)
    done = rig.cli("restore", str(archive), *tried)
    assert not list(fresh.glob("*.db"))
    return done.exit, json.loads(done.err)["error"]["code"] if done.exit else ""


def doctored(rig: Rig, signer: SignerKey, keys: bytes | None = None) -> Path:
    """The backup with an admin in it that never was, signed by `signer`."""
    folder = rig.home.parent / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(rig.home.parent / "whole.tar") as tar:
        tar.extractall(folder, filter="data")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    with closing(sqlite3.connect(folder / "stores" / "policy.db")) as conn, conn:
        (raw,) = conn.execute("SELECT body FROM operator_accounts WHERE name='viewer'").fetchone()
        body = bytes(raw).replace(b'"roles":["viewer"]', b'"roles":["admin"]')
        assert body != bytes(raw)
        conn.execute("UPDATE operator_accounts SET body=? WHERE name='viewer'", (body,))
        token = hashlib.sha256(b"mine").hexdigest()
        conn.execute("INSERT INTO operator_tokens VALUES ('tkn_x', 'viewer', ?, NULL)", (token,))
    if keys is not None:
        (folder / "keys.sealed").write_bytes(keys)
    files = {each.name: folder / each.name for each in manifest.members}
    changed = msgspec.structs.replace(
        manifest,
        log_key=str(signer.verifier),
        members=[member_of(name, path) for name, path in files.items()],
    )
    target = rig.home.parent / "doctored.tar"
    target.unlink(missing_ok=True)
    write(target, changed, signer, files)
    return target


def test_a_backup_signed_by_another_key_is_refused_on_a_machine_without_any(rig: Rig) -> None:
    other = new_signer("pilotctl.local/other")
    own = str(other.verifier)
    assert restored(rig, doctored(rig, other)) == (5, "backup-untrusted")
    # Keys of their own do not open under the passphrase of this pilot.
    theirs = seal(b"", b"the passphrase of somebody else")
    assert restored(rig, doctored(rig, other, theirs)) == (5, "backup-sealed")
    # The key that the pilot's log has is not theirs; and who names theirs has the wrong keys in it.
    vkey = (rig.home / "log.vkey").read_text().strip()
    assert restored(rig, doctored(rig, other), "--vkey", vkey) == (5, "backup-untrusted")
    assert restored(rig, doctored(rig, other), "--vkey", own) == (5, "backup-untrusted")


def test_a_whole_backup_is_believed_by_its_sealed_key_or_by_a_key_that_is_named(rig: Rig) -> None:
    folder = rig.home.parent
    vkey = (rig.home / "log.vkey").read_text().strip()
    assert restored(rig, folder / "whole.tar") == (0, "")
    assert restored(rig, folder / "whole.tar", "--vkey", vkey) == (0, "")
    assert restored(rig, folder / "without.tar") == (5, "backup-untrusted")
    assert restored(rig, folder / "without.tar", "--vkey", vkey) == (0, "")
    other = str(new_signer("pilotctl.local/other").verifier)
    assert restored(rig, folder / "whole.tar", "--vkey", other) == (5, "backup-untrusted")


def test_a_state_folder_with_a_log_key_believes_no_other_without_its_verifier_file(
    rig: Rig,
) -> None:
    home = rig.home.parent / "keyed"
    (home / "keys").mkdir(parents=True, mode=0o700)
    shutil.copy(rig.home / "keys" / "log.key", home / "keys" / "log.key")
    archive = doctored(rig, new_signer("pilotctl.local/other"))
    done = rig.cli("restore", str(archive), "--home", str(home), *WHY)
    assert (done.exit, json.loads(done.err)["error"]["code"]) == (5, "backup-untrusted")


@pytest.fixture(scope="module", params=["rotate-key", "restart"])
def rotated(request: pytest.FixtureRequest) -> Iterator[tuple[Rig, SignerKey]]:
    """A stopped pilot whose log passed to another key after its backup, and the old key."""
    with short_folder() as folder, running(folder / "home") as rig:
        (folder / "passphrase").touch(0o600)
        (folder / "passphrase").write_text(PHRASE)
        rig.ok("operator", "add", "viewer", "--role", "viewer", *WHY)
        rig.logged()
        rig.ok("backup", str(folder / "whole.tar"), "--passphrase-file", f"{folder}/passphrase")
        old = SignerKey.parse((rig.home / "keys" / "log.key").read_text())
        rig.do(f"log.{request.param}", reason="a rehearsal")
        rig.until(lambda: str(old.verifier) not in (rig.home / "log.vkey").read_text())
        rig.logged()
        rig.ok("backup", str(folder / "newer.tar"), "--passphrase-file", f"{folder}/passphrase")
        supervisor.stop(rig.home)
        yield rig, old


def in_place(rig: Rig, archive: Path, *more: str) -> tuple[int, str]:
    """Try to restore into the pilot's own folder; return the exit code and what was said."""
    sealed = ("--passphrase-file", str(rig.home.parent / "passphrase"))
    done = rig.cli("restore", str(archive), "--dry-run", *sealed, *WHY, *more)
    return done.exit, json.loads(done.err)["error"]["message"] if done.exit else ""


def signed(rig: Rig, name: str, signer: SignerKey, **changed: object) -> Path:
    """A backup with another manifest, signed by `signer`."""
    folder = rig.home.parent / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(rig.home.parent / name) as tar:
        tar.extractall(folder, filter="data")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    files = {each.name: folder / each.name for each in manifest.members}
    target = rig.home.parent / "signed.tar"
    target.unlink(missing_ok=True)
    write(target, msgspec.structs.replace(manifest, **changed), signer, files)
    return target


def head_of(signer: SignerKey, size: int) -> dict[str, object]:
    """A head of a log that never was, as a manifest holds it."""
    note = sign_checkpoint(Checkpoint(signer.verifier.name, size, bytes(32)), signer)
    return {"log_head": note.decode(), "tree_size": size}


def test_a_backup_by_a_key_that_was_rotated_away_is_believed_only_where_it_is_named(
    rotated: tuple[Rig, SignerKey],
) -> None:
    rig, old = rotated
    folder, named = rig.home.parent, ("--vkey", str(old.verifier))
    assert in_place(rig, folder / "newer.tar") == (0, "")
    code, why = in_place(rig, folder / "whole.tar")
    assert code == 5
    assert "no longer signs" in why
    assert in_place(rig, folder / "whole.tar", *named) == (0, "")


def test_a_key_that_was_rotated_away_signs_nothing_for_the_one_in_force(
    rotated: tuple[Rig, SignerKey],
) -> None:
    rig, old = rotated
    archive = signed(rig, "newer.tar", old)
    assert in_place(rig, archive)[0] == 5
    assert in_place(rig, archive, "--vkey", str(old.verifier))[0] == 5


def test_a_key_that_was_rotated_away_cannot_sign_another_log_than_the_one_that_is_here(
    rotated: tuple[Rig, SignerKey],
) -> None:
    rig, old = rotated
    named = ("--vkey", str(old.verifier))
    code, why = in_place(rig, signed(rig, "whole.tar", old, **head_of(old, 1000)), *named)
    assert (code, "signed only" in why) == (5, True)
    code, why = in_place(rig, signed(rig, "whole.tar", old, **head_of(old, 2)), *named)
    assert (code, "not those of the log that is here" in why) == (5, True)


def test_the_head_in_a_backup_is_signed_by_its_key_and_of_its_size(rig: Rig) -> None:
    own = SignerKey.parse((rig.home / "keys" / "log.key").read_text())
    other = new_signer(own.verifier.name)
    for changed in (head_of(other, 2), {"tree_size": 1}):
        archive = signed(rig, "whole.tar", own, **changed)
        assert restored(rig, archive) == (5, "backup-untrusted")
    assert restored(rig, signed(rig, "whole.tar", own)) == (0, "")
