"""Every view of the console, by name: those that lists make of themselves, and those that are
described further because they are looked at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from console.operations.spec import Operation
from console.tui.link.api_link import Health
from console.tui.link.log_proofs import Proofs
from console.tui.views.list_views import MAIN, View, list_views
from console.tui.views.now import now_view
from console.tui.views.policies import policy_view
from console.tui.views.tails import audit_view, calls_view
from console.tui.views.usage import usage_view


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
