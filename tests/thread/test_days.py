"""A day of an operator, an owner, an auditor and a cron job, as its transcript says.

`PILOTCTL_UPDATE_TRANSCRIPTS=1` writes what was printed into the transcripts instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.thread.pilot_rig import Rig, running, short_folder
from tests.transcript import ROOT, Shown, commands, environment, printed, program, rewritten, shape
from tests.transcripts.the_pilot import ROLES, prepare, sign_in

TRANSCRIPTS = ROOT / "tests" / "transcripts"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A pilot of its own for each day: none shows what another did."""
    with short_folder() as folder, running(folder / "home") as made:
        prepare(made)
        yield made


@pytest.mark.long
@pytest.mark.parametrize("who", ROLES)
def test_the_day_goes_as_its_transcript_says(rig: Rig, who: str) -> None:
    file = TRANSCRIPTS / f"{who}.txt"
    head, _, session = file.read_text().partition("\n$ ")
    shown = list(commands(f"$ {session}"))
    found = run(rig, who, rig.home.parent / who, shown)
    if os.environ.get("PILOTCTL_UPDATE_TRANSCRIPTS"):
        file.write_text(f"{head}\n{rewritten(shown, iter(found))}\n")
        return
    for each, output in zip(shown, found, strict=True):
        assert shape(output) == shape(each.output), f"{each.script}\nprinted:\n{output}"


def run(rig: Rig, who: str, folder: Path, shown: list[Shown]) -> list[str]:
    """Spend the day in a shell in which the profile signs in as `who`."""
    sign_in(rig, who, folder / "config")
    work = folder / "work"
    work.mkdir()
    path = program(folder / "bin").parent
    env = {
        **environment(path, rig.home),
        **{f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE")},
    }
    return printed(shown, work=work, env=env, seconds=600, exits=True)
