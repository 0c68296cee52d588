"""The console over real services that are killed, stay away and come back; and in long use."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder
from tests.tui.pty_rig import Pty

CHIPS = {"gateway": "gw", "policy": "policy", "audit": "audit"}
GROWTH_AT_MOST = 1.05
"""Minute 10 over minute 2, and hour 1 over minute 10."""
MB = 1024 * 1024

# httpcore leaves a socket to the collector where nobody listens at a Unix address.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")


@pytest.fixture
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as made:
        programme(made)
        yield made


@contextmanager
def console(rig: Rig) -> Iterator[Pty]:
    """The console of the rig's operator."""
    environ = {
        **rig.env, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8",
    }  # fmt: skip
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environ.pop(name, None)
    with Pty([sys.executable, "-m", "console"], environ, size=(120, 40)) as terminal:
        terminal.see(*(f"{chip} ok" for chip in CHIPS.values()), seconds=60)
        yield terminal


@pytest.mark.parametrize(
    "rounds", [1, pytest.param(10, marks=pytest.mark.long)], ids=lambda n: f"{n}-times"
)
def test_services_that_are_killed_and_come_back_never_end_it(rig: Rig, rounds: int) -> None:
    with console(rig) as terminal:
        for number in range(rounds):
            name = ("gateway", "audit", "policy")[number % 3]
            os.kill(rig.pid(name), signal.SIGKILL)
            rig.stop(name)
            terminal.see(f"{CHIPS[name]} DOWN", seconds=60)
            # the others and the keys are not held up
            terminal.keys(":grants\r")
            terminal.see(" grants ", seconds=60)
            terminal.keys(":now\r")
            assert terminal.alive(), terminal.text
            _meanwhile(terminal, lambda name=name: rig.start(name))  # type: ignore[misc]  # a lambda's default
            terminal.see(f"{CHIPS[name]} ok", seconds=60)
        terminal.see(*(f"{chip} ok" for chip in CHIPS.values()), seconds=60)
        terminal.keys(":q\r")
        assert terminal.ended() == 0


def _meanwhile(terminal: Pty, work: object) -> None:
    """Do what takes time while the terminal is being read."""
    assert callable(work)
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        terminal.pump(0.05)
    thread.join()


@pytest.mark.long
def test_ten_minutes_of_live_traffic_do_not_make_it_grow(rig: Rig) -> None:
    memory = _used_for(rig, 10)
    assert memory[9] <= memory[1] * GROWTH_AT_MOST


@pytest.mark.long
@pytest.mark.skipif("PILOTCTL_HOUR" not in os.environ, reason="PILOTCTL_HOUR=1 asks for an hour")
def test_an_hour_of_live_traffic_does_not_make_it_grow(rig: Rig) -> None:
    memory = _used_for(rig, 60)
    assert memory[9] <= memory[1] * GROWTH_AT_MOST
    assert memory[59] <= memory[9] * GROWTH_AT_MOST


def _used_for(rig: Rig, minutes: int) -> list[int]:
    """Use a console under live traffic; return its memory after each minute."""
    _, raw = key_of(rig, granted(rig).id)
    over = threading.Event()

    def traffic() -> None:
        number = 0
        while not over.wait(0.2):
            number += 1
            rig.call(raw if number % 4 else f"{raw}x")

    caller = threading.Thread(target=traffic)
    with console(rig) as terminal:
        caller.start()
        try:
            memory = _minutes(terminal, minutes)
        finally:
            over.set()
            caller.join(60)
        print("\nMB a minute:", " ".join(f"{each / MB:.1f}" for each in memory))
        assert terminal.alive()
        terminal.keys(":q\r")
        assert terminal.ended() == 0
    return memory


def _minutes(terminal: Pty, minutes: int) -> list[int]:
    """Go through the live views for so many minutes; return the memory after each."""
    memory = []
    views = ("calls", "alerts", "audit", "usage", "now", "grants")
    began = time.monotonic()
    number = 0
    for minute in range(1, minutes + 1):
        while time.monotonic() < began + 60 * minute:
            terminal.keys(f":{views[number % len(views)]}\r")
            number += 1
            for key in ("\x1b[B", "\x1b[6~", "\r", "\x1b", "\x1b[5~"):
                terminal.pump(0.8)
                terminal.keys(key)
            terminal.chunks.clear()
        memory.append(terminal.resident())
    return memory
