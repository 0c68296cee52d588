"""What could not be read is said as unknown on every screen: never as none, zero or calm."""

import asyncio
import re
import time
from datetime import timedelta

import pytest
from fake_pilot import FakePilot
from still_pilot import StillPilot
from test_console import OPERATIONS, PALETTES, Hands, run

from console.model.access import Partner
from console.model.enforcement import Point, UpstreamHealth, UpstreamState
from console.services.operators.break_glass import SEAL
from console.tui.app.console_app import Console
from console.tui.link import api_link
from console.tui.link.subjects import API_OF
from console.tui.places import reader
from console.tui.views.read_parts import Part, count_words

APIS = {"gateway": "gw DOWN", "policy": "policy DOWN", "audit": "audit DOWN"}
TOTALS = {
    "audit": ("alerts unknown",),
    "gateway": ("locks unknown",),
    "policy": ("partners unknown", "grants unknown"),
}
CALM = re.compile(r"\b0 (alerts?|locks?|partners?|grants?|calls?|keys?|tokens|rows)|needs you\.")
UNREAD = re.compile(r"cannot be had|unknown|not read|does not answer|asking")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    """Look at an API more often than for people, and give a look up sooner."""
    monkeypatch.setattr(api_link, "EVERY", 0.3)
    monkeypatch.setattr(api_link, "MAX_PAUSE_SECONDS", 0.5)
    for module in (api_link, reader):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.5)


def opened(pilot, story, size=(80, 24)):
    """Run `story(hands)` against a console that was opened while APIs of `pilot` were away."""

    async def go():
        app = Console(pilot, OPERATIONS, PALETTES, PALETTES["dark"])
        async with app.run_test(size=size) as hands:
            await story(Hands(app, hands))

    asyncio.run(go())


@pytest.mark.parametrize("api", APIS)
def test_a_fresh_console_with_an_api_away_says_unknown_and_puts_it_first(api):
    pilot = StillPilot()
    pilot.down = {api}

    async def story(hands):
        await hands.see(APIS[api], f"{api} does not answer", *TOTALS[api])
        lines = hands.text.splitlines()
        assert lines[3].lstrip(" >").startswith("DOWN"), "it stands first"
        assert not CALM.search(hands.text), hands.text

    opened(pilot, story)


@pytest.mark.parametrize("api", APIS)
def test_no_list_of_an_api_that_is_away_says_that_there_is_nothing(api):
    pilot = StillPilot()
    pilot.down = {api}
    away = f"the {api} API is not running"

    async def story(hands):
        looked = []
        for view in hands.app.views.values():
            hands.app.run_command(view.name)
            place = hands.app.place
            await hands.until(lambda place=place: len(place.parts) == len(place.view.sources))
            if away not in place.faults.values():
                continue
            looked.append(view.name)
            await hands.until(lambda: UNREAD.search(hands.text))
            assert not CALM.search(hands.text), hands.text
            if all(part.items is None for part in place.every_part()):
                assert "row" not in hands.text.splitlines()[1]
                for line in view.empty[:1]:
                    assert line[:30] not in hands.text, hands.text
        assert len(looked) > 5, looked

    opened(pilot, story, (120, 40))


@pytest.mark.parametrize(
    ("api", "says"),
    [
        ("gateway", ("LOCKS     cannot be had", "KEYS      cannot be had", "keys unknown",
                     "observed: unknown", "USAGE     cannot be had")),
        ("audit", ("ALERTS    cannot be had", "HISTORY   cannot be had")),
    ],
)  # fmt: skip
def test_the_page_of_a_partner_says_which_of_its_sections_could_not_be_read(api, says):
    pilot = StillPilot()
    pilot.down = {api}
    partner = pilot.all[Partner][0].slug

    async def story(hands):
        await hands.until(lambda: hands.app.places)
        await hands.command(f"partner {partner}")
        await hands.see(*says)
        assert "0 keys" not in hands.text
        grants = next(line for line in hands.text.splitlines() if "cyber.vuln" in line)
        assert ("unknown" in grants) == (api == "gateway"), "when it was last used"

    opened(pilot, story, (120, 40))


def test_what_was_read_before_an_outage_is_shown_with_its_age():
    pilot = FakePilot()

    async def story(hands):
        await hands.see("3 alerts open", "1 lock")
        pilot.down = {"audit"}
        await hands.see("audit does not answer: alerts old")
        await hands.until(lambda: re.search(r"3 alerts open, \d+[sm] old", hands.text))
        row = next(line for line in hands.text.splitlines() if "CRIT" in line)
        assert "old" in row
        pilot.down = set()
        await hands.until(lambda: " old" not in hands.text)
        assert "3 alerts open" in hands.text

    run(pilot, story)


def test_a_list_that_cannot_be_read_while_its_api_is_well_is_a_row_too():
    pilot = FakePilot()
    pilot.refuse = {"lock.list"}

    async def story(hands):
        await hands.see("UNKN", "locks unknown: GET /v1/locks", "some of it cannot be had")

    run(pilot, story)


def test_fenced_points_and_upstreams_that_fail_are_rows_of_now_worst_first():
    pilot = FakePilot()
    since = pilot.now - timedelta(minutes=3)
    up = {"kind": "openai", "since": since}
    upstreams = [
        UpstreamHealth(name="spare", state=UpstreamState.FAILING.value, why="timeout", **up),
        UpstreamHealth(name="lab", state=UpstreamState.DEAD.value, why="answers 502",
                       failures=8, **up),
        UpstreamHealth(name="eu", state=UpstreamState.KEY_FAULT.value, why="its key is open", **up),
        UpstreamHealth(name="well", state=UpstreamState.SERVING.value, **up),
    ]  # fmt: skip
    first, second, third = pilot.all[Point]
    pilot.all[Point] = [
        Point(**{**_members(first), "upstreams": upstreams}),
        Point(**{**_members(second), "state": "fenced"}),
        third,
    ]

    async def story(hands):
        await hands.see("FENC", "DEAD", "KEY", "FAIL")
        words = [line.split()[0].lstrip(">") for line in hands.text.splitlines() if line.split()]
        order = [word for word in words if word in {"CRIT", "FENC", "DEAD", "KEY", "FAIL", "EXP"}]
        assert order[0] == "CRIT"
        assert order.index("DEAD") < order.index("KEY") < order.index("FAIL") < order.index("EXP")
        assert "upstream lab at gw-1: answers 502" in hands.text
        assert "well at gw-1" not in hands.text

    run(pilot, story, (104, 30))


def test_what_a_service_lacks_of_another_is_a_note_and_does_not_make_it_sick():
    pilot = FakePilot(lacks={"gateway": ["policy unheard of for 9 s: tier 3 is held back"]})

    async def story(hands):
        await hands.see("NOTE", "gateway: policy unheard of", "gw ok")
        assert "SICK" not in hands.text

    run(pilot, story, (104, 30))


def test_where_no_break_glass_account_can_be_used_now_says_so_until_one_is_sealed():
    newest = "the newest, break-glass-2: a restore lost its token"
    told = f"no break-glass account can be used ({newest}): {SEAL}"
    pilot = FakePilot(lacks={"policy": [told]})

    async def story(hands):
        await hands.see("NOTE", "policy: no break-glass account can be used", "policy ok")
        assert "SICK" not in hands.text
        pilot.lacks.clear()
        await hands.until(lambda: "break-glass" not in hands.text)

    run(pilot, story, (104, 30))


def test_a_count_is_never_made_of_what_was_not_read():
    assert count_words(Part(), "lock") == "locks unknown"
    assert count_words(Part(fault="away"), "alert", tail=" open") == "alerts unknown"
    assert count_words(Part(()), "lock") == "0 locks"
    old = Part([1, 2], time.monotonic() - 240, "away")
    assert count_words(old, "alert", tail=" open") == "2 alerts open, 5m old"
    with pytest.raises(TypeError):
        len(Part())  # type: ignore[arg-type]


def _members(point: Point):
    return {name: getattr(point, name) for name in point.__struct_fields__}


@pytest.mark.parametrize("api", APIS)
def test_an_api_that_hangs_is_a_row_and_keeps_nothing_else_from_being_read(api):
    pilot = FakePilot()

    async def story(hands):
        await hands.see("3 alerts open", "1 lock")
        place = hands.app.place
        of = {at: API_OF.get(each.op.noun, "policy") for at, each in enumerate(place.view.sources)}
        pilot.slow = {api: 600.0}
        await hands.see(APIS[api], f"{api} does not answer")
        await hands.until(lambda: all(bool(place.part(at).age) == (of[at] == api) for at in of))
        heard = {at: place.part(at).heard for at in of if of[at] != api}
        await hands.until(lambda: all(place.part(at).heard > heard[at] for at in heard))

    run(pilot, story)
