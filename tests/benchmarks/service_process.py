"""One service as a process of its own, for what a benchmark measures of a process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(service: str, home: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Run a service over the store in `home`, and ask it until it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"console.services.{service}", "--home", str(home)], cwd=ROOT
    )
    transport = httpx.HTTPTransport(uds=str(home / "run" / f"{service}.sock"))
    try:
        with httpx.Client(transport=transport, base_url="http://service", timeout=30) as client:
            for _ in range(3000):
                try:
                    client.get("/v1/status")
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    said = Path(f"/proc/{pid}/status").read_text()
    return int(said.partition("VmRSS:")[2].split()[0]) / 1024
