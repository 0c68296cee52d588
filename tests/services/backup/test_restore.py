"""Backup and restore over real processes: what was revoked stays dead, whatever is restored."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.services import supervisor
from tests import nursery
from tests.services.backup.closing_cases import signs_in
from tests.thread.pilot_rig import ROOT, Rig, granted, key_of, programme, running, short_folder

WHY = ("--reason", "a rehearsal")


@pytest.fixture
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home", points=2) as found:
        programme(found)
        yield found


def backup(rig: Rig, name: str = "pilot.tar", *, keys: bool = True) -> Path:
    """Back the pilot up, its keys sealed or left out."""
    phrase = rig.home.parent / "passphrase"
    if not phrase.exists():
        phrase.touch(0o600)
        phrase.write_text("a long enough passphrase\n")
    how = ("--passphrase-file", str(phrase)) if keys else ("--without-keys",)
    target = rig.home.parent / name
    rig.ok("backup", str(target), *how)
    return target


def restored(rig: Rig, archive: Path, *more: str) -> dict[str, object]:
    phrase = rig.home.parent / "passphrase"
    words = ("restore", str(archive), *WHY, "--yes", "--passphrase-file", str(phrase), *more)
    return json.loads(rig.ok(*words, "-o", "json"))


def refused_everywhere(rig: Rig, key: str) -> set[str]:
    """The code with which each point refuses a key."""
    codes = set()
    for base in rig.points():
        answer = rig.call(key, base=base)
        assert answer.status_code >= 400
        codes.add(answer.json()["error"]["code"])
    return codes


def released(rig: Rig, lock: str) -> None:
    rig.ok("lock", "release", lock, *WHY, "--yes")


def test_a_key_that_was_revoked_after_the_backup_is_dead_after_the_restore(rig: Rig) -> None:
    grant = granted(rig).id
    (dead, dead_key), (_, living_key) = key_of(rig, grant), key_of(rig, grant)
    archive = backup(rig)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    rig.ok("key", "revoke", dead, *WHY, "--confirm", "acme")
    before = rig.json("log", "show")["tree_size"]
    supervisor.stop(rig.home)

    said = restored(rig, archive)

    assert (said["log"], said["tombstones"], said["keys_ended"]) == ("continued", 1, 0)
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    # The gateway starts locked: nothing is served at all.
    assert refused_everywhere(rig, living_key) == {"locked"}
    assert rig.json("log", "show")["tree_size"] > before
    rig.ok("audit", "verify")
    released(rig, str(said["lock_id"]))
    assert refused_everywhere(rig, dead_key) == {"key_revoked"}
    assert rig.until(lambda: rig.call(living_key, base=rig.points()[0]).status_code == 200)
    assert {"backup.create", "backup.restore", "key.revoke"} <= set(rig.actions())


def test_a_log_that_lost_entries_goes_on_as_a_new_one_and_the_console_that_pinned_it_is_told(
    rig: Rig,
) -> None:
    dead, dead_key = key_of(rig, granted(rig).id)
    archive = backup(rig)
    rig.ok("key", "revoke", dead, *WHY, "--confirm", "acme")
    pinned = rig.json("log", "show")  # this console has pinned a head with the revocation in it
    day_key = rig.home / "keys" / "content" / "2999-01-01.key"
    day_key.write_bytes(bytes(32))
    supervisor.stop(rig.home)
    # The log and its store are gone; what the gateway holds can still be read.
    shutil.rmtree(rig.home / "log")
    (rig.home / "audit.db").write_bytes(b"nothing of a store")

    said = restored(rig, archive)

    assert (said["log"], said["old_origin"]) == ("new", pinned["origin"])
    assert said["old_size"] == pinned["tree_size"]
    assert said["tombstones"] == 1
    assert list(rig.home.rglob(day_key.name)) == [day_key], "no key of content stays aside"
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    released(rig, str(said["lock_id"]))
    assert refused_everywhere(rig, dead_key) == {"key_revoked"}
    # The console says so, and what opens is refused, until its operator has looked at it.
    told = rig.cli("log", "show")
    assert told.exit == 11
    assert "log-restarted" in told.err
    assert str(said["origin"]) in told.err
    found = rig.json("log", "succession")
    assert found["named_size"] == pinned["tree_size"]
    assert found["missing"] == pinned["tree_size"] - found["carried"] > 0
    assert rig.cli("log", "repin").exit == 10
    assert rig.cli("log", "repin", "--confirm", "another").exit == 10
    assert rig.json("log", "repin", "--confirm", str(said["origin"]))["repinned"] is True
    assert rig.json("log", "show")["origin"] == said["origin"]
    first = rig.json("audit", "show", "0")
    body = json.loads(first["body"])["unmapped"]["facts"]
    assert (first["action"], body["old_size"]) == ("log.restart", pinned["tree_size"])
    rig.ok("audit", "verify")


@pytest.mark.long
def test_an_operator_whose_event_is_too_large_to_tell_what_they_became_is_cut_off(
    rig: Rig,
) -> None:
    rig.do("operator.add", operator="robot", kind="service", roles=["operator"], reason="r")
    tokens = [str(rig.do("operator.token", operator="robot", reason="r").secret) for _ in range(90)]
    rig.do("operator.add", operator="bystander", roles=["viewer"], reason="r")
    living = str(rig.do("operator.token", operator="bystander", reason="r").secret)
    assert signs_in(rig, tokens[0], "partner.list")
    archive = backup(rig)
    rig.ok("operator", "set", "robot", "--role", "viewer", *WHY, "--yes")
    rig.logged()
    supervisor.stop(rig.home)
    # Only the log tells of it.
    for name in ("policy.db", "gateway.db", "audit.db"):
        (rig.home / name).unlink()

    said = restored(rig, archive)

    warnings, commands = said["warnings"], said["next"]
    assert isinstance(warnings, list)
    assert any(each.startswith("operator.set of robot could not be kept") for each in warnings), (
        said
    )
    assert said["operators_cut"] == ["robot"]
    assert said["tokens_ended"] == len(tokens)
    assert isinstance(commands, list)
    assert "pilotctl owner restore robot --reason '…'" in commands
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    rig.forget()
    released(rig, str(said["lock_id"]))
    assert rig.do("operator.show", operator="robot").state == "cut"
    assert not signs_in(rig, tokens[0], "partner.list")
    assert signs_in(rig, living, "partner.list"), "of the others everything is known"


def test_where_nothing_newer_can_be_read_every_key_of_the_backup_ends(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    archive = backup(rig)
    supervisor.stop(rig.home)
    other = rig.home.parent / "other"
    said = restored(rig, archive, "--home", str(other))
    assert (said["keys_ended"], said["log"]) == (1, "continued")
    assert said["newest_copy"] == []
    shutil.rmtree(rig.home)
    other.rename(rig.home)
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    assert refused_everywhere(rig, key) == {"key_revoked"}
    released(rig, str(said["lock_id"]))
    assert refused_everywhere(rig, key) == {"key_revoked"}
    assert rig.cli("log", "show").exit in {0, 11}


@pytest.mark.long
def test_a_damaged_cut_or_changed_archive_is_refused_and_nothing_changes(rig: Rig) -> None:
    archive = backup(rig)
    without = backup(rig, "without.tar", keys=False)
    supervisor.stop(rig.home)
    before = {path: path.stat().st_mtime_ns for path in rig.home.rglob("*.db")}
    raw = archive.read_bytes()
    at = raw.index(b"SQLite format 3") + 5000
    bad = {
        "cut.tar": raw[: len(raw) // 2],
        "flipped.tar": raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :],
        "claimed.tar": raw.replace(b'"tree_size": ', b'"tree_size": 1', 1),
        "empty.tar": b"",
    }
    for name, content in bad.items():
        path = rig.home.parent / name
        path.write_bytes(content)
        done = rig.cli("restore", str(path), *WHY, "--yes", "-o", "json")
        assert done.exit == 1, (name, done.err)
        assert json.loads(done.err)["error"]["code"] == "backup-damaged"
    # Somebody else's backup, though whole, is not this pilot's.
    with short_folder() as folder, running(folder / "home") as other:
        other.ok("backup", str(folder / "other.tar"), "--without-keys")
        stranger = (folder / "other.tar").read_bytes()
    path = rig.home.parent / "stranger.tar"
    path.write_bytes(stranger)
    done = rig.cli("restore", str(path), *WHY, "--yes", "-o", "json")
    assert (done.exit, json.loads(done.err)["error"]["code"]) == (5, "backup-untrusted")
    assert {path: path.stat().st_mtime_ns for path in rig.home.rglob("*.db")} == before
    # Not confirmed, and a wrong passphrase where the keys are needed.
    assert rig.cli("restore", str(archive), *WHY).exit == 10
    wrong = rig.home.parent / "wrong"
    wrong.touch(0o600)
    wrong.write_text("another passphrase\n")
    elsewhere = ("--home", str(rig.home.parent / "x"), "--passphrase-file", str(wrong))
    assert rig.cli("restore", str(archive), *WHY, "--yes", *elsewhere).exit == 5
    # Without its keys the pilot goes on, under a new log, once its own log's key is named.
    vkey = (rig.home / "log.vkey").read_text().strip()
    said = restored(rig, without, "--home", str(rig.home.parent / "y"), "--vkey", vkey)
    assert said["log"] == "new"


@pytest.mark.long
def test_a_restore_that_was_killed_in_the_middle_is_finished_by_whoever_comes_next(
    rig: Rig,
) -> None:
    dead, dead_key = key_of(rig, granted(rig).id)
    archive = backup(rig)
    rig.ok("key", "revoke", dead, *WHY, "--confirm", "acme")
    supervisor.stop(rig.home)
    words = ["restore", str(archive), *WHY, "--yes"]
    for pause in (0.6, 0.9, 1.2, 1.5, 1.8, 2.1):
        process = subprocess.Popen(
            [sys.executable, "-m", "console", *words], env=rig.env, cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    assert rig.json("log", "show")
    assert refused_everywhere(rig, dead_key) <= {"key_revoked", "locked"}
    assert not list(rig.home.glob("restore.pending"))
    rig.ok("audit", "verify")


def test_backup_while_the_pilot_serves_and_is_written_to(rig: Rig) -> None:
    grant = granted(rig).id
    keys = [key_of(rig, grant) for _ in range(2)]
    loose = rig.home.parent / "loose"
    loose.write_text("a long enough passphrase\n")
    loose.chmod(0o644)
    assert rig.cli("backup", "x.tar", "--passphrase-file", str(loose)).exit == 2
    assert rig.cli("backup", str(rig.home.parent / "x.tar")).exit == 2
    for nth in range(3):
        for _, key in keys:
            assert rig.call(key).status_code == 200
        archive = backup(rig, f"while-{nth}.tar")
        assert rig.cli("backup", str(archive), "--without-keys").exit == 6
        with tarfile.open(archive) as tar:
            names = tar.getnames()
        assert names[:3] == ["manifest.json", "manifest.note", "log/checkpoint"]
        assert {"stores/audit.db", "stores/gateway.db", "stores/policy.db"} <= set(names)
        secret = next(iter((rig.home / "keys").glob("log.key"))).read_bytes()
        assert secret.strip() not in archive.read_bytes()
    assert not list(rig.home.parent.glob(".pilotctl-backup-*"))


def break_glass_told(rig: Rig) -> list[str]:
    """Return where it is said that no break-glass account can be used."""
    said = "no break-glass account can be used (the newest, break-glass-2: a restore lost its token"
    places = {
        "status": rig.ok("api", "GET", "policy/v1/status"),
        "doctor": rig.cli("doctor", "-o", "json").out,
    }
    return [name for name, told in places.items() if said in told]


@pytest.mark.long
def test_where_the_newest_break_glass_account_is_lost_the_restore_says_how_to_seal_one(
    rig: Rig,
) -> None:
    seal = ("break-glass", "seal", *WHY, "--yes", "--secret-file")
    rig.ok(*seal, str(rig.home.parent / "one"))
    archive = backup(rig)
    rig.ok(*seal, str(rig.home.parent / "two"), "--replace")
    rig.logged()
    supervisor.stop(rig.home)

    said = restored(rig, archive)

    assert said["log"] == "continued", "what was ended since is known"
    assert "pilotctl break-glass seal --replace --reason '…' --secret-file PATH" in said["next"]
    assert any("no break-glass account can be used" in each for each in said["warnings"])
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    released(rig, str(said["lock_id"]))
    listed = rig.json("break-glass", "list")["items"]
    assert {(each["slug"], each["state"]) for each in listed} == {
        ("break-glass-1", "cut"), ("break-glass-2", "cut"),
    }  # fmt: skip
    assert break_glass_told(rig) == ["status", "doctor"]
    rig.ok(*seal, str(rig.home.parent / "three"), "--replace")
    assert break_glass_told(rig) == []


def test_a_break_glass_account_that_the_backup_knows_stays_and_no_command_is_asked_for(
    rig: Rig,
) -> None:
    rig.ok("break-glass", "seal", *WHY, "--yes", "--secret-file", str(rig.home.parent / "one"))
    archive = backup(rig)
    supervisor.stop(rig.home)
    said = restored(rig, archive)
    assert not [each for each in said["next"] if "break-glass" in each]
    assert not [each for each in said["warnings"] if "break-glass" in each]
