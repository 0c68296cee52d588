"""What was ended stays ended: every closing operation, restored from before it, by every loss."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from console.model.operator import Direction
from console.operations.index import all_operations
from console.services import supervisor
from console.services.backup.closings import CLOSINGS
from tests import nursery
from tests.services.backup.closing_cases import CASES, WHY, Look, signs_in
from tests.thread.pilot_rig import Rig, capability, programme, running, short_folder, vetted

PLACES = ["policy.db", "gateway.db", "audit.db", "point-gw-1.db", "point-gw-2.db", "log"]
"""Where a pilot keeps what happened."""


def all_but(*kept: str) -> list[str]:
    return [each for each in PLACES if each not in kept]


LOSSES = {
    "nothing": [],
    "the policy store": ["policy.db"],
    "the gateway store": ["gateway.db"],
    "the audit store": ["audit.db"],
    "the log and its store": ["audit.db", "log"],
    "all but the log": all_but("log"),
    "all but the policy store": all_but("policy.db"),
    "all but the audit store": all_but("audit.db"),
}
"""What is gone when the backup is restored, by name."""

CARRIED = {
    "operator.add", "operator.restore", "operator.thaw", "partner.add-network",
    "partner.add-subprocessor",
}  # fmt: skip
"""Rows of the table that open: what they left is what a later closing narrows."""


def test_every_operation_that_closes_is_in_the_table_and_has_a_case() -> None:
    closing = {each.id for each in all_operations() if each.direction is Direction.CLOSES}
    table = {each.operation for each in CLOSINGS}
    assert closing <= table, f"no restore keeps {sorted(closing - table)}"
    assert table - CARRIED == set(CASES)
    known = {each.id for each in all_operations()}
    assert table <= known, f"no such operation: {sorted(table - known)}"


class Pilot:
    """A pilot in which everything was closed after its backup; its services do not run."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.folder = rig.home.parent
        self.looks: dict[str, Look] = {}
        (self.folder / "passphrase").touch(0o600)
        (self.folder / "passphrase").write_text("a long enough passphrase\n")
        self.sealed = ("--passphrase-file", str(self.folder / "passphrase"))
        self.archive = str(self.folder / "pilot.tar")

    def close_everything(self) -> None:
        begun = {name: case(self.rig) for name, case in CASES.items()}
        for case in begun.values():
            next(case)
        self.rig.ok("backup", self.archive, *self.sealed)
        for name, case in begun.items():
            look = next(case)
            assert look is not None
            self.rig.until(look, what=f"{name} holds before the restore")
            self.looks[name] = look
        self.rig.logged()
        supervisor.stop(self.rig.home)
        for name in ("home", "state"):
            shutil.copytree(self.folder / name, self.folder / f"{name}-as-it-was", symlinks=True)

    def restored(self, lost: list[str], *more: str) -> dict[str, object]:
        """Lose files of the state folder as it was, and restore into what is left."""
        self.rig.forget()
        for name in ("home", "state"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(self.folder / f"{name}-as-it-was", self.folder / name, symlinks=True)
        for name in lost:
            for path in sorted(self.rig.home.glob(name)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        words = ("restore", self.archive, "--reason", WHY, "--yes", *self.sealed, *more)
        return json.loads(self.rig.ok(*words, "-o", "json"))  # type: ignore[no-any-return]

    def start(self, lock: object, *, repin: str = "") -> None:
        """Start the services, trust the new log if there is one, and release the lock."""
        supervisor.start(self.rig.home, program=nursery.program("console.services.supervisor"))
        if repin:
            self.rig.ok("log", "repin", "--confirm", repin)
        self.rig.ok("lock", "release", str(lock), "--reason", WHY, "--yes")


@pytest.fixture(scope="module")
def pilot() -> Iterator[Pilot]:
    with short_folder() as folder, running(folder / "home", points=2) as rig:
        programme(rig, partners=("acme", "globex", "initech", "hooli", "umbrella"))
        rig.do(
            "pilot.create", slug="borealis", title="Borealis", models=["aurora-1"],
            stages=["limited:most-partners=1000,longest=90d"], content="sealed",
            content_days="3", reason=WHY,
        )  # fmt: skip
        capability(rig, "text.review", 1, pilot="borealis")
        file = folder / "terms.txt"
        rig.do("terms.publish", pilot="borealis", title="Terms", text=str(file), reason=WHY)
        vetted(rig, "vandelay", "text.review")
        rig.do(
            "terms.accept", pilot="borealis", partner="vandelay", signatory="counsel",
            evidence="signed copy", reason=WHY,
        )  # fmt: skip
        made = Pilot(rig)
        made.close_everything()
        yield made


def check(pilot: Pilot, loss: str) -> None:
    """Restore after a loss; everything that can be known is still closed."""
    said = pilot.restored(LOSSES[loss])
    pilot.start(said["lock_id"], repin=str(said["origin"]) if said["log"] == "new" else "")
    try:
        for name, look in pilot.looks.items():
            if name not in UNKNOWABLE.get(loss, ()):
                pilot.rig.until(look, what=f"{name} is kept with {loss} lost")
        if UNKNOWABLE.get(loss):
            ended = {each.state for each in pilot.rig.do("key.list", limit="0").items}
            assert said["keys_ended"]
            assert ended == {"revoked"}, "a key that nothing newer tells of has ended, too"
        if said["log"] == "continued":
            pilot.rig.ok("audit", "verify")
    finally:
        supervisor.stop(pilot.rig.home)


def check_fresh(pilot: Pilot, *, keep_keys: bool) -> None:
    """Restore where nothing newer can be known: what may have ended has ended."""
    rig = pilot.rig
    said = pilot.restored(["*"], *(["--keep-keys"] if keep_keys else []))
    assert (said["keys_ended"] == 0) is keep_keys
    assert said["tokens_ended"] >= 4  # type: ignore[operator]
    assert {"mallory", "leaky", "demoted", "hasty", "break-glass-1"} <= set(
        said["operators_cut"]  # type: ignore[call-overload]
    )
    commands = said["next"]
    assert isinstance(commands, list)
    assert commands[0] == "pilotctl up"
    assert "pilotctl owner restore leaky --reason '…'" in commands
    assert any(each.startswith("pilotctl break-glass seal --replace") for each in commands)
    pilot.start(said["lock_id"], repin=str(said["origin"]))
    try:
        for name in ("operator.cut", "operator.token", "break-glass.seal"):
            rig.until(pilot.looks[name], what=name)
        if not keep_keys:
            states = {each.state for each in rig.do("key.list", limit="0").items}
            assert states == {"revoked"}
        # The owner's next command works, and gives nothing back of what the account had.
        rig.ok("owner", "restore", "leaky", "--reason", WHY, "--yes")
        fresh = str(rig.do("operator.token", operator="leaky", reason=WHY).secret)
        assert signs_in(rig, fresh, "lock.list")
        assert pilot.looks["operator.token"]()
    finally:
        supervisor.stop(rig.home)


UNKNOWABLE = {"all but the policy store": {"key.rotate", "call.redact", "point.deregister"}}
"""What nothing tells any more that is left: keys end as unsure all the same."""

Check = Callable[[Pilot], None]

CHECKS: dict[str, Check] = {
    **{f"{loss} is lost": partial(check, loss=loss) for loss in LOSSES},
    "a fresh machine": partial(check_fresh, keep_keys=False),
    "a fresh machine, keys kept": partial(check_fresh, keep_keys=True),
}


def test_what_was_closed_after_a_backup_stays_closed(
    pilot: Pilot, request: pytest.FixtureRequest
) -> None:
    seed = random.randrange(1 << 16)
    name = random.Random(seed).choice(sorted(CHECKS))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{len(CASES)} closings x restore, seed {seed}: {name}")
    CHECKS[name](pilot)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_what_was_closed_after_a_backup_stays_closed_by_each_loss(pilot: Pilot, name: str) -> None:
    CHECKS[name](pilot)
