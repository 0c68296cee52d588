"""One gateway before a laboratory upstream, shared by the tests that do not harm it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.gateway.rig import Rig

HERE = Path(__file__).parent


class Lab:
    """The laboratory upstream."""

    def __init__(self, url: str) -> None:
        self.url = url

    def said(self) -> dict[str, Any]:
        """Return what it saw so far."""
        with urllib.request.urlopen(f"{self.url}/seen", timeout=60) as answer:
            read: dict[str, Any] = json.loads(answer.read())
            return read

    def config(self) -> str:
        """Return the settings that put it behind a gateway, under both dialects."""
        return (
            f'[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
            f'[upstreams.lab]\nkind = "openai"\nbase_url = "{self.url}/v1"\n'
            f'key_file = "keys/lab.key"\nread_seconds = 1\n'
            f'[upstreams.lab-a]\nkind = "anthropic"\nbase_url = "{self.url}/v1"\n'
            f'key_file = "keys/lab.key"\n'
            f'[upstreams.nobody]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
            f'[models]\naurora-1 = "builtin"\naurora-2 = "builtin"\n'
            f'lab-1 = "lab:lab-model"\nlab-2 = "lab-a:lab-model"\ngone-1 = "nobody"\n'
        )


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    port = tmp_path_factory.mktemp("u") / "port"
    process = subprocess.Popen([sys.executable, str(HERE / "lab_upstream.py"), str(port)])
    try:
        end = time.monotonic() + 60
        while not port.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield Lab(f"http://127.0.0.1:{port.read_text()}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def gateway(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    home = tmp_path_factory.mktemp("g")
    (home / "keys").mkdir(mode=0o700)
    key = home / "keys" / "lab.key"
    key.touch(mode=0o600)
    key.write_text("upstream-own-key\n")
    with Rig(home, lab.config()) as rig:
        yield rig


@pytest.fixture(scope="session")
def priced(gateway: Rig) -> Rig:
    """The shared gateway, where a token of the laboratory costs 1 micro-unit in, 10 out."""
    for model in ("lab-1", "lab-2"):
        price = {"model": model, "input_micros": 10**6, "output_micros": 10**7, "reason": "test"}
        gateway.call("POST", "/v1/prices", price)
    return gateway
