"""The day's renewals by keys: what ends soon, marked, renewed at once, and no key changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder
from tests.thread.screen import DOWN, ENTER, RIGHT, TAB, Screen


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A pilot with two partners whose access ends soon."""
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig, tier=1, partners=("acme", "birch"))
        yield rig


def test_what_ends_soon_is_marked_and_renewed_at_once(rig: Rig) -> None:
    old = [
        granted(rig, partner, expires_at=ends).id
        for partner, ends in (("acme", "5d"), ("birch", "9d"))
    ]
    far = granted(rig, "birch", expires_at="80d").id
    keys = [key_of(rig, each)[1] for each in old]
    rig.do("principal.create", partner="acme", identifier="u-1", note="night agent", reason="sent")
    with Screen(rig.env) as screen:
        screen.see("gw ok", "policy ok", "audit ok")
        screen.keys(":expiring").see("expiring").keys(ENTER).see("acme", "birch", "2 rows")
        screen.keys(" ").see("1 marked").keys(DOWN).keys(" ").see("2 marked")
        screen.keys("N").see("Renew grant: 2 marked", "Expires")
        screen.keys("60d" + TAB + "a new term" + TAB).see("Together: 2 changes", "it was 20")
        screen.keys(RIGHT).see("[ renew ]").keys(ENTER).see("Renew grant, 2 marked", "enter close")
        screen.keys(ENTER).see("Nothing ends soon.", gone="enter close")
        screen.keys(":principals").see("principals").keys(ENTER).see("night agent")
        screen.keys(":quiet since=0s").see("since=0s").keys(ENTER).see("acme", "birch", "LAST USED")
        screen.keys("q")
    for grant, key in zip(old, keys, strict=True):
        ended = rig.json("grant", "show", grant)
        assert (ended["state"], ended["state_reason"]) == ("expired", "renewed")
        assert rig.json("grant", "show", ended["renewed_by"])["state"] == "active"
        assert rig.call(key).status_code == 200
    assert rig.json("grant", "show", far)["renewed_by"] == ""
