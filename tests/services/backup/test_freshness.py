"""What is left in a state folder tells what ended since a backup only if it continues it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from console.services import supervisor
from tests.thread.pilot_rig import (
    Rig,
    configure,
    granted,
    key_of,
    programme,
    running,
    short_folder,
    start_services,
)

WHY = "a rehearsal"
LATER = ("audit.db", "gateway.db", "policy.db", "point-gw-1.db", "log")


class Pilot:
    """A stopped pilot of which a key and an operator ended after its backup."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.home = rig, rig.home
        self.folder = rig.home.parent
        phrase = self.folder / "passphrase"
        phrase.touch(0o600)
        phrase.write_text("a long enough passphrase\n")
        self.sealed = ("--passphrase-file", str(phrase))
        self.archive = str(self.folder / "pilot.tar")
        programme(rig)
        self.grant = granted(rig).id
        self.dead, _ = key_of(rig, self.grant)
        self.other, self.key = key_of(rig, self.grant)
        rig.do("operator.add", operator="mallory", roles=["admin"], reason=WHY)
        rig.do("operator.token", operator="mallory", reason=WHY)
        rig.do("operator.add", operator="alice", roles=["operator"], user="nobody", reason=WHY)
        rig.do("operator.token", operator="alice", reason=WHY)
        rig.logged()
        self.keep("older")
        rig.ok("backup", self.archive, *self.sealed)
        self.vkey = (self.home / "log.vkey").read_text().strip()
        rig.do("rule.list")
        rig.logged()
        self.keep("between")
        rig.do("key.revoke", credential=self.dead, reason=WHY)
        rig.do("operator.cut", operator="mallory", reason=WHY)
        rig.json("log", "show")  # this console has pinned a head with both in it
        rig.logged()
        supervisor.stop(self.home)
        self.keep("newest", runs=False)
        shutil.copytree(self.folder / "state", self.folder / "pinned")
        shutil.rmtree(self.home)
        configure(self.home)
        start_services(self.home)
        supervisor.stop(self.home)
        self.keep("fresh", runs=False)

    def keep(self, name: str, *, runs: bool = True) -> None:
        """Take a copy of the state folder."""
        if runs:
            supervisor.stop(self.home)
        shutil.copytree(self.home, self.folder / name, symlinks=True)
        if runs:
            start_services(self.home)
            self.rig.forget()

    def begin(self, name: str, *lost: str) -> None:
        """Have the state folder of a moment, but for what is lost."""
        self.rig.forget()
        for copy, target in ((name, self.home), ("pinned", self.folder / "state")):
            shutil.rmtree(target)
            shutil.copytree(self.folder / copy, target, symlinks=True)
        for each in lost:
            path = self.home / each
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def bring(self, name: str, *files: str) -> None:
        """Put files of another moment into the state folder."""
        for each in files:
            source, target = self.folder / name / each, self.home / each
            if target.is_dir():
                shutil.rmtree(target)
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, target)

    def restored(self, *more: str) -> dict[str, Any]:
        """Restore into the state folder."""
        words = ("restore", self.archive, "--reason", WHY, "--yes", *self.sealed, *more)
        found: dict[str, Any] = json.loads(self.rig.ok(*words, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def pilot() -> Iterator[Pilot]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield Pilot(rig)


def has_ended(said: dict[str, Any]) -> bool:
    """Whether the keys, the tokens and the operators of the backup ended."""
    ended = (said["keys_ended"], said["tokens_ended"], set(said["operators_cut"]))
    return ended == (2, 2, {"alice", "mallory"})


def test_the_newest_stores_tell_what_ended_and_nothing_else_ends(pilot: Pilot) -> None:
    pilot.begin("newest")
    said = pilot.restored("--dry-run")
    assert (said["keys_ended"], said["tokens_ended"], said["tombstones"]) == (0, 0, 1)
    assert said["log"] == "continued"


def test_a_new_pilot_in_the_folder_tells_nothing_of_the_backups(pilot: Pilot) -> None:
    pilot.begin("fresh")
    words = ("restore", pilot.archive, "--reason", WHY, "--yes", *pilot.sealed)
    assert pilot.rig.cli(*words).exit == 5, "its key is another"
    said = pilot.restored("--vkey", pilot.vkey)
    assert has_ended(said), said
    assert (said["newest_copy"], said["log"]) == ([], "new")
    assert any("of another pilot" in each for each in said["warnings"])
    # What runs afterwards is the backup's pilot, with a log of its own key.
    start_services(pilot.home)
    pilot.rig.forget()
    try:
        pilot.rig.ok("log", "repin", "--confirm", str(said["origin"]))
        assert {each.state for each in pilot.rig.do("key.list", limit="0").items} == {"revoked"}
        assert pilot.rig.do("operator.show", operator="mallory").state == "cut"
        pilot.rig.ok("audit", "verify")
    finally:
        supervisor.stop(pilot.home)


def test_stores_and_a_log_that_are_older_than_the_backup_tell_nothing(pilot: Pilot) -> None:
    pilot.begin("newest")
    pilot.bring("older", *LATER)
    said = pilot.restored("--dry-run")
    assert has_ended(said), said
    # One store of them that is new enough tells of its own.
    pilot.bring("newest", "gateway.db")
    said = pilot.restored("--dry-run")
    assert (said["keys_ended"], said["tokens_ended"], said["tombstones"]) == (0, 1, 1)


def test_a_log_that_stopped_before_a_head_that_was_signed_tells_too_little(pilot: Pilot) -> None:
    pilot.begin("newest", "audit.db", "gateway.db", "policy.db")
    pilot.bring("between", "log")
    said = pilot.restored("--dry-run")
    assert said["replayed"] > 0
    assert has_ended(said), said
    assert any("were signed" in each for each in said["warnings"])
    # The same folder with the whole log is known to its end.
    pilot.bring("newest", "log")
    said = pilot.restored("--dry-run")
    assert (said["keys_ended"], said["tokens_ended"], said["tombstones"]) == (0, 0, 1)


def test_where_policy_is_lost_its_grants_wait_suspended_until_somebody_looks(
    pilot: Pilot,
) -> None:
    rig = pilot.rig
    pilot.begin("newest", *(each for each in LATER if each != "gateway.db"))
    said = pilot.restored()
    assert (said["keys_ended"], said["tombstones"]) == (0, 1), "the gateway's store is left"
    assert (said["grants_suspended"], said["partners_restricted"]) == ([pilot.grant], ["acme"])
    assert any("grants that were narrowed" in each for each in said["warnings"])
    assert {"pilotctl grant resume GRANT --reason '…'",
            "pilotctl partner resume PARTNER --reason '…'"} <= set(said["next"])  # fmt: skip
    start_services(pilot.home)
    rig.forget()
    try:
        rig.ok("log", "repin", "--confirm", str(said["origin"]))
        rig.ok("lock", "release", said["lock_id"], "--reason", WHY, "--yes")
        rig.until(lambda: rig.do("grant.show", grant=pilot.grant).state == "suspended")
        assert rig.call(pilot.key).status_code == 403
        assert rig.do("partner.show", partner="acme").state == "restricted"
        rig.do("partner.resume", partner="acme", reason=WHY)
        rig.do("grant.resume", grant=pilot.grant, reason=WHY)
        rig.until(lambda: rig.call(pilot.key).status_code == 200, what="the grant serves again")
    finally:
        supervisor.stop(pilot.home)


def test_keys_that_are_kept_keep_their_grants_and_the_restore_says_what_may_live_again(
    pilot: Pilot,
) -> None:
    pilot.begin("newest", *LATER)
    said = pilot.restored("--dry-run", "--keep-keys")
    assert (said["keys_ended"], said["grants_suspended"], said["partners_restricted"]) == (
        0,
        [],
        [],
    )
    assert said["tokens_ended"] == 2
    assert any("a grant that was narrowed" in each for each in said["warnings"])


def test_who_restores_is_told_by_the_user_id_and_not_by_the_environment(
    pilot: Pilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    pilot.begin("newest", *LATER)
    monkeypatch.setenv("LOGNAME", "nobody")  # alice is this OS user
    said = pilot.restored("--dry-run")
    assert "alice" in said["operators_cut"]
