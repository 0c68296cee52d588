"""How much text of an answer passed, where parts of it are told again and again."""

from __future__ import annotations

MAX_PLACES = 10_000
"""So many parts of an answer are told apart; what comes for others is added up."""

Place = tuple[int | str, ...]
"""Where text stands, from the outermost part inwards; empty for the answer itself."""


class TextTally:
    """Bytes of text by where they stand and by how they were told.

    Text that is told in one way comes piece by piece, and adds up. Text that is told in another
    way repeats it: of a place counts the way that told the most, or what the places within it
    come to, where that is more.
    """

    __slots__ = ("_places", "_within")

    def __init__(self) -> None:
        self._places: dict[Place, dict[str, int]] = {(): {}}
        self._within: dict[Place, list[Place]] = {}

    def add(self, place: Place, way: str, text_bytes: int) -> None:
        """Add text that was told of a place."""
        if not text_bytes:
            return
        if len(self._places) > MAX_PLACES and place not in self._places:
            place = ("beyond", way)
        if place not in self._places:
            self._open(place)
        ways = self._places[place]
        ways[way] = ways.get(way, 0) + text_bytes

    def _open(self, place: Place) -> None:
        while place not in self._places:
            self._places[place] = {}
            self._within.setdefault(place[:-1], []).append(place)
            place = place[:-1]

    @property
    def text_bytes(self) -> int:
        """Return how many bytes passed, each text once."""
        return self._bytes_at(())

    def _bytes_at(self, place: Place) -> int:
        within = sum(map(self._bytes_at, self._within.get(place, ())))
        return max(within, *self._places[place].values(), 0)
