"""Set the demo up and take it down: its own home, its services, its partners' traffic."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType

import msgspec

from console.errors import PilotError
from console.model.text import now
from console.programs import module_command, module_environment
from console.services import supervisor
from console.services.demo import personas
from console.services.demo.chronicle import make
from console.services.demo.ground_truth import Made
from console.services.demo.personas import DAYS
from console.services.demo.traffic import Secrets
from console.services.settings import load, prepare
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
aurora-3 = "builtin"
meridian-1 = "builtin"
polaris-1 = "builtin"
polaris-2 = "builtin"
"""


TOLD_EVERY = 30
"""Days of history between two lines about its making."""


class Demo:
    """A running demo. Leaving the `with` block stops everything and removes its home."""

    def __init__(
        self,
        home: Path,
        *,
        number: int,
        incident_after: float,
        day: int = DAYS,
        say: Callable[[str], object] = bool,
    ) -> None:
        self.home = home
        self.day = day
        self._number = number
        self._incident_after = incident_after
        self._say = say
        self._traffic: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Demo:
        """Start it. Raises PilotError; then nothing is left running."""
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, _ended)
        place = prepare(self.home)
        (place.path / "pilot.toml").touch(mode=0o600)
        (place.path / "pilot.toml").write_text(SETTINGS)
        try:
            self._guard = self._run("console.services.demo.guard", str(self.home), apart=True)
            self._say(f"writing {self.day} days of history …")
            began = time.monotonic()
            made = make(
                load(place.path), seed=self._number, now=now(), day=self.day,
                progress=self._progress,
            )  # fmt: skip
            rows = ", ".join(f"{count} {noun}" for noun, count in made.rows.items())
            self._say(f"{rows} in {time.monotonic() - began:.1f} s; starting the services …")
            personas.keep(place, made.tokens)
            supervisor.start(self.home, demo=True)
            self._start_traffic(made)
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

    def about(self) -> str:
        """Return what day of the pilot it is, in words."""
        first = now() - timedelta(days=self.day)
        return f"day {self.day} of {DAYS}: it began on {first:%Y-%m-%d}, and its history ends now"

    def _progress(self, days: int) -> None:
        if days % TOLD_EVERY == 0 and days < self.day:
            self._say(f"… {days} of {self.day} days")

    def _start_traffic(self, made: Made) -> None:
        self._traffic = self._run(
            "console.services.supervisor.leash",
            "console.services.demo.traffic",
            "--home", str(self.home), "--seed", str(self._number),
            "--incident-after", str(self._incident_after),
        )  # fmt: skip
        assert self._traffic.stdin is not None
        with self._traffic.stdin as pipe:
            pipe.write(msgspec.json.encode(Secrets(keys=made.keys, tokens=made.tokens)))

    def _run(self, *words: str, apart: bool = False) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program
            module_command(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**module_environment(), SUPERVISOR: str(os.getpid())},
            start_new_session=apart,
        )

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
            supervisor.stop(self.home, drain=0)
        shutil.rmtree(self.home, ignore_errors=True)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(10)


def _ended(number: int, _frame: FrameType | None) -> None:
    # raised, so that leaving the `with` block still stops everything
    raise SystemExit(128 + number)
