"""Ctrl-C amid what changes this machine: what may have been done is not called undone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from console.services import supervisor
from tests.thread.pilot_rig import ROOT, Done, Rig, running, short_folder

STRUCK = """
import importlib, os, signal, sys
module, name, moment = sys.argv[1:4]
del sys.argv[1:4]
from console.__main__ import main
at = importlib.import_module(module)
*path, name = name.split(".")
for each in path:
    at = getattr(at, each)
real = getattr(at, name)
def struck(*words, **more):
    done = real(*words, **more) if moment == "after" else None
    os.kill(os.getpid(), signal.SIGINT)
    return done
setattr(at, name, struck)
sys.exit(main())
"""
"""Runs pilotctl, and sends it SIGINT before or after the work of one function of it."""


class Case(NamedTuple):
    """A command, where it is interrupted, and what is then so and said."""

    words: str
    function: str
    moment: str
    exit: int
    says: str
    holds: Callable[[Rig], bool]


def _file(rig: Rig) -> bool:
    return (rig.home.parent / "b.tar").exists()


def _runs(rig: Rig) -> bool:
    return supervisor.status(rig.home).running


def _no(look: Callable[[Rig], bool]) -> Callable[[Rig], bool]:
    return lambda rig: not look(rig)


def _pinned(rig: Rig) -> bool:
    return rig.cli("log", "show").exit == 0


TAKE, STOP, START = (
    "console.services.backup.take take", "console.services.supervisor stop",
    "console.services.supervisor start",
)  # fmt: skip
PIN = "console.session.pinned_log PinnedLog._followed_by"
BACKUP = "backup {folder}/b.tar --without-keys"
REPIN = "log repin --confirm {origin}"
SEEN = "look with: pilotctl status --home {home}"
CASES = (
    Case(BACKUP, TAKE, "before", 9, "a backup that is there is whole; else run", _no(_file)),
    Case(BACKUP, TAKE, "after", 9, "the backup to {folder}/b.tar may have been done", _file),
    Case(REPIN, PIN, "before", 9, "look with: pilotctl log show", _no(_pinned)),
    Case(REPIN, PIN, "after", 9, "holding this console to {origin} may have been done", _pinned),
    Case("up", START, "after", 9, SEEN, _runs),
    Case("down", STOP, "before", 9, SEEN, _runs),
    Case("down", STOP, "after", 9, "the stop of the pilot in {home} may have been done",
         _no(_runs)),
    Case("up", START, "before", 9, "stop it with: pilotctl down --home {home}", _no(_runs)),
    Case("up", START, "after", 9, "the start of the pilot in {home} may have been done", _runs),
)  # fmt: skip
"""In an order in which each finds what it needs: one pilot serves them all."""


def struck(rig: Rig, case: Case, names: dict[str, str]) -> Done:
    words = case.words.format(**names).split()
    done = subprocess.run(
        [sys.executable, "-c", STRUCK, *case.function.split(), case.moment, *words],
        env=rig.env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as found:
        yield found


@pytest.mark.parametrize("cases", [CASES[:3], pytest.param(CASES, marks=pytest.mark.long)], ids=len)
def test_what_was_begun_at_the_machine_is_said_as_unknown_with_how_to_look(
    rig: Rig, cases: Sequence[Case]
) -> None:
    old = rig.json("log", "show")["origin"]
    rig.ok("log", "restart", "--reason", "a rehearsal", "--confirm", old)
    new = rig.json("log", "succession")["origin"]
    names = {"folder": str(rig.home.parent), "home": str(rig.home), "origin": new}
    for case in cases:
        done = struck(rig, case, names)
        about = f"{case.words}, {case.moment}: {done}"
        assert done.exit == case.exit, about
        assert case.says.format(**names) in done.err, about
        assert "nothing was sent" not in done.err, about
        assert "Traceback" not in done.err, about
        assert case.holds(rig), about


@pytest.mark.long
def test_a_demo_that_is_interrupted_says_that_nothing_of_it_is_left(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "home")
    rig.env |= {"TMPDIR": "/tmp", "HOME": str(tmp_path)}
    case = Case(
        "demo --at 1 --tour", "console.services.supervisor start", "after", 130, "", _no(_runs)
    )
    done = struck(rig, case, {})
    assert done.exit == 130, done
    assert "the demo was stopped, and nothing of it is left" in done.err
    assert "nothing was sent" not in done.err
