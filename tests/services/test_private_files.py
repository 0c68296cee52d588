"""Under any umask, what commands write of a pilot is its owner's: others read what is published."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from console.services import supervisor
from tests.thread.pilot_rig import ROOT, configure, short_folder
from tests.thread.screen import Screen

OPEN = ("sh", "-c", 'umask 000; exec "$0" "$@"')
PUBLISHED = ("log", "log.vkey")
"""What of a state folder others may read: the log and its key."""


@contextmanager
def open_umask() -> Iterator[None]:
    """Give what is started meanwhile the umask 000."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def below(folder: Path) -> Iterator[Path]:
    """Yield every file and folder there, sockets and links apart."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and not path.is_socket():
            yield path


def exposed(folder: Path) -> list[str]:
    """List what others may write there, or read though it is not published."""
    found = []
    for path in below(folder):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:  # written under a passing name
            continue
        parts = path.relative_to(folder).parts
        is_published = len(parts) > 1 and parts[0].startswith("home") and parts[1] in PUBLISHED
        if mode & 0o022 or (mode & 0o044 and not is_published):
            found.append(f"{mode:o} {path.relative_to(folder)}")
    return found


@pytest.mark.long
def test_no_command_leaves_a_file_that_others_may_write_or_read() -> None:
    with short_folder() as folder:
        home, again = folder / "home", folder / "home-again"
        passphrase = folder / "passphrase"
        passphrase.touch(0o600)
        passphrase.write_text("a passphrase of tests\n")
        configure(home)
        env = {
            **{name: value for name, value in os.environ.items() if "PILOTCTL" not in name},
            "PILOTCTL_HOME": str(home),
            **{f"XDG_{name}_HOME": str(folder / name) for name in ("STATE", "CONFIG", "CACHE")},
        }

        def do(*words: str) -> None:
            done = subprocess.run(
                [*OPEN, sys.executable, "-m", "console", *words],
                env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (words, done.stdout, done.stderr)
            assert exposed(folder) == [], words

        why, seal = ("--reason", "tests", "--yes"), ("--passphrase-file", str(passphrase))
        try:
            do("up")
            do("operator", "add", "ana", "--role", "operator", *why)
            do("operator", "token", "ana", "--secret-file", str(folder / "ana.token"), *why)
            do("audit", "verify")
            do("doctor")
            with open_umask(), Screen(env) as screen:
                screen.see("now", "gw ok").keys(":partners\r").see("partners").keys(":save\r")
                screen.see("saved 0 rows").keys(":quit\r").ended()
            (saved,) = folder.glob("**/dumps/*.csv")
            assert saved.stat().st_mode & 0o777 == 0o600
            assert exposed(folder) == []
            do("backup", str(folder / "served.tar"), *seal)
            do("owner", "cut", "ana", *why)
            do("down")
            do("owner", "restore", "ana", *why)
            do("backup", str(folder / "stopped.tar"), *seal)
            do("restore", str(folder / "served.tar"), *seal, *why)
            do("restore", str(folder / "served.tar"), "--home", str(again), *seal, *why)
        finally:
            supervisor.stop(home)


@pytest.mark.long
def test_a_demo_leaves_nothing_open_while_it_runs() -> None:
    with short_folder() as folder, (folder / "out").open("wb") as out:
        demo = subprocess.Popen(
            [*OPEN, sys.executable, "-m", "console", "demo", "--at", "1"],
            env={
                **{name: value for name, value in os.environ.items() if "PILOTCTL" not in name},
                "TMPDIR": str(folder),
                **{f"XDG_{name}_HOME": str(folder / name) for name in ("STATE", "CONFIG", "CACHE")},
            },
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
        (folder / "out").chmod(0o600)
        found: set[str] = set()
        homes = 0
        while demo.poll() is None:
            for home in folder.glob("pilotctl-demo-*/home"):
                homes += (home / "run/policy.sock").exists()
                found.update(exposed(home.parent))
            with suppress(subprocess.TimeoutExpired):
                demo.wait(0.5)
        assert demo.returncode == 0, (folder / "out").read_text()
        assert homes, "it was looked at while its services ran"
        found.update(exposed(folder))
        assert not found
