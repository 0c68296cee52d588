"""Access day by day, at the command line of a real pilot: renew, amend, suspend, offboard."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    assessed,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A running pilot with two partners."""
    with short_folder() as folder, running(folder / "home", points=2) as rig:
        programme(rig, tier=1, partners=("acme", "birch", "cedar"))
        yield rig


class Calls:
    """Partner traffic that goes on while something is done."""

    def __init__(self, rig: Rig, *keys: str) -> None:
        self._rig = rig
        self._stop = threading.Event()
        self.codes: list[tuple[int, str]] = []
        urls = rig.points()
        self._threads = [
            threading.Thread(target=self._call, args=(key, url)) for key in keys for url in urls
        ]

    def _call(self, key: str, url: str) -> None:
        while not self._stop.is_set():
            answer = self._rig.call(key, base=url)
            self.codes.append((answer.status_code, answer.headers.get("x-pilotctl-code", "")))
            time.sleep(0.02)

    def __enter__(self) -> Calls:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_grants_are_renewed_in_bulk_and_no_partner_notices(rig: Rig) -> None:
    grants = [granted(rig, partner).id for partner in ("acme", "birch")]
    keys = [key_of(rig, grant)[1] for grant in grants]
    planned = rig.ok(
        "grant", "renew", grants[0], "--expires", "60d", "--reason", "goes on", "--dry-run"
    )
    assert "the keys go on under it" in planned
    assert f"{grants[0]}, as renewed" in planned
    with Calls(rig, *keys) as calls:
        done = rig.cli(
            "grant", "renew", "--ids-from", "-", "--expires", "60d", "--reason", "a new term",
            "--yes", "-o", "jsonl", stdin="\n".join(grants),
        )  # fmt: skip
        assert done.exit == 0, done.err
        rig.until(
            lambda: all(rig.json("grant", "show", each)["renewed_by"] for each in grants),
            what="the old ones are renewed",
        )
        before = len(calls.codes)
        rig.until(lambda: len(calls.codes) > before + 20, what="calls go on after it")
    assert len(calls.codes) > 10
    assert {code for code, _ in calls.codes} == {200}, calls.codes
    for grant, key in zip(grants, keys, strict=True):
        old = rig.json("grant", "show", grant)
        assert (old["state"], old["state_reason"]) == ("expired", "renewed")
        new = rig.json("grant", "show", old["renewed_by"])
        assert (new["state"], new["renews"]) == ("active", grant)
        held = rig.json("key", "list", "--grant", new["id"])["items"]
        assert [each["hint"] for each in held] == [key[-4:]]
        assert rig.json("key", "list", "--grant", grant)["items"] == []
    first = rig.json("grant", "show", grants[0])["renewed_by"]
    renew = ("grant", "renew", grants[0], "--reason", "a new term", "--yes")
    again = rig.cli(*renew, "--expires", "60d", "-o", "name")
    assert (again.exit, again.out) == (0, f"{first}\n"), again.err
    assert f"{first} renews {grants[0]} already" in again.err
    other = rig.cli(*renew, "--expires", "80d")
    assert other.exit == 6
    assert f"{first} renews {grants[0]} already" in other.err


def test_a_live_grant_is_amended_and_narrowed_and_the_points_follow(rig: Rig) -> None:
    grant = granted(rig, "cedar").id
    _, key = key_of(rig, grant)
    assert rig.call(key).status_code == 200
    planned = rig.ok("grant", "amend", grant, "--network", "192.0.2.0/24", "--limits",
                     "requests=60,budget=2.50,per=week", "--reason", "as agreed",
                     "--dry-run")  # fmt: skip
    assert "networks: ALL -> 192.0.2.0/24" in planned
    assert "limits: none -> requests=60,budget=2.5,per=week" in planned
    narrowed = rig.json("grant", "narrow", grant, "--network", "192.0.2.0/24", "--limits",
                        "requests=60", "--reason", "as agreed", "--yes")  # fmt: skip
    assert narrowed["limits"]["requests_per_minute"] == 60
    rig.until(lambda: rig.call(key).status_code == 403, what="the network is refused")
    refused = rig.cli("grant", "narrow", grant, "--network", "", "--reason", "x", "--yes")
    assert (refused.exit, "not only narrower" in refused.err) == (2, True)
    assert f"pilotctl grant amend {grant}" in refused.err
    rig.ok("grant", "amend", grant, "--network", "", "--reason", "back", "--yes")
    rig.until(lambda: rig.call(key).status_code == 200, what="it is served again")
    slip = rig.cli("grant", "amend", grant, "--limits", "request=3", "--reason", "x", "--yes")
    assert (slip.exit, "did you mean requests?" in slip.err) == (2, True)


def test_a_grant_is_suspended_with_policy_down_proven_and_resumed(rig: Rig) -> None:
    grant = granted(rig, "cedar").id
    _, key = key_of(rig, grant)
    before = rig.json("grant", "list", "--partner", "cedar", "--state", "active")["items"]
    at = rig.json("grant", "show", grant)["updated_at"]
    rig.stop("policy")
    try:
        receipt = rig.json("grant", "suspend", grant, "--reason", "looks odd", "--yes")
        assert receipt["state"] == "verified"
        assert receipt["log"] is not None
        assert rig.call(key).status_code == 403
    finally:
        rig.start("policy")
    rig.until(
        lambda: rig.json("grant", "show", grant)["state"] == "suspended", what="policy has it"
    )
    shown = rig.json("grant", "show", grant)
    assert shown["suspension"]["reason"] == "looks odd"
    refused = rig.cli("grant", "renew", grant, "--expires", "60d", "--reason", "x", "--yes")
    assert (refused.exit, f"pilotctl grant resume {grant}" in refused.err) == (6, True)
    resumed = rig.json("grant", "resume", grant, "--reason", "explained", "--yes")
    assert (resumed["state"], resumed["suspension"]) == ("active", None)
    rig.until(lambda: rig.call(key).status_code == 200, what="it is served again")
    was = rig.json("grant", "list", "--partner", "cedar", "--state", "active", "--as-of", at)
    assert {each["id"] for each in was["items"]} >= {each["id"] for each in before} - {grant}
    assert was["as_of"] == at


def test_what_ends_soon_and_what_nobody_uses_are_lists(rig: Rig) -> None:
    grant = granted(rig, "birch", expires_at="3d").id
    assert grant in rig.ok("grant", "expiring", "--within", "5d", "-o", "name").split()
    soon = rig.json("grant", "expiring", "--within", "2d")
    assert grant not in [each["id"] for each in soon["items"]]
    assert "expires" in rig.ok("grant", "expiring", "--within", "5d").splitlines()[0].lower()
    quiet = rig.json("grant", "quiet", "--since", "0s")
    assert grant in [each["id"] for each in quiet["items"]]
    assert rig.json("grant", "quiet", "--since", "30d")["items"] == [], "none is that old"


def test_a_partner_is_vetted_reached_restricted_and_offboarded(rig: Rig) -> None:
    rig.ok("partner", "create", "dunes", "--name", "Dunes", "--sponsor", rig.operator,
           "--reason", "asked", "--yes")  # fmt: skip
    assert rig.json("partner", "vet", "dunes", "--reason", "papers", "--yes")["state"] == "vetting"
    rig.ok("partner", "verify", "dunes", "--until", "90d", "--evidence", "file 9", "--reason",
           "seen", "--yes")  # fmt: skip
    rig.ok("partner", "add-contact", "dunes", "--name", "Desk", "--email", "desk@dunes.example",
           "--reason", "sent", "--yes")  # fmt: skip
    assert "desk@dunes.example" in rig.ok("partner", "show", "dunes")
    rig.ok("partner", "add-network", "dunes", "203.0.113.0/24", "--reason", "sent", "--yes")
    rig.ok("partner", "add-subprocessor", "dunes", "datawharf", "--reason", "hosts", "--yes")
    rig.ok("partner", "remove-subprocessor", "dunes", "datawharf", "--reason", "left", "--yes")
    rig.ok("terms", "accept", "aurora", "dunes", "--signatory", "counsel", "--evidence", "copy",
           "--reason", "received", "--yes")  # fmt: skip
    assessed(rig, "dunes", CAPABILITY)
    grant = granted(rig, "dunes").id
    _, key = key_of(rig, grant)
    rig.ok("partner", "restrict", "dunes", "--reason", "a question", "--yes")
    more = rig.cli("key", "issue", grant, "--reason", "x", "--yes", "-o", "json")
    assert (more.exit, "nothing new opens" in more.err) == (5, True)
    assert rig.call(key).status_code == 200
    rig.ok("partner", "resume", "dunes", "--reason", "answered", "--yes")
    stopped = rig.json("partner", "suspend", "dunes", "--reason", "odd", "--yes")
    assert stopped["state"] == "verified"
    assert rig.call(key).status_code == 403
    rig.until(lambda: rig.json("partner", "show", "dunes")["state"] == "suspended")
    rig.ok("partner", "resume", "dunes", "--reason", "explained", "--yes")
    rig.until(lambda: rig.call(key).status_code == 200, what="it is served again")

    planned = rig.ok("partner", "offboard", "dunes", "--reason", "over", "--dry-run")
    assert grant in planned
    assert "1 key" in planned
    unnamed = rig.cli("partner", "offboard", "dunes", "--reason", "over", "--yes")
    assert (unnamed.exit, "--confirm dunes" in unnamed.err) == (10, True)
    rig.stop("policy")
    try:
        receipt = rig.json("partner", "offboard", "dunes", "--reason", "over", "--confirm",
                           "dunes")  # fmt: skip
        assert receipt["state"] == "verified"
    finally:
        rig.start("policy")
    rig.until(lambda: rig.json("partner", "show", "dunes")["state"] == "offboarded")
    assert rig.json("grant", "show", grant)["state"] == "revoked"
    assert rig.call(key).status_code == 403
    for verb in ("resume", "vet", "restrict"):
        said = rig.cli("partner", verb, "dunes", "--reason", "x", "--yes")
        assert said.exit == 6, verb
    late = rig.cli("grant", "create", "dunes", "--pilot", "aurora", "--stage", "limited",
                   "--capability", CAPABILITY, "--purpose", "p", "--expires", "9d", "--reason",
                   "x", "--yes")  # fmt: skip
    assert (late.exit, "never comes back" in late.err) == (6, True)


def test_a_pilot_is_exported_edited_and_imported_and_a_slip_is_told_with_its_line(
    rig: Rig,
) -> None:
    file = rig.home.parent / "aurora.toml"
    exported = rig.ok("pilot", "export", "aurora")
    file.write_text(exported)
    same = rig.ok("pilot", "import", str(file), "--reason", "again", "--dry-run")
    assert "nothing: it is so already" in same
    revision = rig.json("pilot", "show", "aurora")["revision"]
    rig.ok("pilot", "import", str(file), "--reason", "again", "--yes")
    assert rig.json("pilot", "show", "aurora")["revision"] == revision
    file.write_text(
        exported.replace("most_partners = 1000", 'most_partners = 7\nlimits = "parallel=3"')
    )
    planned = rig.ok("pilot", "import", str(file), "--reason", "fewer", "--dry-run")
    assert "stages.limited.most_partners: 1000 -> 7" in planned
    assert "stages.limited.limits: none -> parallel=3" in planned
    assert rig.json("pilot", "show", "aurora")["revision"] == revision
    rig.ok("pilot", "import", str(file), "--reason", "fewer", "--yes")
    assert 'limits = "parallel=3"' in rig.ok("pilot", "export", "aurora")
    lines = exported.splitlines()
    at = next(n for n, line in enumerate(lines, 1) if line.startswith("most_partners"))
    file.write_text(exported.replace("most_partners", "most_partner"))
    slip = rig.cli("pilot", "import", str(file), "--reason", "x", "--yes")
    assert slip.exit == 2
    assert f"line {at}: stages.limited.most_partner: there is no key" in slip.err
    assert "did you mean most_partners?" in slip.err
    for was, wrong in (("grace = ", "grace = 5 #"), ('slug = "aurora"', 'slug = "Aurora!"')):
        file.write_text(exported.replace(was, wrong))
        slip = rig.cli("pilot", "import", str(file), "--reason", "x", "--yes")
        assert (slip.exit, "line " in slip.err) == (2, True), slip.err
    file.write_text("slug = ")
    assert rig.cli("pilot", "import", str(file), "--reason", "x", "--yes").exit == 2
    file.write_text(exported)
    rig.ok("pilot", "import", str(file), "--reason", "back", "--yes")


def test_a_principal_is_created_named_by_a_grant_and_retired(rig: Rig) -> None:
    made = rig.json("principal", "create", "acme", "--identifier", "user-77", "--kind", "service",
                    "--note", "the batch job", "--reason", "sent", "--yes")  # fmt: skip
    listed = rig.ok("principal", "list", "--partner", "acme")
    assert "the batch job" in listed
    assert "user-77" not in listed + rig.ok("principal", "show", made["id"])
    grant = rig.json("grant", "create", "acme", "--pilot", "aurora", "--stage", "limited",
                     "--capability", CAPABILITY, "--model", "aurora-1", "--purpose", "defence",
                     "--expires", "30d", "--principal", made["id"], "--limits", "parallel=2",
                     "--reason", "one job", "--yes")  # fmt: skip
    assert (grant["state"], grant["principals"]) == ("active", [made["id"]])
    again = rig.cli("principal", "create", "acme", "--identifier", "user-77", "--reason", "x",
                    "--yes")  # fmt: skip
    assert (again.exit, made["id"] in again.err) == (6, True)
    gone = rig.json("principal", "retire", made["id"], "--reason", "left", "--yes")
    assert gone["state"] == "retired"


def test_a_stage_says_what_it_asks_for_and_what_a_grant_in_it_gets(rig: Rig) -> None:
    rig.ok("pilot", "stage", "aurora", "limited:most-partners=1000,longest=90d", "--criterion",
           "a red-team week without findings", "--limits", "parallel=3", "--reason", "agreed",
           "--yes")  # fmt: skip
    wanted = ("grant", "create", "cedar", "--pilot", "aurora", "--stage", "limited",
              "--capability", CAPABILITY, "--model", "aurora-1", "--purpose", "defence",
              "--expires", "30d", "--reason", "agreed")  # fmt: skip
    planned = rig.ok(*wanted, "--dry-run")
    assert (
        "What stage limited asks for, which you check:\n  a red-team week without findings"
        in planned
    )
    assert "limits: parallel=3" in planned
    rig.ok("pilot", "stage", "aurora", "limited:most-partners=900,longest=90d", "--reason",
           "fewer", "--yes")  # fmt: skip
    (kept,) = rig.json("pilot", "show", "aurora")["stages"]
    assert (kept["most_partners"], kept["limits"]["parallel"]) == (900, 3)
    assert kept["criteria"] == ["a red-team week without findings"]
