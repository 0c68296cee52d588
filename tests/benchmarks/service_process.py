"""One service as a process of its own, for what a benchmark measures of a process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(service: str, home: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Run a service over the store in `home`, and ask it until it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"console.services.{service}", "--home", str(home)], cwd=ROOT
    )
    path = str(home / "run" / f"{service}.sock")
    transport = httpx.HTTPTransport(uds=path)
    try:
        _until_it_listens(path)
        with httpx.Client(transport=transport, base_url="http://service", timeout=30) as client:
            assert client.get("/v1/status").status_code < 500
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def _until_it_listens(path: str) -> None:
    end = time.monotonic() + 300  # a store of ten million calls takes its time to open
    while True:
        with socket.socket(socket.AF_UNIX) as tried, suppress(OSError):
            tried.connect(path)
            return
        assert time.monotonic() < end, f"nothing listens at {path}"
        time.sleep(0.1)


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    said = Path(f"/proc/{pid}/status").read_text()
    return int(said.partition("VmRSS:")[2].split()[0]) / 1024
