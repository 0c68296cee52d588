"""An evening on call, by commands, on the whole stack: a burst, a page, triage, a silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.thread.pilot_rig import PLAIN, Rig, running, short_folder


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


def knock(rig: Rig, count: int) -> None:
    """That many calls with a key that never existed."""
    base = rig.points()[0]
    with httpx.Client(verify=PLAIN) as client:
        for _ in range(count):
            rig.call("pk-never-was", base=base, client=client)


def paged(path: Path) -> list[dict[str, object]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def test_an_evening_on_call(rig: Rig) -> None:
    pages = rig.home / "pages.jsonl"
    folder = rig.home / "paging"
    folder.mkdir(mode=0o755)
    program = folder / "page"
    program.write_text('#!/bin/sh\ncat >> "$1"; echo >> "$1"\n')
    program.chmod(0o755)
    rig.ok(
        "oncall", "add", "night", "--command", "page", "--argument", str(pages),
        "--severity", "medium,high", "--reason", "the rota", "--yes",
    )  # fmt: skip
    later = (
        "oncall", "add", "backup", "--command", "page", "--argument", str(pages), "--level", "2",
        "--severity", "medium,high", "--after", "90m", "--reason", "if nobody does",
    )  # fmt: skip
    planned = rig.ok(*later, "--dry-run")
    assert "at level 2, at any hour, 1h30m later, where nobody has taken the alert on" in planned
    rig.ok(*later, "--yes")
    assert [each["after_seconds"] for each in rig.json("oncall", "list")["items"]] == [0, 5400]
    rig.ok("oncall", "test", "night", "--reason", "does it arrive", "--yes")
    rig.until(lambda: [each for each in paged(pages) if each["type"] == "test"])

    rig.ok("rule", "tune", "unknown-key-burst", "--threshold", "5", "--reason", "r", "--yes")
    knock(rig, 8)
    (alert,) = rig.until(lambda: rig.json("alert", "list", "--rule", "unknown-key-burst")["items"])
    told = rig.until(lambda: [each for each in paged(pages) if each["type"] == "alert.created"])
    assert told[0]["data"]["id"] == alert["id"]  # type: ignore[index]
    assert rig.json("oncall", "deliveries", "--state", "failed")["items"] == []

    shown = {each["target"]: each for each in rig.json("alert", "show", alert["id"])["pages"]}
    assert shown["backup"]["state"] == "waiting"
    up = rig.ok("alert", "escalate", alert["id"], "--reason", "r", "--dry-run")
    assert "backup (command), level 2, where nobody takes it on within 1h30m" in up
    me = rig.json("alert", "acknowledge", alert["id"], "--yes")["assignee"]
    (spared,) = rig.json("oncall", "deliveries", "--state", "cancelled")["items"]
    assert (spared["target"], spared["error"]) == ("backup", f"not sent: acknowledged by {me}")
    rig.ok("alert", "assign", alert["id"], me, "--reason", "mine", "--yes")
    rig.ok("alert", "comment", alert["id"], "--text", "who is this?", "--yes")
    asleep = rig.json("alert", "snooze", alert["id"], "--until", "4h", "--reason", "dull", "--yes")
    assert asleep["state"] == "snoozed"
    knock(rig, 20)
    awake = rig.until(lambda: rig.json("alert", "list", "--state", "in_progress")["items"])
    assert awake[0]["id"] == alert["id"]
    raised = rig.json(
        "alert", "escalate", alert["id"], "--severity", "high", "--reason", "again", "--yes"
    )
    assert (raised["severity"], raised["count"] >= 16) == ("high", True)

    made = rig.json(
        "silence", "add", "--rule", "unknown-*", "--match", "network=127.0.0.*",
        "--until", "2h", "--reason", "our own scanner", "--yes",
    )  # fmt: skip
    assert made["alerts"] == 1
    knock(rig, 6)
    rig.until(lambda: rig.json("silence", "show", made["id"])["hits"] >= 6)
    rig.ok("alert", "close", alert["id"], "--verdict", "benign", "--reason", "our scanner", "--yes")
    ended = rig.json("silence", "show", made["id"])
    assert (ended["state"], ended["ended_why"]) == ("ended", "its alerts are resolved")
    trial = rig.json("rule", "test", "unknown-key-burst", "--since", "1h", "--threshold", "3")
    assert (trial["alerts"], trial["matches"] >= 34) == (1, True)

    actions = {each.action for each in rig.until(lambda: rig.events(action="alert."))}
    assert {"alert.create", "alert.snooze", "alert.wake", "alert.escalate"} <= actions


def test_the_threshold_of_a_rule_about_spend_is_read_and_typed_as_money(rig: Rig) -> None:
    assert rig.json("rule", "show", "spend-spike")["threshold"] == 5_000_000
    shown = rig.ok("rule", "show", "spend-spike")
    assert re.search(r"^threshold +5\.00$", shown, re.MULTILINE)
    plan = rig.ok("rule", "tune", "spend-spike", "--threshold", "7.5", "--reason", "r", "--dry-run")
    assert "norm of spend: 5.00 within 1h" in plan
    assert "norm of spend: 7.50 within 1h" in plan
    tuned = rig.json("rule", "tune", "spend-spike", "--threshold", "7.5", "--reason", "r", "--yes")
    assert tuned["threshold"] == tuned["tuning"]["threshold"] == 7_500_000
    listed = rig.ok("rule", "list")
    assert re.search(r"^spend-spike .* 7\.50 .* threshold=7\.50 ", listed, re.MULTILINE), listed
    shown = rig.ok("rule", "show", "spend-spike")
    assert re.search(r"^ +threshold +7\.50$", shown, re.MULTILINE)
    trial = rig.json("rule", "test", "spend-spike", "--since", "1h", "--threshold", "0.01")
    assert trial["rule"] == "spend-spike"
    half = rig.cli("rule", "tune", "denial-burst", "--threshold", "7.5", "--reason", "r", "--yes")
    assert half.exit == 2
    assert "denial-burst counts" in half.err
    rig.ok("rule", "tune", "spend-spike", "--reason", "back", "--yes")


def test_a_rule_of_ones_own_by_file_and_a_mistake_in_it(rig: Rig, tmp_path: Path) -> None:
    text = (
        'id = "many-hellos"\ntitle = "Many hellos"\nseverity = "low"\nreads = "calls"\n'
        'window_seconds = 60\nthreshold = 2\ngroup_by = ["point"]\ndescription = "d"\n'
        'runbook = "r"\n\n[match]\nuser_agent = { starts = "python" }\n'
    )
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("group_by", "groupby"))
    bad = rig.cli("rule", "add", str(file), "--reason", "r", "--yes")
    assert bad.exit == 2
    assert "many-hellos.toml:7:" in bad.err
    assert "did you mean 'group_by'" in bad.err
    file.write_text(text)
    plan = rig.ok("rule", "add", str(file), "--reason", "r", "--dry-run")
    assert "count of calls: 2 within 1m" in plan
    rig.ok("rule", "add", str(file), "--reason", "r", "--yes")
    knock(rig, 3)
    rig.until(lambda: rig.json("alert", "list", "--rule", "many-hellos")["items"])
    rig.ok("rule", "disable", "many-hellos", "--reason", "enough", "--yes")
    assert rig.json("rule", "show", "many-hellos")["state"] == "off"
    rig.ok("rule", "remove", "many-hellos", "--reason", "enough", "--yes")
    refused = rig.cli("rule", "disable", "opening-without-approval", "--reason", "r", "--yes")
    assert refused.exit == 5
