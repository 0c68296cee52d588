"""In a real tmux: the screen is drawn whole, and what is copied lands in its buffer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tui.pty_rig import ROOT, surroundings

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
PROGRAM = ROOT / "tests" / "tui" / "screen_program.py"


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
        """Wait until all of it is shown."""
        self.until(lambda: all(each in self.text for each in wanted), str(wanted))

    def until(self, look: Callable[[], object], what: str) -> None:
        """Wait until `look` finds something."""
        end = time.monotonic() + 30
        while not look():
            assert time.monotonic() < end, f"{what}\n{self.text}"
            time.sleep(0.1)


@pytest.fixture(params=[(80, 24), (120, 40), (200, 50), (40, 15)], ids="{0[0]}x{0[1]}".format)
def tmux(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tmux]:
    """The console in tmux, at each size."""
    made = Tmux(tmp_path, request.param)
    try:
        yield made
    finally:
        made("kill-server")


def test_a_screen_in_tmux_is_whole_and_a_copy_reaches_its_buffer(tmux: Tmux) -> None:
    tmux.see("CRIT", "acme", "enter open")
    for view, words in (("grants", "PARTNER"), ("alerts", "SEVERITY"), ("keys", "STATE")):
        tmux.keys(f":{view}", "Enter")
        tmux.see(words, "enter open")
        assert tmux.text.count("enter open") == 1, tmux.text
    tmux.keys(":partners", "Enter")
    tmux.see("SLUG", "acme")
    tmux.keys("Y")
    tmux.until(lambda: tmux("show-buffer").strip() == "acme", "the id in tmux's buffer")
