"""What closes waits for a gateway that starts again, in the console as in commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder
from tests.thread.screen import ENTER, Screen
from tests.thread.test_thread_by_keys import Hands

ESCAPE = "\x1b"
WAITS = "waiting for the gateway API to start"

# httpcore leaves a socket to the collector where nobody listens at a Unix address.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")


@pytest.fixture(scope="module")
def pilot() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as made:
        programme(made)
        yield made


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test finds running."""
    yield pilot
    pilot.restore()


def served_key(rig: Rig) -> tuple[str, str]:
    credential, raw = key_of(rig, granted(rig).id)
    rig.until(lambda: rig.call(raw).status_code == 200, what="the key serves")
    return credential, raw


def test_a_revocation_that_was_confirmed_waits_for_the_gateway_and_is_done_once(rig: Rig) -> None:
    credential, raw = served_key(rig)
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")
        hands.command(f"key revoke {credential}", "Cancel", "Type acme")
        hands.fill("leaked", "acme")
        rig.stop("gateway")
        hands.agree("revoke")
        screen.see(WAITS, "give up waiting")
        rig.start("gateway")
        screen.see("VERIFIED and LOGGED", "enter close").keys(ENTER)
    assert rig.call(raw).status_code == 403
    revoked = [each for each in rig.do("receipt.list").items if each.action == "key.revoke"]
    assert [each.target for each in revoked if each.target == credential] == [credential]


def test_the_plan_waits_too_and_asks_for_the_word_that_it_always_asks_for(rig: Rig) -> None:
    credential, raw = served_key(rig)
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")
        rig.stop("gateway")
        hands.command(f"key revoke {credential}", "Cancel", "for it to start")
        rig.start("gateway")
        screen.see("Type acme")
        hands.fill("leaked", "acme")
        hands.agree("revoke")
        screen.see("VERIFIED and LOGGED", "enter close").keys(ENTER)
    assert rig.call(raw).status_code == 403


def test_escape_gives_up_waiting_and_says_that_nothing_was_sent(rig: Rig) -> None:
    credential, raw = served_key(rig)
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")
        hands.command(f"key revoke {credential}", "Cancel", "Type acme")
        hands.fill("leaked", "acme")
        rig.stop("gateway")
        hands.agree("revoke")
        screen.see(WAITS).keys(ESCAPE)
        screen.see("NOT DONE", "was not sent", gone=WAITS).keys(ENTER)
        rig.start("gateway")
        screen.see("gw ok")
    rig.until(lambda: rig.call(raw).status_code == 200, what="the key still serves")
    receipts = rig.do("receipt.list").items
    assert not [each for each in receipts if each.target == credential]
