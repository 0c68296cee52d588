"""The thread by commands: grant, call, usage, alert, revoke, receipt, verify, in one script."""

from __future__ import annotations

import getpass
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.thread.pilot_rig import Rig, configure, faults_of, short_folder
from tests.thread.the_thread import GRANT, SEE, SET_UP, TAKE, THREAD, done_in


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A configured home in which nothing runs."""
    with short_folder() as folder:
        configure(folder / "home")
        rig = Rig(folder / "home")
        yield rig
        rig.close()
        rig.cli("down")


def expect(rig: Rig, *actions: str) -> list[Any]:
    """Wait until the log holds exactly these actions; return its events."""
    wanted = list(actions)
    rig.until(lambda: len(done_in(rig.actions())) >= len(wanted), what=f"{wanted} in the log")
    events = rig.logged()
    assert done_in([each.action for each in events]) == wanted
    return events


def test_the_thread_by_commands(rig: Rig) -> None:
    folder = rig.home.parent

    # a pilot on this machine
    assert "running" in rig.process("up").out
    again = rig.cli("up")
    assert (again.exit, "nothing was changed" in again.err) == (0, True)
    assert rig.cli("status", "--exit-status").exit == 0
    rig.ok("pilot", "create", "aurora", "--title", "Aurora", "--model", "aurora-1", "--stage",
           "limited:most-partners=10,longest=90d", "--reason", "agreed", "--yes")  # fmt: skip
    rig.ok("capability", "create", "cyber.vuln-discovery", "--title", "Find flaws", "--pilot",
           "aurora", "--category", "dual-use", "--tier", "2", "--model", "aurora-1", "--route",
           "chat.completions,messages", "--longest", "90d", "--reason",
           "agreed", "--yes")  # fmt: skip
    (folder / "terms.txt").write_text("For the stated purpose only.\n")
    rig.ok("terms", "publish", "aurora", "--title", "Terms", "--file", str(folder / "terms.txt"),
           "--reason", "agreed", "--yes")  # fmt: skip
    rig.ok("partner", "create", "acme", "--name", "Acme", "--sponsor", getpass.getuser(),
           "--egress", "192.0.2.0/24", "--reason", "asked", "--yes")  # fmt: skip
    expect(rig, *SET_UP)

    # a grant: what is missing, and how to mend it
    wanted = ("grant", "create", "acme", "--pilot", "aurora", "--stage", "limited", "--capability",
              "cyber.vuln-discovery", "--model", "aurora-1", "--network", "127.0.0.0/8",
              "--purpose", "defence", "--expires", "30d", "--reason", "approved use")  # fmt: skip
    planned = rig.ok(*wanted, "--dry-run")
    for said in ("pilotctl partner verify acme", "pilotctl terms accept aurora acme",
                 "pilotctl assessment create acme cyber.vuln-discovery"):  # fmt: skip
        assert said in planned
    unconfirmed = rig.cli(*wanted)
    assert (unconfirmed.exit, "--yes" in unconfirmed.err) == (10, True)
    expect(rig, *SET_UP)
    draft = rig.cli(*wanted, "--yes", "-o", "json")
    assert draft.exit == 8
    grant = draft.value["id"]
    assert draft.value["state"] == "draft"
    expect(rig, *SET_UP, *GRANT[:1])
    rig.ok("partner", "verify", "acme", "--until", "200d", "--evidence", "file 7", "--reason",
           "vetted", "--yes")  # fmt: skip
    rig.ok("terms", "accept", "aurora", "acme", "--signatory", "counsel", "--evidence", "copy",
           "--reason", "received", "--yes")  # fmt: skip
    made = rig.json("assessment", "create", "acme", "cyber.vuln-discovery", "--assessor", "risk",
                    "--summary", "low", "--valid-until", "180d", "--reason", "read",
                    "--yes")  # fmt: skip
    rig.ok("assessment", "accept", made["id"], "--reason", "agreed", "--yes")
    assert rig.json("grant", "check", grant)["gaps"] == []
    active = rig.json("grant", "activate", grant, "--reason", "nothing is missing", "--yes")
    assert active["state"] == "active"
    expect(rig, *SET_UP, *GRANT[:-1])

    # a key, to a file that only its owner can read
    file = folder / "acme.key"
    issued = rig.cli("key", "issue", grant, "--reason", "first", "--yes", "--secret-file",
                     str(file), "-o", "json")  # fmt: skip
    key = file.read_text().strip()
    assert issued.exit == 0
    assert key.startswith("sk-pilot-")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in issued.out + issued.err
    expect(rig, *SET_UP, *GRANT)

    # a call, from a network that the partner did not declare: usage, and an alert
    answer = rig.until(lambda: _served(rig, key), what="served")
    request = answer.headers["x-request-id"]
    used = rig.until(lambda: rig.json("usage", "show", "--by", "partner")["items"])
    assert [(row["group"], row["allowed"]) for row in used] == [("acme", 1)]
    assert used[0]["output_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert request in rig.ok("call", "list")
    assert rig.json("call", "explain", request)["call"]["outcome"] == "allowed"
    alert = rig.until(lambda: rig.json("alert", "list", "--state", "open")["items"])[0]
    assert (alert["rule"], alert["partner"]) == ("egress-undeclared", "acme")
    rig.ok("alert", "acknowledge", alert["id"], "--reason", "looking", "--yes")
    refused = rig.cli("alert", "close", alert["id"], "--verdict", "true_positive", "--reason",
                      "leaked", "--yes")  # fmt: skip
    assert (refused.exit, "pilotctl key revoke" in refused.err) == (6, True)
    expect(rig, *SET_UP, *GRANT, *SEE)

    # the end of it, proven
    unnamed = rig.cli("grant", "revoke", grant, "--reason", "the key leaked", "--yes")
    assert (unnamed.exit, "--confirm acme" in unnamed.err) == (10, True)
    receipt = rig.json("grant", "revoke", grant, "--reason", "the key leaked", "--confirm", "acme")
    assert receipt["state"] == "verified"
    assert [(p["state"], p["method"]) for p in receipt["points"]] == [("refused", "probe")]
    assert receipt["log"]
    assert receipt["logged_at"]
    expect(rig, *SET_UP, *GRANT, *SEE, *TAKE[:2])
    after = rig.call(key)
    assert (after.status_code, after.json()["error"]["code"]) == (403, "grant_revoked")
    request = after.headers["x-request-id"]
    why = rig.until(lambda: _explained(rig, request), what="the refused call's record")
    assert (why["call"]["code"], why["call"]["grant_id"]) == ("grant_revoked", grant)
    expect(rig, *SET_UP, *GRANT, *SEE, *TAKE[:3])
    rig.ok("alert", "close", alert["id"], "--verdict", "true_positive", "--reason", "contained",
           "--yes")  # fmt: skip
    shown = rig.ok("receipt", "show", receipt["id"])
    assert "verified" in shown
    assert "gw-1" in shown

    # every step is in a log that verifies
    events = expect(rig, *THREAD)
    assert {each.actor for each in events if each.action in GRANT + TAKE} >= {rig_operator()}
    proof = rig.json("audit", "proof", receipt["event_id"])
    assert proof["event_id"] == receipt["event_id"]
    whole = rig.json("audit", "verify")
    assert whole["good"]
    assert whole["entries"] >= len(events)  # the clock adds digests of call records
    vkey = rig.json("api", "GET", "audit/v1/log/head")["key"]
    copy = rig.cli("audit", "verify", "--log", str(rig.home / "log"), "--vkey", vkey)
    assert copy.exit == 0, copy.err
    assert faults_of(events) == []
    assert not _bytes_of(rig.home, key.encode()), "the raw key is nowhere in the pilot's folder"
    assert "stopped" not in rig.ok("down")
    assert rig.cli("status", "--exit-status").exit == 1


def rig_operator() -> str:
    import pwd
    from os import getuid

    return pwd.getpwuid(getuid()).pw_name


def _served(rig: Rig, key: str) -> Any:
    """Call; the answer where it is one. The point hears of a new key a moment later."""
    answer = rig.call(key)
    return answer if answer.status_code == 200 else None


def _explained(rig: Rig, request: str) -> Any:
    done = rig.cli("call", "explain", request, "-o", "json")
    return done.value if done.exit == 0 else None


def _bytes_of(folder: Path, wanted: bytes) -> list[Path]:
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [each for each in files if wanted in each.read_bytes()]
