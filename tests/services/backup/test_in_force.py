"""Which closings a restore keeps: those that nothing lifted since, in whatever order they came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.services.audit.log.leaf import Leaf
from console.services.backup.closings import in_force
from console.services.backup.history import History
from console.services.gateway.control.migrations import STEPS
from console.services.store import Store

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)

ACTS = {
    "grant.suspend": ("gateway", "grant"),
    "grant.resume": ("policy", "grant"),
    "partner.suspend": ("gateway", "partner"),
    "partner.restrict": ("policy", "partner"),
    "partner.resume": ("policy", "partner"),
    "grant.revoke": ("gateway", "grant"),
}


def leaf(number: int, action: str, target: str) -> Leaf:
    """An event as the services make it: policy names a partner by its slug beside its id."""
    source, kind = ACTS[action]
    by_id = source == "policy" and kind == "partner"
    return Leaf(
        f"evt_{number}", source, number, BEGAN + timedelta(seconds=number), "root", action, kind,
        f"id-of-{target}" if by_id else target, target if by_id else "", "", "success", "why", "",
        None, b"",
    )  # fmt: skip


HISTORIES = st.lists(
    st.tuples(st.sampled_from(sorted(ACTS)), st.sampled_from(["one", "two"])), max_size=12
)


def oracle(history: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """What is closed at the end, said without the table."""
    closed: set[tuple[str, str]] = set()
    for action, target in history:
        if action == "grant.resume":
            closed.discard(("grant.suspend", target))
        elif action == "partner.resume":
            closed -= {("partner.suspend", target), ("partner.restrict", target)}
        else:
            closed.add((action, target))
    return closed


def test_a_closing_is_kept_if_nothing_lifted_it_since(tmp_path: Path) -> None:
    gateway = Store.open(tmp_path / "gateway.db", STEPS, readers=1)

    @given(HISTORIES, st.integers(0, 99))
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def check(history: list[tuple[str, str]], seed: int) -> None:
        events = [leaf(number, *each) for number, each in enumerate(history)]
        shuffled = Random(seed).sample(events, len(events))
        found = {
            (closing.operation, each.name or each.target)
            for closing, each in in_force(History(shuffled, gateway))
        }
        assert found == oracle(history)

    try:
        check()
    finally:
        gateway.close()
