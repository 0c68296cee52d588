"""Running `pilotctl` in this process, as a process, and on a terminal, against tiny APIs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tiny_api import TinyApi

from console.cli.main import main

ROOT = Path(__file__).parents[2]
AT = "2026-03-01T12:00:00Z"
GRANT_ID = "grt_01J9ZK00000000000000000000"


def stored(id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id, "revision": 1, "created_at": AT, "created_by": "root", "updated_at": AT,
        "updated_by": "root", "labels": {}, **more,
    }  # fmt: skip


def grant(**more: Any) -> dict[str, Any]:
    plain = {
        "pilot": "aurora", "stage": "sandbox", "partner": "acme", "capabilities": ["cyber.read"],
        "models": ["aurora-1"], "networks": [], "purpose": "tests", "not_before": AT,
        "expires_at": "2099-01-01T00:00:00Z", "tier": 1, "state": "active",
    }  # fmt: skip
    return stored(GRANT_ID, **{**plain, **more})


def receipt(**more: Any) -> dict[str, Any]:
    return {
        "id": "rcp_01J9ZK00000000000000000000", "action": "grant.revoke", "kind": "grant",
        "target": GRANT_ID, "partner": "acme", "reason": "over", "by": "root",
        "requested_at": AT, "recorded_at": AT, "sequence": 7, "credentials": 1,
        "points": [{"point": "gw-1", "state": "waiting"}], "prober": "control",
        "event_id": "evt_01J9ZK00000000000000000000", "state": "unverified",
        "why": "gw-1 did not answer", **more,
    }  # fmt: skip


def page(*items: Any, source: str = "policy", **more: Any) -> dict[str, Any]:
    return {"as_of": AT, "source": source, "items": list(items), **more}


def blast(*partners: str) -> dict[str, Any]:
    return {"partners": list(partners), "grants": [GRANT_ID], "credentials": 1, "streams": 0}


def unread(descriptor: int) -> int:
    """Return the bytes that wait to be read."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


class Ended(NamedTuple):
    """How a command ended."""

    exit: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON object on standard error."""
        assert self.err.count("\n") == 1, self.err
        said: dict[str, Any] = json.loads(self.err)["error"]
        return said


class Rig:
    """A console and the API that all three of its addresses lead to."""

    def __init__(self, api: TinyApi, capfd: Any, folder: Path) -> None:
        self.api = api
        self._capfd = capfd
        self.environ = {
            "HOME": str(folder), "PATH": os.environ["PATH"], "TERM": "xterm",
            **{f"PILOTCTL_{name}": api.address for name in ("POLICY", "GATEWAY", "AUDIT")},
        }  # fmt: skip

    def __call__(self, *words: str, **more: str) -> Ended:
        """Run in this process, where standard streams are no terminal."""
        self._capfd.readouterr()
        code = main(list(words), {**self.environ, **more})
        out, err = self._capfd.readouterr()
        return Ended(code, out, err)

    def process(self, *words: str, stdin: str = "", **more: str) -> Ended:
        """Run as a process with pipes."""
        done = subprocess.run(
            [sys.executable, "-m", "console", *words],
            input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=60,
            env={**self.environ, **more}, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def terminal(self, *words: str, columns: int = 80, **more: str) -> Terminal:
        """Run on a terminal of its own."""
        return Terminal(words, {**self.environ, "COLUMNS": str(columns), **more})


class Terminal:
    """A command on a pseudo-terminal: wait for words, type, look at what was written."""

    def __init__(self, words: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self.seen = ""
        self._main, replica = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "console", *words],
            stdin=replica, stdout=replica, stderr=replica, cwd=ROOT, env=dict(environ),
            start_new_session=True,
        )  # fmt: skip
        os.close(replica)

    def expect(self, words: str, seconds: float = 60.0) -> str:
        """Wait until `words` have been written; return everything up to now."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            assert self._read(end), f"{words!r} not in {self.seen!r}"
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end and return the exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        os.close(self._main)
        return self._process.wait(max(1.0, end - time.monotonic()))

    def _read(self, end: float) -> bool:
        left = end - time.monotonic()
        if left <= 0 or not select.select([self._main], [], [], left)[0]:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:
            return False
        self.seen += data.decode()
        return bool(data)
