"""Following what happens: tails that resume, waiting for a state, reads that are recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Any

import pytest

from tests.thread.pilot_rig import ROOT, Rig, granted, key_of, programme, running, short_folder

WHY = ("--reason", "a rehearsal")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as found:
        programme(found)
        yield found


class Follower:
    """A `tail` as a process, whose lines are read as they come."""

    def __init__(self, rig: Rig, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console", *words], env=rig.env, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._lines: Queue[str] = Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def rows(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found.append(json.loads(self._lines.get(timeout=60)))
        return found

    def ended(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def made(rig: Rig, names: Sequence[str]) -> None:
    for name in names:
        rig.do(
            "partner.create", slug=name, name=name, sponsor=rig.operator, egress=["127.0.0.0/24"],
            subprocessors=[], reason="asked to join",
        )  # fmt: skip


def killed(rig: Rig) -> None:
    """Kill audit, and wait until another serves."""
    before = rig.pid("audit")
    os.kill(before, signal.SIGKILL)
    rig.until(lambda: rig.pid("audit") not in {0, before} and rig.all_running())


def test_a_tail_shows_each_event_once_proven_and_goes_on_after_an_outage(rig: Rig) -> None:
    before = len(rig.logged())
    with Follower(rig, "audit", "tail", "--from", "0", "-o", "jsonl") as tail:
        rows = tail.rows(before)
        made(rig, ["p-one", "p-two"])
        rows += tail.rows(2)
        killed(rig)
        made(rig, ["p-three"])
        while rows[-1]["target"] != rig.json("partner", "show", "p-three")["id"]:
            rows += tail.rows(1)
        assert [row["index"] for row in rows] == list(range(len(rows)))
        assert all(row["verified"] for row in rows), [row["why"] for row in rows if row["why"]]
        assert tail.ended() == 130


def test_a_filter_a_start_and_a_count(rig: Rig) -> None:
    made(rig, ["p-four"])
    done = rig.cli(
        "audit", "tail", "--from", "0", "--action", "partner.create", "--count", "2",
        "-o", "jsonl",
    )  # fmt: skip
    assert done.exit == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["action"] for row in rows] == ["partner.create"] * 2
    assert "  ok  partner.create" in rig.ok("audit", "tail", "--from", "0", "--count", "9")
    assert rig.cli("audit", "tail", "-o", "json").exit == 2
    assert rig.cli("call", "tail", "--actor", "somebody").exit == 2
    assert rig.cli("tail").exit == 2
    assert rig.cli("audit", "tail", "--from", "999999").exit == 2


def test_a_tail_ends_when_nobody_reads_it(rig: Rig) -> None:
    command = f"{sys.executable} -m console audit tail --from 0; echo ended $? >&2"
    done = subprocess.run(
        f"({command}) | head -1", shell=True, env=rig.env, cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.strip().endswith("ended 141")
    assert done.stdout.count("\n") == 1


def test_calls_are_followed_and_said_to_be_unproven(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    with Follower(rig, "call", "tail", "--partner", "acme", "--from", "1", "-o", "jsonl") as tail:
        assert rig.call(key).status_code == 200
        row = tail.rows(1)[-1]
        while row["outcome"] != "allowed":
            row = tail.rows(1)[-1]
        assert (row["partner"], row["outcome"], row["verified"]) == ("acme", "allowed", False)
        assert "digest" in row["why"]
    found = rig.json("call", "list", "--text", "httpx", "--outcome", "allowed")
    assert row["id"] in {each["id"] for each in found["items"]}
    assert rig.json("call", "list", "--text", "nothing-like-it")["items"] == []
    assert rig.json("call", "list", "--network", "127.0.0.1")["items"]


def test_waiting_ends_when_it_is_so_when_it_never_can_be_and_when_the_time_is_over(
    rig: Rig,
) -> None:
    grant = granted(rig).id
    assert rig.json("wait", "grant", grant, "--for", "state=active")["state"] == "active"
    assert rig.json("wait", "point", "gw-1")["state"] == "serving"
    late = rig.cli("wait", "grant", grant, "--for", "suspended", "--timeout", "1s")
    assert late.exit == 9
    assert "deadline" in late.err
    told = rig.cli("grant", "revoke", grant, *WHY, "--confirm", "acme", "--no-wait", "-o", "json")
    receipt = json.loads(told.out)
    assert rig.json("wait", "receipt", receipt["id"])["state"] == "verified"
    assert rig.json("wait", "event", receipt["event_id"])["event_id"] == receipt["event_id"]
    never = rig.cli("wait", "grant", grant, "--for", "active", "--timeout", "30s")
    assert (never.exit, "never" in never.err) == (9, True)
    assert rig.cli("wait", "grant", "grt_01J9ZK00000000000000000000", "--for", "active").exit == 3
    assert rig.cli("wait", "grants", grant).exit == 2


def test_reads_of_evidence_are_events_and_polling_does_not_flood_the_log(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    assert rig.call(key).status_code == 200
    call = rig.until(lambda: rig.json("call", "list")["items"])[0]["id"]
    for _ in range(3):
        rig.ok("call", "explain", call)
        rig.ok("audit", "show", "0")
        rig.ok("call", "list")
        rig.ok("audit", "list")
    reads = [each for each in rig.logged() if each.action.startswith("read.")]
    seen = [(each.action, each.target) for each in reads]
    first = rig.events()[0].id
    assert seen.count(("read.call", call)) == 1
    assert seen.count(("read.event", first)) == 1
    assert all(each.actor == rig.operator for each in reads)
    # Reading the record of a read is not recorded: it would never end.
    rig.ok("audit", "show", str(reads[0].index))
    assert ("read.event", reads[0].id) not in [(e.action, e.target) for e in rig.logged()]


def test_exports_are_reads_of_evidence_too(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    assert rig.call(key).status_code == 200
    pilot = rig.json("pilot", "list")["items"][0]["slug"]
    for _ in range(3):
        rig.ok("usage", "export", "--partner", "acme", "-o", "csv")
        rig.ok("pilot", "export", pilot)
        rig.ok("usage", "show")
    reads = [each for each in rig.logged() if each.action in {"read.usage", "read.pilot"}]
    assert sorted((each.action, each.kind, each.target) for each in reads) == [
        ("read.pilot", "pilot", pilot), ("read.usage", "usage", "acme"),
    ]  # fmt: skip
    assert {each.actor for each in reads} == {rig.operator}
    rig.ok("usage", "export")
    assert ("read.usage", "*") in [(each.action, each.target) for each in rig.logged()]


def test_a_console_that_pinned_the_old_key_follows_a_rotation_and_not_a_restart(rig: Rig) -> None:
    before = rig.json("log", "show")
    stranger = {**rig.env, "XDG_STATE_HOME": str(rig.home.parent / "second")}
    first = subprocess.run(
        [sys.executable, "-m", "console", "log", "show"], env=stranger, cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    assert first.returncode == 0
    made_ = rig.json("log", "rotate-key", *WHY, "--yes")
    assert made_["old_key"] == before["key"] != made_["new_key"]
    now = rig.json("log", "show")
    assert (now["key"], now["origin"]) == (made_["new_key"], before["origin"])
    rig.ok("audit", "verify")
    rig.json("log", "rotate-key", *WHY, "--yes")
    assert rig.json("log", "show")["key"] != made_["new_key"]
    # A console that saw neither rotation follows both, each by what the key before announced.
    again = subprocess.run(
        [sys.executable, "-m", "console", "log", "show", "-o", "json"], env=stranger, cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    killed(rig)

    ended = rig.json("log", "restart", *WHY, "--confirm", before["origin"])
    assert ended["index"] == 0
    assert rig.cli("log", "show").exit == 11
    found = rig.json("log", "succession")
    assert (found["same"], found["missing"]) == (True, 0)
    rig.ok("log", "repin", "--confirm", found["origin"])
    rig.ok("audit", "verify")
    assert (rig.home / "log.ended").is_dir()
    killed(rig)
    made(rig, ["p-five"])
    rig.ok("audit", "verify")
    kinds = [each["kind"] for each in rig.json("log", "list")["items"]]
    assert kinds == ["rotation", "rotation", "restart"]
