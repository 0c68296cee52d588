"""Putting restored files in the place of those that are there, so that a crash is finished.

What is to be moved is written down first. Whoever starts the pilot, or restores again,
finishes what a crash left half done: the state is then the restored one, never a mixture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from console.errors import ExitCode, PilotError
from console.services.gateway.decision.content_crypto import FOLDER
from console.services.settings import Home
from console.trust.writer import replace_file, sync_folder

PENDING = "restore.pending"


class _Moves(msgspec.Struct, frozen=True):
    """From where to where: all below the state folder."""

    staging: str
    aside: str
    names: list[str]


def exchange(home: Home, staging: Path, aside: Path, names: list[str]) -> None:
    """Move `names` from `staging` into the state folder, and what they replace to `aside`."""
    aside.mkdir(mode=0o700)
    sync_folder(home.path)
    said = _Moves(staging.name, aside.name, names)
    replace_file(home.path / PENDING, msgspec.json.encode(said))
    finish(home)


def finish(home: Home) -> bool:
    """Finish a restore that was interrupted; tell whether there was one."""
    pending = home.path / PENDING
    try:
        said = msgspec.json.decode(pending.read_bytes(), type=_Moves)
    except FileNotFoundError:
        return False
    except (msgspec.MsgspecError, OSError):
        raise PilotError(
            "restore-unfinished",
            f"{pending} cannot be read: a restore was interrupted",
            exit=ExitCode.FAILED,
            hint="restore the same backup again into an empty folder",
        ) from None
    staging, aside = home.path / said.staging, home.path / said.aside
    for name in said.names:
        _move(staging / name, home.path / name, aside / name)
    _keep_content_keys(home, aside)
    sync_folder(aside)
    sync_folder(home.path)
    pending.unlink()
    sync_folder(home.path)
    shutil.rmtree(staging, ignore_errors=True)
    return True


def _keep_content_keys(home: Home, aside: Path) -> None:
    """Leave no key of kept content aside: nobody would delete it there when its day is over.

    It goes on where it is looked for, and with it the content that was kept until then.
    """
    old = aside / home.keys.name / FOLDER
    if not old.is_dir():
        return
    place = home.keys / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(old.iterdir()):
        path.replace(place / path.name)
    sync_folder(place)
    old.rmdir()


def _move(new: Path, place: Path, old: Path) -> None:
    if not new.exists():
        return  # it was moved before the crash
    for ending in ("-wal", "-shm", ""):
        there, kept = place.with_name(place.name + ending), old.with_name(old.name + ending)
        if there.exists() and not kept.exists():
            there.rename(kept)
    new.rename(place)
