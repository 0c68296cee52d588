"""`python -m tests.architecture`: draw the rooms, floor by floor, and who imports whom."""

from __future__ import annotations

from graphlib import TopologicalSorter

from tests.architecture.imports import edges, files, room_of
from tests.architecture.rooms import ROOMS


def main() -> None:
    """Print each room of the services and the screen: lines, files, and the rooms it uses."""
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for edge in edges():
        importer, imported = edge.rooms
        if importer in ROOMS and imported in ROOMS and importer != imported:
            used[importer].add(imported)
    for room in TopologicalSorter(ROOMS).static_order():
        texts = [text for path, text in files().items() if room_of(path) == room]
        lines = sum(text.count("\n") for text in texts)
        print(f"{room:36} {len(texts):3} files {lines:6} lines")
        for other in sorted(used[room]):
            print(f"    -> {other}")


if __name__ == "__main__":
    main()
