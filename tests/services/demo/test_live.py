"""The demo as it runs: incidents that unfold, operators to look as, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from console.services.demo import partner_events
from console.services.demo.stage import Demo

pytestmark = pytest.mark.long

WAITED = {
    ("egress-undeclared", "acme"),
    ("key-many-networks", "acme"),
    ("denial-burst", "halcyon"),
    ("spend-spike", "bramble"),
    ("expiring-tomorrow", "lanternfish"),
}


def pilotctl(home: Path, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PILOTCTL_HOME": str(home), "PILOTCTL_PROFILE": "local"}
    if token:
        environ["PILOTCTL_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-m", "console", *words],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def look(home: Path, *words: str) -> list[dict[str, Any]]:
    done = pilotctl(home, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def until(ready: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"no {what} within {seconds:.0f} s"
        time.sleep(1.0)


def processes_of(folder: str) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = each.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if folder in told:
            found.append(told)
    return found


def test_every_incident_becomes_its_alert_and_each_can_be_contained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partner_events, "TERMS_LAPSE_AFTER", timedelta(seconds=150))
    with (
        tempfile.TemporaryDirectory(prefix="pilotctl-demo-", ignore_cleanup_errors=True) as folder,
        Demo(Path(folder) / "home", number=1, incident_after=2.0, day=6) as demo,
    ):
        home = demo.home
        tokens = {path.stem: path for path in (home / "personas").iterdir()}
        assert set(tokens) == {"owner-1", "duty-1", "duty-2", "approver-1", "auditor-1"}
        assert {path.stat().st_mode & 0o777 for path in tokens.values()} == {0o600}
        duty, auditor = (tokens[each].read_text().strip() for each in ("duty-1", "auditor-1"))

        def alerted() -> set[tuple[str, str]]:
            opened = look(home, "alert", "list", "--state", "open")
            return {(each["rule"], each["partner"]) for each in opened}

        until(lambda: alerted() >= WAITED, 150, "alert of each incident")

        leaked = look(home, "key", "list", "--holder", "datawharf")[0]["id"]
        closes = (
            ("key", "revoke", leaked, "--reason", "leaked", "--confirm", "acme"),
            ("lock", "add", "partner", "halcyon", "--reason", "probing", "--yes"),
            ("lock", "add", "partner", "bramble", "--reason", "spend", "--yes"),
        )
        for words in closes:
            refused = pilotctl(home, *words, token=auditor)
            assert refused.returncode == 5, refused.stderr
            done = pilotctl(home, *words, token=duty)
            assert done.returncode == 0, done.stderr
        said = {each["actor"] for each in look(home, "audit", "list", "--action", "lock.add")}
        assert "duty-1" in said

        def lapsed() -> bool:
            grants = look(home, "grant", "list", "--partner", "lanternfish")
            return [each["state"] for each in grants] == ["suspended"]

        until(lapsed, 150, "suspension by itself")
        grant = look(home, "grant", "list", "--partner", "lanternfish")[0]
        assert grant["state_reason"] == "terms_lapsed"

        refused = pilotctl(home, "up", "--home", str(home))
        assert refused.returncode == 5
        assert "personas" in refused.stderr
        verified = pilotctl(home, "audit", "verify")
        assert verified.returncode == 0, verified.stderr
    assert not home.exists()
    assert processes_of(folder) == []


def test_a_demo_that_is_killed_leaves_no_process_and_no_folder() -> None:
    with tempfile.TemporaryDirectory(prefix="kd-") as folder:
        demo = subprocess.Popen(
            [sys.executable, "-m", "console", "demo", "--at", "1"],
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(lambda: any(Path(folder).glob("*/home/run/policy.sock")), 60, "service")
            assert demo.poll() is None
        finally:
            demo.send_signal(signal.SIGKILL)
            demo.wait(10)
        until(lambda: not processes_of(folder), 60, "end of what it started")
        until(lambda: not list(Path(folder).iterdir()), 20, "empty folder")


def test_the_tour_runs_to_its_end_on_any_day_and_the_log_verifies() -> None:
    with tempfile.TemporaryDirectory(prefix="kt-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "console", "demo", "--at", "2"],
            env={**os.environ, "TMPDIR": folder}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "day 2 of 90" in done.stderr
        assert "good       yes" in done.stdout.splitlines(), done.stdout[-2000:]
        assert list(Path(folder).iterdir()) == []
        assert processes_of(folder) == []
