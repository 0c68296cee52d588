"""The operator's and the owner's day by keys: it leaves the events that commands leave."""

from __future__ import annotations

import getpass
from collections.abc import Iterator

import pytest

from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)
from tests.thread.screen import ENTER, Screen
from tests.thread.test_operator_by_keys import taken
from tests.thread.test_thread_by_keys import Hands
from tests.thread.the_thread import done_in

BY_THEMSELVES = ("read.", "operator.sign-in", "alert.create", "key.retire")
"""What the services record of reads and of what calls do, whichever front is used."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A pilot with two partners: what is done to one by keys is done to the other by commands."""
    with short_folder() as folder, running(folder / "home") as made:
        programme(made, partners=("acme", "birch"))
        yield made


def filtered(screen: Screen, hands: Hands, view: str, words: str) -> None:
    """Open a view and leave the row with these words."""
    hands.command(view, words)
    screen.keys(f"/{words}").see(f"/{words}").keys(ENTER).see(" 1/")


class Since:
    """What was done from some moment on."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._seen = len(rig.logged())

    def actions(self) -> list[str]:
        """Return the actions that a person caused, in order, and go on from here."""
        events = self._rig.logged()[self._seen :]
        self._seen += len(events)
        told = done_in([each.action for each in events])
        caused = [each for each in told if not each.startswith(BY_THEMSELVES)]
        # Each service that hears of a cut before the others told it of theirs records its own.
        cuts = [at for at, each in enumerate(caused) if each == "operator.cut"]
        return [each for at, each in enumerate(caused) if at not in cuts[1:]]


def a_leaked_key(rig: Rig, partner: str) -> None:
    """A dead key of the partner in use, and one that serves."""
    grant = granted(rig, partner, expires_at="5d")
    leaked, raw = key_of(rig, grant.id)
    _, good = key_of(rig, grant.id)
    rig.do("key.revoke", credential=leaked, reason="seen in a paste")
    assert rig.call(raw).status_code == 403
    assert rig.call(good).status_code == 200
    rig.until(lambda: rig.do("alert.list", partner=partner).items, what="an alert", seconds=60)


@pytest.mark.long
def test_the_operators_day_by_keys_leaves_the_events_that_commands_leave(rig: Rig) -> None:
    for partner in ("acme", "birch"):
        a_leaked_key(rig, partner)
    since = Since(rig)
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok", "Revoked or rotated")
        # triage: taken up, held back, quiet for others, judged
        hands.command("alerts acme", "high", "1 row")
        screen.keys("a").see("Cancel")
        hands.agree("acknowledge")
        hands.done(": DONE")
        filtered(screen, hands, "partners", "acme")
        screen.keys("L").see("Lock partner acme", "Cancel")
        hands.fill("leaked")
        hands.agree("lock")
        hands.done("VERIFIED and LOGGED")
        hands.do("silence add partner=acme", "2h", "they look for it")
        hands.command("alerts acme", "in_progress", "1 row")
        screen.keys("c").see("Verdict")
        hands.fill("true_positive", "locked")
        hands.agree("close")
        hands.done(": DONE")
        hands.command("locks state=active", "leaked", "1 row")
        hands.do("lock release", "found")
        # renewed, its key replaced
        hands.command("expiring acme", "in 4d", "1 row")
        screen.keys("N").see("Renew", "Expires")
        hands.fill("60d", "phase two")
        hands.agree("renew")
        hands.done(": DONE")
        hands.command("keys acme state=in_use", "HOLDER", "1 row")
        hands.command("key rotate", "Cancel")
        hands.fill("quarterly")
        hands.agree("rotate")
        taken(screen)
        # what nobody uses is reclaimed
        hands.command("grants acme state=active", "in 59d", "STAGE")
        screen.keys("R").see("Type acme:")
        hands.fill("never used")
        screen.see("Type acme:")
        hands.fill("acme")
        hands.agree("revoke")
        hands.done("VERIFIED and LOGGED")
        screen.keys(":q" + ENTER)
        assert screen.ended() == 0
    by_keys = since.actions()

    (alert,) = (each.id for each in rig.do("alert.list", partner="birch").items)
    rig.ok("alert", "acknowledge", alert, "--yes")
    lock = rig.ok("lock", "add", "partner", "birch", "--reason", "leaked", "--yes", "-o", "name")
    rig.ok("silence", "add", "--partner", "birch", "--until", "2h", "--reason", "looking", "--yes")
    rig.ok("alert", "close", alert, "--verdict", "true_positive", "--reason", "locked", "--yes")
    rig.ok("lock", "release", lock.strip(), "--reason", "found", "--yes")
    grant = rig.ok("grant", "expiring", "--partner", "birch", "-o", "name").strip()
    new = rig.ok(
        "grant", "renew", grant, "--expires", "60d", "--reason", "phase two", "--yes", "-o", "name"
    ).strip()
    (key,) = rig.ok("key", "list", "--partner", "birch", "--state", "in_use", "-o", "name").split()
    file = str(rig.home.parent / "key")
    rig.ok("key", "rotate", key, "--reason", "quarterly", "--secret-file", file, "--yes")
    rig.ok("grant", "revoke", new, "--reason", "never used", "--confirm", "birch")
    # services record side by side: what they do by themselves has no one order
    assert sorted(by_keys) == sorted(since.actions())
    assert {"alert.close", "lock.add", "silence.add", "grant.renew", "key.rotate"} < set(by_keys)


@pytest.mark.long
def test_the_owners_day_by_keys_leaves_the_events_that_commands_leave(rig: Rig) -> None:
    me = getpass.getuser()
    rig.do("price.set", model="aurora-1", input_micros="2", output_micros="8", reason="list 1")
    since = Since(rig)
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")
        # a partner, from its application to its grant
        hands.do("partner create cedar", "Cedar", me, "applied")
        filtered(screen, hands, "partners", "cedar")
        hands.do("partner vet", "file opened")
        hands.do("partner add-contact cedar", "Security desk", "sec@cedar.example", "from the file")
        hands.do("partner add-network cedar", "198.51.100.0/24", "their egress")
        hands.do("partner add-subprocessor cedar", "northcloud", "runs their agents")
        hands.do("partner verify cedar", "200d", "file 12", "vetted")
        hands.do("principal create cedar", "analyst-7", "named in the request")
        hands.do("terms accept aurora cedar", "counsel", "signed copy", "received")
        hands.do(f"assessment create cedar {CAPABILITY}", "risk", "low", "180d", "site visit")
        hands.command("assessments cedar", "risk", "1 row")
        hands.do("assessment accept", "agreed")
        hands.command("grants cedar", "None with partner=cedar")
        hands.do(
            "grant create cedar model=aurora-1 limits=requests=60,budget=250", "aurora", "limited",
            CAPABILITY, "own estate", "30d", "sponsor request",
        )  # fmt: skip
        # bounds and money
        hands.do("pilot stage aurora", "limited:most-partners=20,longest=60d", "phase two")
        hands.do("price set aurora-1 from=1d", "3.50", "15", "price list 5")
        hands.command("budgets", "cedar", "250.00")
        hands.command("forecast", "cedar", "holds")
        # a partner and an operator leave
        hands.command("partner offboard acme", "Cancel")
        hands.fill("contract ended")
        screen.see("Type acme:")
        hands.fill("acme")
        hands.agree("offboard")
        hands.done("VERIFIED and LOGGED")
        hands.do("operator add duty-2", "responder", "joins the rota")
        hands.command("operators", "duty-2", "responder")
        hands.command("operator cut duty-2", "Cancel")
        hands.fill("laptop stolen")
        screen.see("Type duty-2:")
        hands.fill("duty-2")
        hands.agree("cut")
        hands.done(": DONE")
        screen.keys(":q" + ENTER)
        assert screen.ended() == 0
    by_keys = since.actions()

    def ok(line: str, *more: str) -> str:
        return rig.ok(*line.split(), *more, "--reason", "as agreed", "--yes", "-o", "name").strip()

    ok("partner create dune --name Dune --sponsor", me)
    ok("partner vet dune")
    ok("partner add-contact dune --name Desk --email sec@dune.example")
    ok("partner add-network dune 203.0.113.0/24")
    ok("partner add-subprocessor dune northcloud")
    ok("partner verify dune --until 200d --evidence file")
    ok("principal create dune --identifier analyst-8")
    ok("terms accept aurora dune --signatory counsel --evidence copy")
    made = ok(f"assessment create dune {CAPABILITY} --assessor r --summary low --valid-until 180d")
    ok("assessment accept", made)
    ok(
        f"grant create dune --pilot aurora --stage limited --capability {CAPABILITY} "
        "--model aurora-1 --limits requests=60,budget=250 --purpose own --expires 30d"
    )
    ok("pilot stage aurora limited:most-partners=30,longest=60d")
    ok("price set aurora-1 --input-price 4 --output-price 16 --from 2d")
    rig.ok("partner", "offboard", "birch", "--reason", "ended", "--confirm", "birch")
    ok("operator add duty-3 --role responder")
    rig.ok("operator", "cut", "duty-3", "--reason", "lost", "--confirm", "duty-3")
    # services record side by side: what they do by themselves has no one order
    assert sorted(by_keys) == sorted(since.actions())
