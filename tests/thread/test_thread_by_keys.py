"""The thread by keys: the console on a terminal, a real pilot, and the same log as by commands."""

from __future__ import annotations

import getpass
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from console.operations.index import find
from tests.thread.pilot_rig import CAPABILITY, Rig, running, short_folder
from tests.thread.screen import ENTER, RIGHT, TAB, Screen
from tests.thread.the_thread import GRANT, SEE, SET_UP, TAKE, THREAD, done_in

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A pilot that nothing was done with."""
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


class Hands:
    """An operator at the keys, who presses what the screen asks for."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def command(self, line: str, *wanted: str) -> None:
        """Type a `:` line; wait for what comes of it."""
        self.screen.keys(f":{line}").see(line[-30:]).keys(ENTER).see(*wanted)

    def fill(self, *values: str) -> None:
        """Fill in the fields of the form, one after another, and go to its end."""
        for value in values:
            self.screen.keys(value).see(value[-40:]).keys(TAB)

    def agree(self, verb: str) -> None:
        """Wait until the verb can be chosen, choose it, and press it."""
        end = time.monotonic() + 60
        while f"[ {verb} ]" not in self.screen.text:
            assert time.monotonic() < end, self.screen.text
            if f"{verb}:" not in self.screen.text:
                self.screen.keys(RIGHT)
            self.screen.read(0.3)
        self.screen.keys(ENTER)

    def done(self, *wanted: str) -> None:
        """See how it ended, and close it."""
        self.screen.see("enter close", *wanted).keys(ENTER).see(gone="enter close")

    def do(self, line: str, *values: str, ends: str = ": DONE") -> None:
        """Begin an operation by its `:` line, fill in what it asks for, and see it done."""
        self.command(line, "Cancel")
        self.fill(*values)
        noun, verb, *_ = line.split()
        self.agree(find(f"{noun}.{verb}").title.split()[0].lower())
        self.done(ends)


def expect(rig: Rig, *actions: str) -> list[Any]:
    """Wait until the log holds exactly these actions; return its events."""
    wanted = list(actions)
    rig.until(lambda: len(done_in(rig.actions())) >= len(wanted), what=f"{wanted} in the log")
    events = rig.logged()
    assert done_in([each.action for each in events]) == wanted
    return events


def shown_key(screen: Screen) -> str:
    """Read the raw key off the screen, however many lines it is on."""
    lines = [line.strip() for line in screen.lines]
    first = next(at for at, line in enumerate(lines) if line.startswith("sk-pilot-"))
    return "".join(lines[first : lines.index("", first)])


def served(rig: Rig, key: str) -> bool:
    """Call; the point hears of a new key a moment later."""
    return rig.call(key).status_code == 200


def test_the_thread_by_keys(rig: Rig) -> None:
    terms = rig.home.parent / "terms.txt"
    terms.write_text("For the stated purpose only.\n")
    with Screen(rig.env) as screen:
        hands = Hands(screen)
        screen.see("gw ok", "policy ok", "audit ok")

        # a programme
        hands.do("pilot create aurora", "Aurora", "aurora-1",
                 "limited:most-partners=10,longest=90d", "agreed")  # fmt: skip
        hands.do(f"capability create {CAPABILITY}", "Find flaws", "aurora", "dual-use", "2",
                 "aurora-1", "chat.completions,messages", "90d", "agreed")  # fmt: skip
        hands.do("terms publish aurora", "Terms", str(terms), "agreed")
        hands.do("partner create acme egress=192.0.2.0/24", "Acme", getpass.getuser(), "asked")
        expect(rig, *SET_UP)

        # a grant: what is missing, and how to mend it
        hands.command("grant create acme model=aurora-1 network=127.0.0.0/8", "Cancel")
        hands.fill("aurora", "limited", CAPABILITY, "defence", "30d", "approved use")
        screen.see("partner verify acme", "terms accept aurora acme")
        hands.agree("create")
        hands.done("NOT DONE YET", "draft")
        expect(rig, *SET_UP, *GRANT[:1])
        hands.command("partners", "acme")
        hands.do("partner verify acme", "200d", "file 7", "vetted")
        hands.do("terms accept aurora acme", "counsel", "copy", "received")
        hands.do(f"assessment create acme {CAPABILITY}", "risk", "low", "180d", "read")
        hands.command("assessments", "risk")
        hands.do("assessment accept", "agreed")
        hands.command("grants", "draft")
        screen.keys("a").see("Cancel")
        hands.fill("nothing is missing")
        hands.agree("activate")
        hands.done(": DONE", "active")
        expect(rig, *SET_UP, *GRANT[:-1])

        # a key, on the screen once
        screen.see("active").keys("K").see("Cancel")
        hands.fill("first")
        hands.agree("issue")
        screen.see("sk-pilot-", "Shown this once", "hides it for good")
        key = shown_key(screen)
        screen.keys("\x18").see("active", gone="sk-pilot-")
        shown = len(screen.raw)
        assert LEFT not in screen.raw, "the key was on the alternate screen"
        expect(rig, *SET_UP, *GRANT)

        # a call, from a network that the partner did not declare: usage, and an alert
        rig.until(lambda: served(rig, key), what="the key serves")
        hands.command("usage", "acme")
        hands.command("calls", "acme", "allowed")
        hands.command("alerts", "acme", "network")
        screen.keys("a").see("Cancel")
        hands.agree("acknowledge")
        hands.done(": DONE")
        screen.see("in_progress").keys("c").see("Verdict")
        hands.fill("true_positive", "leaked")
        hands.agree("close")
        hands.done("NOT DONE", "pilotctl key revoke")
        expect(rig, *SET_UP, *GRANT, *SEE)

        # the end of it: not with another name, then proven
        hands.command("grants", "active")
        screen.keys("R").see("Type acme:")
        hands.fill("the key leaked", "acne")
        screen.see("type acme first").keys(RIGHT + ENTER).see("cancelled")
        expect(rig, *SET_UP, *GRANT, *SEE)
        assert rig.call(key).status_code == 200
        screen.keys("R").see("Type acme:")
        hands.fill("the key leaked", "acme")
        hands.agree("revoke")
        hands.done("VERIFIED and LOGGED", "gw-1", "refused")
        expect(rig, *SET_UP, *GRANT, *SEE, *TAKE[:2])
        after = rig.call(key)
        assert (after.status_code, after.json()["error"]["code"]) == (403, "grant_revoked")
        expect(rig, *SET_UP, *GRANT, *SEE, *TAKE[:3])
        hands.command("alerts state=in_progress", "acme", "network")
        screen.keys("c").see("Verdict")
        hands.fill("true_positive", "contained")
        hands.agree("close")
        hands.done(": DONE")
        expect(rig, *THREAD)

        # a lock on what is under the cursor, and its release
        hands.command("partners", "acme")
        screen.keys("L").see("Lock partner acme", "Cancel")
        hands.fill("incident")
        hands.agree("lock")
        hands.done("VERIFIED and LOGGED")
        hands.command("locks", "partner", "incident")
        hands.do("lock release", "it is over")
        events = expect(rig, *THREAD, "lock.add", "receipt.verify", "lock.release")
        assert {each.actor for each in events if each.action in GRANT} >= {getpass.getuser()}

        # the command log holds what was done, and no key; nor does anything drawn since
        screen.keys("@").see("lock.release:")
        screen.keys("/key.issue" + ENTER).see("key.issue: ", gone="lock.release:")
        screen.keys(":q").see(":q").keys(ENTER)
        assert screen.ended() == 0
        assert screen.as_found()
        assert screen.raw.count(LEFT) == 1
        assert key.encode() not in screen.raw[shown:]
        assert key[-20:].encode() not in screen.raw[shown:]
        assert screen.raw.index(ENTERED) < screen.raw.index(b"sk-pilot-")


def test_a_hangup_within_a_form_leaves_services_and_terminal_clean(rig: Rig) -> None:
    before = rig.changes()
    with Screen(rig.env) as screen:
        screen.see("gw ok", "policy ok", "audit ok")
        hands = Hands(screen)
        hands.command("pilot create borealis", "Cancel")
        hands.fill("Borealis", "aurora-2")
        screen.signal(signal.SIGHUP)
        assert screen.ended() == 128 + signal.SIGHUP
        assert screen.as_found()
        assert screen.raw.count(LEFT) == 1
        assert screen.raw.rfind(b"\x1b[?25h") > screen.raw.rfind(b"\x1b[?25l")
    assert rig.all_running()
    assert rig.changes() == before
    assert "borealis" not in [each.slug for each in rig.do("pilot.list").items]
    with Screen(rig.env) as screen:
        screen.see("gw ok", "policy ok", "audit ok").keys("\x11")
        assert screen.ended() == 0
