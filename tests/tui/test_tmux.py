"""In a real tmux and a real GNU screen: the screen is drawn whole, and copies get through."""

from __future__ import annotations

import json
import random
import re
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
PARTNERS = ("acme", "northwind", "halcyon", "tern-labs", "quillfeather")


class Tmux:
    """A tmux server of its own with the console in its one pane."""

    def __init__(
        self, folder: Path, size: tuple[int, int], program: Path = PROGRAM, **more: str
    ) -> None:
        self._socket = str(folder / "tmux")
        self._environ = surroundings(
            folder, FAKE_PILOT=json.dumps({"partners": 40}),
            PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'tui'}", **more,
        )  # fmt: skip
        width, height = map(str, size)
        self("-f", "/dev/null", "start-server", ";", "set", "-s", "set-clipboard", "on", ";",
             "set", "-g", "status", "off", ";", "set", "-g", "default-terminal", "tmux-256color",
             ";", "new-session", "-d", "-x", width, "-y", height,
             f"{sys.executable} {program}")  # fmt: skip

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
        end = time.monotonic() + 60
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


# by script: signs of vowels, emoji with modifiers, flags, jamo, marks, ambiguous widths
ODD_NAMES = [
    "हिन्दी किताबें", "a🏻a🏻", "தமிழ் நூல்கள்", "aurora-1", "🇩🇪🇫🇷 flags",
    "\u1112\u1161\u11ab\u1100\u1173",
    "👩🏽\u200d🚀 crew", "e\u0301\u0323o\u0308", "ไทยภาษา", "Zürich Ωμέγα ①※", "漢字かな", "ా lead",
    "🏿", "\u2e3b\ufdfd\U0001f9d1", "ᬩᬮᬶ ꦗꦮ",
]  # fmt: skip


class OddScreen:
    """A console in tmux whose partners chose such names."""

    def __init__(self, folder: Path, size: tuple[int, int], names: list[str]) -> None:
        self._file = folder / "cells.json"
        self.tmux = Tmux(
            folder, size, ROOT / "tests" / "tui" / "unsure_program.py",
            FAKE_NAMES=json.dumps(names), FAKE_CELLS=str(self._file),
        )  # fmt: skip

    def cells(self) -> list[str]:
        """Return what the console's cells hold, once tmux has been shown it."""
        self._file.unlink(missing_ok=True)
        self.tmux.keys("`")
        self.tmux.until(self._file.exists, "a report of the cells")
        cells: list[str] = json.loads(self._file.read_text())["cells"]
        return cells

    def until_turn(self, turn: int) -> None:
        """Wait until the partners that are verified in a turn are in the cells."""

        def there() -> bool:
            rows = [each for each in self.cells() if each.split() and each.split()[0] in PARTNERS]
            verified = ["in 9" in each for each in rows]
            return verified == [(at + turn) % 2 == 0 for at in range(len(PARTNERS))]

        self.tmux.until(there, f"turn {turn} in the cells")

    def compared(self) -> tuple[str, str]:
        """Return what tmux shows of some cells, and after a full redraw of the same cells."""
        found = ["", ""]

        def same() -> bool:
            before = self.cells()
            found[0] = self.tmux.text
            self.tmux.keys("C-l")
            after = self.cells()
            found[1] = self.tmux.text
            # what was read in between is another screen
            return before[1:] == after[1:] == self.cells()[1:]

        self.tmux.until(same, "a screen that stands still")
        return found[0], found[1]


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
@pytest.mark.parametrize(
    ("size", "turns"),
    [
        ((80, 24), 4),
        *(pytest.param(size, 40, marks=pytest.mark.long)
          for size in ((80, 24), (120, 40), (200, 50), (40, 15))),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else f"{value}-turns",
)  # fmt: skip
def test_odd_names_in_tmux_show_what_a_full_redraw_shows(
    tmp_path: Path, size: tuple[int, int], turns: int
) -> None:
    seed = 20261130 + size[0]
    chance = random.Random(seed)
    print(f"\nseed {seed}, {turns} turns")
    pieces = [char for name in ODD_NAMES for char in name]
    names = [*ODD_NAMES, *("".join(chance.choices(pieces, k=chance.randrange(1, 16)))
                           for _ in range(turns))]  # fmt: skip
    chance.shuffle(names)
    screen = OddScreen(tmp_path, size, names)
    try:
        screen.tmux.see(FOOT)
        for view in ("calls", "partners"):
            screen.tmux.keys(f":{view}", "Enter")
            screen.tmux.see_whole(view)
            for _ in range(turns):
                for key in ("^", *chance.choices(("Down", "PageDown", "Up", "PageUp"), k=2)):
                    screen.tmux.keys(key)
                drawn, redrawn = screen.compared()
                assert redrawn.splitlines()[1:] == drawn.splitlines()[1:]
    finally:
        screen.tmux("kill-server")


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_a_partner_that_is_not_verified_never_shows_it_whatever_its_name(tmp_path: Path) -> None:
    screen = OddScreen(tmp_path, (80, 24), ODD_NAMES)
    try:
        screen.tmux.see(FOOT)
        screen.tmux.keys(":partners", "Enter")
        screen.tmux.see_whole("partners", "VERIFIED")
        for turn in range(1, 11):
            # its verification ends, or begins, while it takes another name
            screen.tmux.keys("^")
            screen.until_turn(turn)
            drawn, redrawn = screen.compared()
            rows = drawn.splitlines()[3:8]
            assert rows == redrawn.splitlines()[3:8]
            for number, slug in enumerate(PARTNERS):
                (row,) = (each for each in rows if slug in each)
                assert bool(re.search(r"\bin \d", row)) is ((number + turn) % 2 == 0), (turn, row)
    finally:
        screen.tmux("kill-server")


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
