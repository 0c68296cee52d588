"""What a shell can do to a command: closed streams, a home that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from tests.thread.pilot_rig import Rig, granted, programme, running, short_folder

PILOTCTL = [sys.executable, "-m", "console"]


@pytest.fixture(scope="module")
def pilot() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig)
        granted(rig)
        yield rig


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test leaves without a lock."""
    yield pilot
    pilot.restore()


def run(
    rig: Rig, *words: str, closed: tuple[int, ...] = (), home: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command with some of its streams closed, and with another HOME."""
    environ = {**os.environ, "PILOTCTL_HOME": str(rig.home), "PYTHONPATH": str(Path.cwd())}
    if home:
        environ = {name: value for name, value in environ.items() if not name.startswith("XDG_")}
        environ["HOME"] = home
    shut = " ".join("<&-" if each == 0 else f"{each}>&-" for each in closed)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {shut}', "sh", *PILOTCTL, *words],
        capture_output=True, text=True, check=False, timeout=60, env=environ,
    )  # fmt: skip


@pytest.mark.parametrize("closed", [(1,), (1, 2), (0, 1, 2)], ids=str)
def test_a_closed_output_is_a_closed_pipe_and_never_a_bug(
    rig: Rig, closed: tuple[int, ...]
) -> None:
    printing = [["point", "list", "-o", "json"], ["--help"]]
    if closed == (1,):
        printing += [["point", "list"], ["--version"], ["grant", "--help"]]
    for words in printing:
        done = run(rig, *words, closed=closed)
        assert done.returncode == 141, (words, done.stderr)
        assert "bug" not in done.stderr
        assert "Traceback" not in done.stderr


def test_what_was_done_is_done_though_its_answer_could_not_be_printed(rig: Rig) -> None:
    done = run(rig, "lock", "add", "partner", "acme", "--reason", "r", "--yes", closed=(1,))
    assert done.returncode == 141
    assert "could not be printed" in done.stderr
    (lock,) = rig.json("lock", "list", "--state", "active")["items"]
    rig.ok("lock", "release", lock["id"], "--reason", "r", "--yes")


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 2)], ids=str)
def test_closed_input_and_error_take_nothing_from_the_answer(
    rig: Rig, closed: tuple[int, ...]
) -> None:
    done = run(rig, "point", "list", "-o", "json", closed=closed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"][0]["name"] == "gw-1"
    asked = run(rig, "lock", "add", "partner", "acme", "--reason", "r", closed=closed)
    assert asked.returncode == 10, "nobody can be asked"


def test_no_key_is_made_where_its_output_is_closed(rig: Rig) -> None:
    grant = granted(rig).id
    before = len(rig.json("key", "list")["items"])
    done = run(rig, "key", "issue", grant, "--reason", "r", "--yes", "-o", "json", closed=(1,))
    assert done.returncode == 2, done.stderr
    assert len(rig.json("key", "list")["items"]) == before


@pytest.mark.parametrize("kind", ["a file", "nowhere", "not ours"])
def test_a_home_that_cannot_be_written_takes_no_receipt_away(
    rig: Rig, kind: str, tmp_path: Path
) -> None:
    home = {"a file": tmp_path / "file", "nowhere": Path("/dev/null/x"), "not ours": Path("/proc")}
    (tmp_path / "file").write_text("")
    done = run(rig, "lock", "add", "partner", "acme", "--reason", "r", "--yes", "-o", "json",
               home=str(home[kind]))  # fmt: skip
    assert done.returncode == 9, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["state"] == "verified"
    assert receipt["log"] is None
    assert "cannot be kept" in receipt["why"]
    assert "cannot be kept" in done.stderr
    assert "Traceback" not in done.stderr
    rig.ok("lock", "release", receipt["lock_id"], "--reason", "r", "--yes")
    for words in (["point", "list"], ["doctor"], ["audit", "list"]) if kind == "nowhere" else ():
        assert "bug" not in run(rig, *words, home=str(home[kind])).stderr


def test_no_way_of_closing_streams_ends_in_a_traceback(rig: Rig) -> None:
    for many in range(4):
        for closed in combinations((0, 1, 2), many):
            done = run(rig, "--version", closed=closed)
            assert "Traceback" not in done.stderr
            assert done.returncode == (141 if 1 in closed else 0)
