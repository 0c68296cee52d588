"""The checkpoints that a log's folder keeps beside the newest: `checkpoint.<size>`.

A busy log publishes one with every batch, so they are thinned: the newest `RECENT` stay, and
of the older ones the last before each doubling of the log, which later growth never changes.
That is at most `RECENT` files and one for each bit of the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from console.trust.tiles import CHECKPOINT

RECENT = 16
"""The newest checkpoints, all of which are kept."""

_KEPT = re.compile(rf"{CHECKPOINT}\.(0|[1-9][0-9]{{0,18}})", re.ASCII)


def worth_keeping(sizes: Iterable[int]) -> set[int]:
    """Return those of the sizes of a log's checkpoints that its folder keeps."""
    ascending = sorted(set(sizes))
    # Of equal lengths in bits, the last one wins.
    doublings = {size.bit_length(): size for size in ascending}
    return {*ascending[-RECENT:], *doublings.values()}


def kept_sizes(folder: Path) -> list[int]:
    """Return the sizes for which there is a file `checkpoint.<size>`, ascending."""
    found = (_KEPT.fullmatch(path.name) for path in folder.glob(f"{CHECKPOINT}.*"))
    return sorted(int(match[1]) for match in found if match)


def folder_history(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of every file `checkpoint.<size>` in a log's folder.

    One that is thinned out meanwhile is left out.
    """
    for size in kept_sizes(folder):
        path = folder / f"{CHECKPOINT}.{size}"
        with suppress(FileNotFoundError, IsADirectoryError):
            yield path.name, path.read_bytes()


def thin(folder: Path) -> None:
    """Remove the checkpoints that are not worth keeping."""
    sizes = kept_sizes(folder)
    for size in set(sizes) - worth_keeping(sizes):
        (folder / f"{CHECKPOINT}.{size}").unlink(missing_ok=True)
