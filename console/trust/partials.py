"""The partial tiles that lie in a log's folder beside those that its head needs.

A log leaves a partial tile behind with each checkpoint (c2sp.org/tlog-tiles), and whoever reads
an earlier head is given it: so each must be the beginning of what its tile has become.
"""

from __future__ import annotations

from pathlib import Path

from console.errors import PilotError
from console.trust.damage import DamageKind, Findings
from console.trust.merkle import HASH_SIZE
from console.trust.tiles import (
    WIDTH,
    Tile,
    bundle_hashes,
    folder_reader,
    parse_tile_path,
    read_tile,
    tile_at,
)


def check_partials(folder: Path, size: int, found: Findings) -> list[str]:
    """Compare every earlier partial tile in `folder` with the tile that a head of `size` needs.

    Returns what was left out, in words: a path that names no tile, and a tile that holds more
    than the head has signed. Call it last: what the present tiles are worth, the scan has found.
    """
    left_out: list[str] = []
    paths = sorted(folder.glob("tile/**/*.p/*"))
    if paths and found.listed:
        return ["earlier partial tiles: what they are compared with is damaged"]
    for path in paths:
        named = path.relative_to(folder).as_posix()
        try:
            tile = parse_tile_path(named)
        except PilotError:
            left_out.append(f"{named!a} is not the path of a tile")
            continue
        present = _present(tile, size)
        if present is None or tile.width > present.width:
            left_out.append(f"{named} holds more than the head has signed")
        elif tile.width < present.width:
            _compare(folder, tile, present, found)
    return left_out


def _present(tile: Tile, size: int) -> Tile | None:
    """Return the tile of that place under a head of `size`; None where it reaches no entry."""
    level = tile.level or 0
    if tile.number * WIDTH >= size >> 8 * level:
        return None
    present = tile_at(level, tile.number, size)
    return present if tile.level is not None else present._replace(level=None)


def _compare(folder: Path, tile: Tile, present: Tile, found: Findings) -> None:
    read = folder_reader(folder)
    try:
        whole, _ = read_tile(read, present)
        raw = read(tile.path)
    except FileNotFoundError:
        return  # the present one is named as missing already; a partial one may go meanwhile
    except OSError as error:
        why = error.strerror or type(error).__name__
        found.add(DamageKind.UNREADABLE, tile.path, f"it cannot be read: {why}")
        return
    if not whole.startswith(raw) or not _is_whole(tile, raw):
        found.add(DamageKind.TILE_ALTERED, tile.path, f"it is not the beginning of {present.path}")


def _is_whole(tile: Tile, raw: bytes) -> bool:
    """Tell whether the bytes are as many hashes or entries as the path says."""
    if tile.level is not None:
        return len(raw) == tile.width * HASH_SIZE
    hashes, end = bundle_hashes(raw, tile.width)
    return len(hashes) == tile.width and end == len(raw)
