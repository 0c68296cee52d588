"""Ctrl-C at every moment, and words that nobody takes: the exit code tells what is known."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pilot_rig import GRANT_ID, ROOT, Rig, blast, grant, page, receipt, unread
from tiny_api import Asked, Told

OTHER = "grt_01J9ZK11111111111111111111"
THIRD = "grt_01J9ZK22222222222222222222"
MANY = receipt(points=[{"point": f"gw-{at}", "state": "waiting"} for at in range(3000)])
REVOKE = ("grant", "revoke", GRANT_ID, "--reason", "r", "--confirm", "acme", "--timeout", "1s")


@pytest.fixture
def api(rig: Rig) -> Any:
    rig.api.on("POST /v1/locks:blast", blast("acme"))
    for each in (GRANT_ID, OTHER, THIRD):
        rig.api.on(f"GET /v1/grants/{each}", grant() | {"id": each})
    return rig.api


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def begun(rig: Rig, *words: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "console", *words], stderr=subprocess.PIPE, cwd=ROOT,
        env=rig.environ, text=True, **streams,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_words_that_a_full_disk_does_not_take_leave_the_exit_code(rig: Rig) -> None:
    rig.api.on("GET /v1/grants", page(grant()))
    for words, code in ((("grant", "lst"), 2), (("grant", "list", "--verbose"), 0)):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "console", *words], stdout=subprocess.DEVNULL, stderr=full,
                cwd=ROOT, env=rig.environ, check=False, timeout=60,
            )  # fmt: skip
        assert done.returncode == code, words


def test_a_terminal_that_goes_away_leaves_the_exit_code(rig: Rig) -> None:
    read, write = os.pipe()
    ours, theirs = pty.openpty()
    words = ("terms", "publish", "aurora", "--title", "t", "--file", "-", "--reason", "r", "--yes")
    with os.fdopen(read), os.fdopen(write, "wb"):
        process = subprocess.Popen(
            [sys.executable, "-m", "console", *words], stdin=read, stdout=theirs, stderr=theirs,
            cwd=ROOT, env=rig.environ, start_new_session=True,
        )  # fmt: skip
        os.write(write, b"half of the te")
        until(lambda: not unread(read))
        os.close(theirs)
        os.close(ours)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_interrupted_while_it_loads_is_130_in_words(rig: Rig) -> None:
    code = """
import os, signal, sys
import console.__main__ as command
class Loading:
    def find_spec(self, name, path=None, target=None):
        if name == "console.cli.main":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Loading())
sys.argv[1:] = ["grant", "list", *sys.argv[1:]]
sys.exit(command.main())
"""
    for more in ((), ("-o", "json")):
        done = subprocess.run(
            [sys.executable, "-c", code, *more], capture_output=True, text=True, cwd=ROOT,
            env=rig.environ, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 130, done
        assert "nothing was sent" in done.stderr
        assert "Traceback" not in done.stderr
        assert not more or json.loads(done.stderr)["error"]["code"] == "interrupted"


def test_interrupted_while_its_result_is_written_never_says_that_nothing_was_sent(
    rig: Rig, api: Any
) -> None:
    api.on("POST /v1/tombstones", MANY, status=201)
    read, write = os.pipe()
    with os.fdopen(read), begun(rig, *REVOKE, "--no-wait", "-o", "json", stdout=write) as process:
        os.close(write)
        # more than a pipe takes: it waits for a reader
        until(lambda: unread(read) > 4000 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert json.loads(err)["error"]["message"] == "grant.revoke was done, and is no longer followed"


def test_interrupted_amid_several_it_stops_and_says_what_became_of_each(
    rig: Rig, api: Any, tmp_path: Any
) -> None:
    arrived, release = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Told:
        if asked.body["id"] == OTHER:
            arrived.set()
            release.wait(60)
        return Told(receipt(target=asked.body["id"]), 201)

    api.on("POST /v1/tombstones", answer)
    (tmp_path / "ids").write_text("\n".join((GRANT_ID, OTHER, THIRD)))
    words = ("grant", "revoke", "--ids-from", str(tmp_path / "ids"), "--reason", "r", "--no-wait")
    with begun(
        rig, *words, "--confirm", "3 grants", "-o", "json", stdout=subprocess.DEVNULL
    ) as process:
        assert arrived.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        release.set()
    assert process.returncode == 9, err
    failed = json.loads(err)["error"]["detail"]["failed"]
    assert [(each["id"], each["code"]) for each in failed] == [
        (OTHER, "unknown-outcome"), (THIRD, "interrupted"),
    ]  # fmt: skip
    assert failed[1]["message"] == "interrupted: not sent"
    sent = [each.body["id"] for each in api.writes() if each.path == "/v1/tombstones"]
    assert sent == [GRANT_ID, OTHER]


def test_one_request_that_was_interrupted_is_not_said_to_be_unsent(rig: Rig, api: Any) -> None:
    arrived, release = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Told:
        arrived.set()
        release.wait(60)
        return Told(receipt(), 201)

    api.on("POST /v1/tombstones", answer)
    body = json.dumps({"kind": "grant", "id": GRANT_ID, "reason": "r"})
    words = ("api", "POST", "gateway/v1/tombstones", "--data", body, "--yes")
    for key in ((), ("--idempotency-key", "k-1")):
        arrived.clear()
        release.clear()
        with begun(rig, *words, *key, stdout=subprocess.DEVNULL) as process:
            assert arrived.wait(60)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            release.set()
        assert process.returncode == 9, err
        assert "may or may not have been done" in err


def test_what_the_owner_does_at_the_machine_is_not_said_to_be_undone(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    class Owner(NamedTuple):
        home: object
        cut: Any = interrupted

    monkeypatch.setattr("console.services.owner.owner_acts.Owner", Owner)
    told = rig("owner", "cut", "mhr", "--reason", "r", "--yes", "--home", str(tmp_path))
    assert told.exit == 9
    assert "owner cut mhr may have been done" in told.err
    assert f"pilotctl owner list --home {tmp_path}" in told.err

    def restore(_home: object, order: Any) -> None:
        if not order.dry_run:
            raise KeyboardInterrupt

    monkeypatch.setattr("console.services.backup.restore.restore", restore)
    words = ("restore", str(tmp_path / "b"), "--home", str(tmp_path), "--reason", "r", "--yes")
    told = rig(*words)
    assert told.exit == 9, told.err
    assert "may have been done, whole or in part" in told.err
