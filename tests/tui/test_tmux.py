"""In a real tmux and a real GNU screen: the screen is drawn whole, and copies get through."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.tui.pty_rig import ROOT, Pty, surroundings

TMUX = shutil.which("tmux")
GNU_SCREEN = shutil.which("screen")
PROGRAM = ROOT / "tests" / "tui" / "screen_program.py"
FOOT = "enter open"


class Tmux:
    """A tmux server of its own with the console in its one pane."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._socket = str(folder / "tmux")
        self._environ = surroundings(
            folder, FAKE_PILOT=json.dumps({"partners": 40}),
            PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'tui'}",
        )  # fmt: skip
        width, height = map(str, size)
        self("-f", "/dev/null", "start-server", ";", "set", "-s", "set-clipboard", "on", ";",
             "set", "-g", "status", "off", ";", "set", "-g", "default-terminal", "tmux-256color",
             ";", "new-session", "-d", "-x", width, "-y", height,
             f"{sys.executable} {PROGRAM}")  # fmt: skip

    def __call__(self, *words: str) -> str:
        """Run a tmux command; return what it prints."""
        assert TMUX is not None
        done = subprocess.run(
            [TMUX, "-S", self._socket, *words], env=self._environ,
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return done.stdout

    @property
    def text(self) -> str:
        """What the pane shows."""
        return self("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names."""
        self("send-keys", *keys)

    def see(self, *wanted: str) -> None:
        """Wait until all of it is shown at once."""
        self.until(lambda: _shows(self.text, wanted), str(wanted))

    def see_whole(self, view: str, *wanted: str) -> None:
        """Wait until a view is in front, and its one foot below it: nothing is drawn twice."""
        self.until(lambda: _whole(self.text, view, wanted), f"{view} whole, with {wanted}")

    def until(self, look: Callable[[], object], what: str) -> None:
        """Wait until `look` finds something."""
        end = time.monotonic() + 30
        while not look():
            assert time.monotonic() < end, f"{what}\n{self.text}"
            time.sleep(0.1)


def _shows(text: str, wanted: Iterable[str]) -> bool:
    return all(each in text for each in wanted)


def _whole(text: str, view: str, wanted: Iterable[str]) -> bool:
    """The second line names the view, or offers commands while one is typed."""
    front = text.splitlines()[1].split()[:1]
    return front == [view] and _shows(text, wanted) and text.count(FOOT) == 1


@pytest.fixture(params=[(80, 24), (120, 40), (200, 50), (40, 15)], ids="{0[0]}x{0[1]}".format)
def tmux(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tmux]:
    """The console in tmux, at each size."""
    made = Tmux(tmp_path, request.param)
    try:
        yield made
    finally:
        made("kill-server")


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_a_screen_in_tmux_is_whole_and_a_copy_reaches_its_buffer(tmux: Tmux) -> None:
    tmux.see("CRIT", "acme", FOOT)
    for view, words in (("grants", "PARTNER"), ("alerts", "SEVERITY"), ("keys", "STATE")):
        tmux.keys(f":{view}", "Enter")
        tmux.see_whole(view, words)
    tmux.keys(":partners", "Enter")
    tmux.see_whole("partners", "SLUG", "acme")
    tmux.keys("Y")
    tmux.until(lambda: tmux("show-buffer").strip() == "acme", "the id in tmux's buffer")


@pytest.mark.skipif(GNU_SCREEN is None, reason="GNU screen is not installed")
def test_a_copy_in_gnu_screen_reaches_the_terminal_around_it(tmp_path: Path) -> None:
    assert GNU_SCREEN is not None
    (tmp_path / "sockets").mkdir(mode=0o700)
    environ = surroundings(
        tmp_path, FAKE_PILOT=json.dumps({"partners": 5}), SCREENDIR=str(tmp_path / "sockets"),
        PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'tui'}",
    )  # fmt: skip
    program = [GNU_SCREEN, "-c", "/dev/null", "-U", "-T", "screen-256color"]
    with Pty([*program, sys.executable, str(PROGRAM), ":partners"], environ) as terminal:
        terminal.see("acme", "enter open", seconds=60)
        terminal.keys("Y")
        terminal.hear(b"\x1b]52;c;YWNtZQ==\x07", seconds=60)
        terminal.keys("\x11")
        assert terminal.ended(20) == 0
