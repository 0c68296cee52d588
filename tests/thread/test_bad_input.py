"""Bad input: what is wrong and how to mend it, the right exit code, and nothing changed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    capability,
    configure,
    granted,
    programme,
    running,
    short_folder,
    vetted,
)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig, partners=["acme", "doves"])
        capability(rig, "bio.arms", 4, category="prohibited")
        granted(rig)
        rig.logged()
        yield rig


NOBODY = "grt_00000000000000000000000000"

LISTS = (
    "pilot.list", "partner.list", "capability.list", "grant.list", "terms.list",
    "terms.acceptances", "assessment.list", "key.list", "lock.list", "receipt.list",
)  # fmt: skip


def everything(rig: Rig) -> Any:
    """Return all that is stored, and how many events each service has recorded."""
    return {each: rig.do(each, limit="0").items for each in LISTS}, rig.changes()


GRANT = {
    "--pilot": "aurora", "--stage": "limited", "--capability": CAPABILITY, "--model": "aurora-1",
    "--purpose": "p", "--expires": "30d", "--reason": "r",
}  # fmt: skip


def grant(partner: str = "acme", **changed: str) -> list[str]:
    """Return the words of a grant that would be made, but for what is changed."""
    flags = {**GRANT, **{f"--{name}": value for name, value in changed.items()}}
    return ["grant", "create", partner, *(w for f in flags.items() for w in f if f[1] != "-")]


PARTNER = ["partner", "create", "new", "--sponsor", "{operator}", "--reason", "r"]


class Bad(NamedTuple):
    """A command, its exit code, and what its error must name."""

    words: list[str]
    exit: int
    says: tuple[str, ...]


CASES = {
    "an unknown partner": Bad(grant("acmee"), 3, ("acmee", "acme")),
    "an unknown pilot": Bad(grant(pilot="aurorra"), 3, ("aurorra", "nearest: aurora")),
    "an unknown capability": Bad(
        grant(capability="cyber.vuln-discovry"),
        3,
        ("cyber.vuln-discovry", f"nearest: {CAPABILITY}"),
    ),
    "an unknown stage": Bad(grant(stage="limitd"), 2, ("--stage", "limitd", "limited")),
    "an unknown model": Bad(grant(model="aurora-9"), 2, ("models", "aurora-9", "aurora-1")),
    "an unknown grant": Bad(
        ["grant", "revoke", NOBODY, "--reason", "r", "--confirm", NOBODY], 3, (NOBODY,)
    ),
    "a grant's id that is none": Bad(
        ["grant", "revoke", "grt_0", "--reason", "r", "--confirm", "grt_0"], 2, ("grt_0", "grant")
    ),
    "a wildcard scope at tier 2": Bad(grant(model="*"), 2, ("'*'", "tier 2", "aurora-1")),
    "an empty scope at tier 2": Bad(grant(model="-"), 2, ("models", "tier 2", "aurora-1")),
    "every network at tier 2": Bad(grant(network="0.0.0.0/0"), 2, ("0.0.0.0/0", "tier 2")),
    "an expiry too long": Bad(grant(expires="91d"), 2, ("expires_at", "90d")),
    "an expiry that is past": Bad(grant(expires="2020-01-01"), 2, ("expires_at", "past")),
    "an expiry that is none": Bad(grant(expires="soon"), 2, ("--expires", "soon", "90d")),
    "a prohibited capability": Bad(grant(capability="bio.arms"), 5, ("bio.arms", "prohibited")),
    "a network that is none": Bad(
        grant(network="203.0.113.300/24"), 2, ("--network", "203.0.113.300/24", "203.0.113.0/24")
    ),
    "a network with host bits": Bad(
        [*PARTNER, "--name", "New", "--egress", "203.0.113.7/24"], 2, ("--egress", "203.0.113.7/24")
    ),
    "a control character in a name": Bad([*PARTNER, "--name", "Ac\x1b[2Jme"], 2, ("--name",)),
    "a bidirectional override in a name": Bad([*PARTNER, "--name", "Ac\u202eme"], 2, ("--name",)),
    "a line break in a name": Bad([*PARTNER, "--name", "Ac\nme"], 2, ("--name",)),
    "a slug that is none": Bad(
        ["partner", "create", "Acme Labs", "--name", "n", "--sponsor", "s", "--reason", "r"],
        2,
        ("SLUG", "Acme Labs"),
    ),
    "a slug that is taken": Bad(
        ["partner", "create", "acme", "--name", "n", "--sponsor", "{operator}", "--reason", "r"],
        6,
        ("acme", "exists"),
    ),
    "a sponsor who is nobody": Bad(
        ["partner", "create", "new", "--name", "n", "--sponsor", "ghost", "--reason", "r"],
        2,
        ("sponsor", "ghost"),
    ),
    "an unknown flag": Bad([*grant(), "--expire", "30d"], 2, ("--expire",)),
    "no reason": Bad(grant(reason="-"), 2, ("--reason",)),
    "an empty reason": Bad(grant(reason=""), 2, ("--reason",)),
    "a lock on no network": Bad(
        ["lock", "add", "network", "10.0.0.300", "--reason", "r"], 2, ("10.0.0.300",)
    ),
    "a holder that is nobody": Bad(
        ["key", "issue", "{grant}", "--holder", "ghost", "--reason", "r", "-o", "json"],
        5,
        ("ghost", "datawharf"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_changes_nothing_and_says_what(rig: Rig, case: Bad) -> None:
    facts = {"operator": rig.operator, "grant": rig.do("grant.list", limit="1").items[0].id}
    words = [w.format(**facts) if w in {"{operator}", "{grant}"} else w for w in case.words]
    before = everything(rig)
    confirmed = [] if "--confirm" in words else ["--yes"]
    done = rig.cli(*words, *confirmed)
    assert done.exit == case.exit, done
    for said in case.says:
        assert said in done.err, done.err
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
    assert "bug" not in done.err
    assert everything(rig) == before


def test_a_mistyped_member_of_a_write_is_refused_by_name(rig: Rig) -> None:
    body = {
        "pilot": "aurora", "stage": "limited", "partner": "acme", "capabilities": [CAPABILITY],
        "models": ["aurora-1"], "purpose": "p", "expires_att": "2027-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z", "reason": "r",
    }  # fmt: skip
    before = everything(rig)
    done = rig.cli("api", "POST", "policy/v1/grants", "--data", json.dumps(body), "--yes")
    assert done.exit == 2
    assert "expires_att" in done.err
    assert "expires_at" in done.err.replace("expires_att", "")
    del body["expires_att"], body["expires_at"]
    missing = rig.cli("api", "POST", "policy/v1/grants", "--data", json.dumps(body), "--yes")
    assert (missing.exit, "expires_at" in missing.err) == (2, True)
    wrong = {**body, "expires_at": 7}
    typed = rig.cli("api", "POST", "policy/v1/grants", "--data", json.dumps(wrong), "--yes")
    assert (typed.exit, "expires_at" in typed.err) == (2, True)
    assert everything(rig) == before


def test_a_reason_of_ten_megabytes_is_refused(rig: Rig, tmp_path: Path) -> None:
    before = everything(rig)
    body = {"target": {"kind": "partner", "id": "acme"}, "reason": "x" * 10_000_000}
    (tmp_path / "lock.json").write_text(json.dumps(body))
    done = rig.cli("api", "POST", "gateway/v1/locks", "--data", f"@{tmp_path}/lock.json", "--yes")
    assert done.exit == 2
    assert "1048576" in done.err or "MiB" in done.err or "large" in done.err
    assert len(done.err) < 2000
    # What fits an argument: longer than a reason may be.
    long = rig.cli("lock", "add", "partner", "acme", "--reason", "x" * 100_000, "--yes")
    assert long.exit == 2
    assert "--reason" in long.err
    assert "4000" in long.err
    assert len(long.err) < 2000
    # And without the console's own check, over the socket.
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(60)
        raw.connect(str(rig.home / "run" / "gateway.sock"))
        raw.sendall(
            b"POST /v1/locks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Idempotency-Key: k\r\nContent-Length: 10000000\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            raw.sendall((tmp_path / "lock.json").read_bytes()[:10_000_000])
        assert b" 413 " in raw.recv(100)
    assert everything(rig) == before


def test_an_unknown_key_in_the_settings_names_file_line_and_the_nearest() -> None:
    with short_folder() as folder:
        configure(
            folder / "home", more='\n[upstreams.lab]\nkind = "openai"\nbase_ur = "http://x"\n'
        )
        rig = Rig(folder / "home")
        done = rig.cli("up")
        text = (folder / "home" / "pilot.toml").read_text()
        line = text[: text.index("base_ur")].count("\n") + 1
        assert done.exit == 2, done
        assert f"pilot.toml:{line}" in done.err
        assert "base_ur" in done.err
        assert "base_url" in done.err
        assert rig.cli("status", "--exit-status").exit == 1
        (folder / "config.toml").write_text('default_profile = "x"\n[profiles.x]\ntire = "lab"\n')
        profile = rig.cli("grant", "list", "--config", str(folder / "config.toml"))
        assert profile.exit == 2
        for said in ("config.toml:3", "tire", "tier"):
            assert said in profile.err


def test_up_says_which_store_is_truncated() -> None:
    with short_folder() as folder:
        with running(folder / "home") as rig:
            programme(rig)
            rig.logged()
        rig = Rig(folder / "home")
        file = folder / "home" / "gateway.db"
        for aside in folder.glob("home/gateway.db-*"):
            aside.unlink()
        half = file.read_bytes()[: file.stat().st_size // 2]
        file.write_bytes(half)
        done = rig.cli("up")
        assert done.exit == 7, done
        assert "gateway.db" in done.err
        assert "damaged" in done.err
        assert rig.cli("status", "--exit-status").exit == 1, "nothing is left running"
        assert file.read_bytes() == half, "it is left as it was found"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own that is soon full. Needs root, and leave to mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with short_folder() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no leave to mount: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_the_write_and_changes_nothing(small_disk: Path) -> None:
    with running(small_disk / "home") as rig:
        programme(rig)
        kept = granted(rig)
        raw = rig.do("key.issue", grant=kept.id, reason="r").secret
        rig.until(lambda: rig.call(raw).status_code == 200)
        rig.until(lambda: rig.do("key.list").items[0].state == "in_use")
        rig.logged()
        before = everything(rig)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        full = rig.cli(
            *("partner", "create", "doves", "--name", "D", "--sponsor", rig.operator, "--reason"),
            *("r" * 3900, "--yes"),
        )
        assert full.exit == 7, full
        assert "full" in full.err
        assert "policy.db" in full.err or "disk" in full.err
        assert everything(rig) == before
        lock = rig.cli("lock", "add", "partner", "acme", "--reason", "r" * 3900, "--yes")
        assert (lock.exit, "nothing was changed" in lock.err) == (7, True), lock
        assert not rig.json("lock", "list")["items"]
        told = rig.cli("doctor", "-o", "json")
        found = {(each["check"], each["state"]): each["found"] for each in told.value["items"]}
        assert told.exit == 1, told
        assert "No space left" in found["state folder", "bad"]
        for api in ("policy", "gateway", "audit"):
            assert f"the disk of {rig.home} is full" in found[api, "note"]
        filler.unlink()
        rig.until(rig.all_running, seconds=60)
        assert "is full" not in rig.until(lambda: rig.cli("doctor")).out
        made = rig.cli("partner", "create", "doves", "--name", "D", "--sponsor", rig.operator,
                       "--reason", "r", "--yes")  # fmt: skip
        assert made.exit == 0, made
        rig.until(lambda: rig.call(raw).status_code == 200)
        events = rig.logged()
        assert sum(each.action == "partner.create" for each in events) == 2
        assert rig.json("audit", "verify")["good"]


def test_a_lock_with_a_slip_of_the_pen_is_refused_and_names_the_nearest(rig: Rig) -> None:
    """It would hold nothing, and be believed to."""
    done = rig.cli("lock", "add", "partner", "acmee", "--reason", "r", "--yes")
    assert done.exit == 3
    assert "acmee" in done.err
    assert "did you mean acme?" in done.err
    assert not rig.json("lock", "list")["items"]
    hit = rig.ok("lock", "add", "partner", "acme", "--reason", "r", "--dry-run")
    assert "1 partner: acme" in hit


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with short_folder() as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configure(folder / "home", ports=[port])
        rig = Rig(folder / "home")
        done = rig.cli("up")
        assert done.exit not in {0, 1}, done
        assert str(port) in done.err
        assert "pilot.toml" in done.err
        assert rig.cli("status", "--exit-status").exit == 1


def test_a_name_with_hostile_text_is_refused_by_the_service_too(rig: Rig) -> None:
    before = everything(rig)
    for name in ("Ac\u202eme", "Ac\x9b2Jme", "Ac\u200bme", "Ac\u2028me", "x" * 201, ""):
        body = {"slug": "new", "name": name, "sponsor": rig.operator, "reason": "r"}
        done = rig.cli("api", "POST", "policy/v1/partners", "--data", json.dumps(body), "--yes")
        assert (done.exit, "name" in done.err) == (2, True), done
    assert everything(rig) == before
    vetted(rig, "egrets")
