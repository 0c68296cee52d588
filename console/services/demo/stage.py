"""Set the demo up and take it down: its own home, its services, its partners' traffic."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from console.errors import PilotError
from console.services import supervisor
from console.services.demo.seed import seed
from console.services.settings import prepare
from console.services.supervisor.report import SUPERVISOR

SETTINGS = """\
# The demo's pilot: two enforcement points on ports of their own choosing.
[data_plane]
host = "127.0.0.1"
ports = [0, 0]

[upstreams.builtin]
kind = "builtin"

[models]
aurora-1 = "builtin"
aurora-2 = "builtin"
meridian-1 = "builtin"
polaris-1 = "builtin"
polaris-2 = "builtin"
"""


class Demo:
    """A running demo. Leaving the `with` block stops everything and removes its home."""

    def __init__(self, home: Path, *, number: int, incident_after: float) -> None:
        self.home = home
        self._number = number
        self._incident_after = incident_after
        self._traffic: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Demo:
        """Start it. Raises PilotError; then nothing is left running."""
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, _ended)
        place = prepare(self.home)
        (place.path / "pilot.toml").touch(mode=0o600)
        (place.path / "pilot.toml").write_text(SETTINGS)
        try:
            supervisor.start(self.home)
            keys = asyncio.run(seed(place, getpass.getuser()))
            self._start_traffic(keys)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_traffic(self, keys: dict[str, str]) -> None:
        self._traffic = subprocess.Popen(  # noqa: S603 - our own program
            [
                sys.executable, "-m", "console.services.supervisor.leash",
                "console.services.demo.traffic",
                "--home", str(self.home), "--seed", str(self._number),
                "--incident-after", str(self._incident_after),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, SUPERVISOR: str(os.getpid())},
        )  # fmt: skip
        assert self._traffic.stdin is not None
        with self._traffic.stdin as pipe:
            pipe.write(json.dumps(keys).encode())

    def stop(self) -> None:
        """Stop the traffic and the services, and remove the demo's home."""
        if self._traffic is not None:
            self._traffic.terminate()
            try:
                self._traffic.wait(5)
            except subprocess.TimeoutExpired:
                self._traffic.kill()
                self._traffic.wait(5)
        with suppress(PilotError):
            supervisor.stop(self.home)
        shutil.rmtree(self.home, ignore_errors=True)


def _ended(number: int, _frame: FrameType | None) -> None:
    # raised, so that leaving the `with` block still stops everything
    raise SystemExit(128 + number)
