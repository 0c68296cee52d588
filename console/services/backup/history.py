"""What happened after a backup was made, as the log and the stores that are left tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from console.services.audit.log.leaf import Leaf
from console.services.gateway.control.state.change_log import Views
from console.services.gateway.control.state.point_registry import Points
from console.services.store import Store


class History:
    """The events since a backup, in order, and what several of them mean together."""

    def __init__(self, events: Iterable[Leaf], gateway: Store) -> None:
        self.events: Sequence[Leaf] = _in_order(events)
        self.views = Views()
        self.points = Points(gateway, self.views)
        self._before: dict[str, list[str]] = {}
        for each in self.events:
            if each.action == "grant.supersede" and isinstance(each.told("renewed_by"), str):
                earlier = self._before.get(each.target, [])
                self._before[each.told("renewed_by")] = [each.target, *earlier]

    def before(self, grant: str) -> list[str]:
        """Return the grants whose access went over into this one after the backup.

        In the backup they are still open: what closed their successor closes them.
        """
        return self._before.get(grant, [])


def _in_order(events: Iterable[Leaf]) -> list[Leaf]:
    """Order events by time, and those of one source as it committed them."""
    newest: dict[str, datetime] = {}
    keyed = []
    for each in sorted(events, key=lambda leaf: (leaf.source, leaf.sequence)):
        newest[each.source] = max(each.at, newest.get(each.source, each.at))
        keyed.append((newest[each.source], each.source, each.sequence, each))
    return [each for *_, each in sorted(keyed, key=lambda item: item[:3])]
