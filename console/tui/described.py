"""Every view of the console, by name: those that lists make of themselves, and those that are
described further because they are looked at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from console.operations.spec import Operation
from console.tui.link import Health
from console.tui.now import now_view
from console.tui.policies import policy_view
from console.tui.proofs import Proofs
from console.tui.tails import audit_view, calls_view
from console.tui.usage import usage_view
from console.tui.views import MAIN, View, list_views


def described(
    operations: Mapping[str, Operation],
    proofs: Proofs,
    healths: Callable[[], Iterable[Health]] = tuple,
) -> dict[str, View]:
    """Return the views over these operations, the main ones first.

    `healths` tells how each API is.
    """
    views = list_views(operations.values())
    further: dict[str, Callable[[Operation], View]] = {
        "usage.show": usage_view,
        "call.list": calls_view,
        "audit.list": lambda op: audit_view(op, proofs),
        "policy.show": policy_view,
    }
    for name, make in further.items():
        if name in operations:
            view = make(operations[name])
            views[view.name] = view
    now = now_view(operations, healths)
    views[now.name] = now
    names = [name for name in MAIN if name in views]
    return {name: views[name] for name in [*names, *(each for each in views if each not in names)]}
