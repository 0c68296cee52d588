"""An operator at the keys, on a real pilot: from what needs someone to what is proven."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from console.model.audit import Verdict
from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder
from tests.thread.screen import ENTER, TAB, Screen

MOST_KEYS = 12


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A pilot with two partners whose grants serve."""
    with short_folder() as folder, running(folder / "home") as made:
        programme(made, partners=("acme", "northwind"))
        yield made


class Counted:
    """The keys of an operator. What is written as a reason is not counted."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.pressed: list[str] = []

    def press(self, *keys: str) -> Screen:
        """Press keys, each of which counts."""
        for key in keys:
            self.pressed.append(key)
            self.screen.keys(key)
        return self.screen

    def because(self, reason: str) -> Screen:
        """Write a reason."""
        return self.screen.keys(reason).see(reason)

    def agree(self, verb: str) -> Screen:
        """Go on from the last field to the verb, and press it."""
        self.press(TAB, TAB).see(f"[ {verb} ]")
        return self.press(ENTER)


def a_revoked_key_in_use(rig: Rig) -> None:
    """Acme goes on with a key that was revoked; northwind is refused a model."""
    _, other = key_of(rig, granted(rig, "northwind").id)
    used, raw = key_of(rig, granted(rig, "acme").id)
    rig.do("key.revoke", credential=used, reason="seen in a paste")
    for _ in range(3):
        assert rig.call(raw).status_code == 403
        assert rig.call(other, model="aurora-2").status_code == 403
    rig.until(lambda: rig.do("alert.list").items, what="an alert", seconds=30)


def test_from_the_top_alert_to_a_proven_lock_and_a_verdict_in_twelve_keys(rig: Rig) -> None:
    a_revoked_key_in_use(rig)
    with Screen(rig.env) as screen:
        operator = Counted(screen)
        screen.see("gw ok", "policy ok", "audit ok", "acme")
        # what stands behind the top alert
        operator.press(ENTER).see("EVIDENCE", "CALLS BEHIND IT", "acme")
        # the partner is held back, and that is proven
        operator.press("L").see("Lock partner acme", "Reason")
        operator.because("a revoked key is in use")
        operator.agree("lock").see("VERIFIED and LOGGED", "enter close")
        operator.press(ENTER).see("EVIDENCE", gone="enter close")
        # the verdict
        operator.press("c").see("Verdict")
        operator.press("t", TAB).see("true_positive")
        operator.because("contained by the lock")
        operator.agree("close").see(": DONE")
        print(f"\n{len(operator.pressed)} keys: {operator.pressed}")
        assert len(operator.pressed) <= MOST_KEYS
    (closed,) = (each for each in rig.do("alert.list", state="resolved").items)
    assert (closed.partner, closed.verdict) == ("acme", Verdict.TRUE_POSITIVE)
    (lock,) = rig.do("lock.list").items
    assert (lock.kind, lock.target, lock.state) == ("partner", "acme", "active")
    (receipt,) = (each for each in rig.do("receipt.list").items if each.action == "lock.add")
    assert receipt.state == "verified"
