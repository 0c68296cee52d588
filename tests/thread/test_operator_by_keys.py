"""An operator at the keys, on a real pilot: from what needs someone to what is proven."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from console.model.audit import Verdict
from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)
from tests.thread.screen import ENTER, TAB, Screen
from tests.thread.test_thread_by_keys import Hands, shown_key

MAX_KEYS = 12


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
    rig.until(lambda: rig.do("alert.list").items, what="an alert")


@pytest.mark.long
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
        assert len(operator.pressed) <= MAX_KEYS
    (closed,) = (each for each in rig.do("alert.list", state="resolved").items)
    assert (closed.partner, closed.verdict) == ("acme", Verdict.TRUE_POSITIVE)
    (lock,) = rig.do("lock.list").items
    assert (lock.kind, lock.target, lock.state) == ("partner", "acme", "active")
    (receipt,) = (each for each in rig.do("receipt.list").items if each.action == "lock.add")
    assert receipt.state == "verified"


@pytest.mark.long
def test_grants_are_made_renewed_and_revoked_in_bulk_and_a_key_rotated_by_keys(rig: Rig) -> None:
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")
        for partner in ("acme", "northwind"):
            hands.do(
                f"grant create {partner} model=aurora-1", "aurora", "limited", CAPABILITY,
                "defence", "30d", "approved use",
            )  # fmt: skip

        # a key that serves, and the grant renewed under it
        hands.command("grants acme", "active", "1 row")
        screen.keys("K").see("Cancel")
        hands.fill("first")
        hands.agree("issue")
        first = taken(screen)
        rig.until(lambda: rig.call(first).status_code == 200, what="the key serves")
        screen.see("active").keys("N").see("Renew", "Expires")
        hands.fill("60d", "the work goes on")
        hands.agree("renew")
        hands.done(": DONE")
        hands.command("grants acme", "expired", "active", "2 rows")
        assert rig.call(first).status_code == 200

        # the key replaced: both serve while the grace lasts
        hands.command("keys acme", "in_use", "1 row")
        hands.command("key rotate", "Cancel")
        hands.fill("its year is over")
        hands.agree("rotate")
        second = taken(screen)
        rig.until(lambda: rig.call(second).status_code == 200, what="the new key serves")
        assert rig.call(first).status_code == 200
        hands.command("keys acme", "rotating")

        # everything revoked at once, and each told
        hands.command("grants state=active", "acme", "northwind", "2 rows")
        screen.keys("  R").see("Revoke grant: 2 marked", "Together:")
        hands.fill("the programme ends")
        screen.see("type 2 first")
        hands.fill("2")
        hands.agree("revoke")
        screen.see("2 verified", "enter close").keys(ENTER)
        screen.see("None with state=active")
        for key in (first, second):
            assert rig.call(key).status_code == 403
    revoked = [each for each in rig.do("receipt.list").items if each.action == "grant.revoke"]
    assert [each.state for each in revoked] == ["verified", "verified"]
    assert {each.partner for each in revoked} == {"acme", "northwind"}


def taken(screen: Screen) -> str:
    """Read the raw key that is shown once, and let it be hidden for good."""
    screen.see("sk-pilot-", "Shown this once")
    raw = shown_key(screen)
    screen.keys("\x18").see("gw ok", gone="sk-pilot-")
    return raw
