"""What views make of answers, without a screen: tails, searching, usage, proofs, one partner."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
from still_pilot import NOW, StillPilot, an_id
from test_console import OPERATIONS, Hands, run

from console.api.audit import ALERT_SHOW, EVENT_SHOW
from console.api.gateway import CALL_SHOW
from console.errors import PilotError
from console.model.account import OperatorSession
from console.model.audit import AlertPage, Event
from console.model.enforcement import Lock, Receipt
from console.model.grant import Grant
from console.model.oncall import DeliveryState
from console.model.price import BudgetState
from console.model.rule import DetectionRule
from console.model.stored import Page
from console.model.traffic import CallRecord, UsageRow
from console.operations.proving import contradiction
from console.present.columns import answer_name, name_of
from console.present.table_columns import TableColumn, arrange
from console.tui.link.api_link import Link
from console.tui.link.log_proofs import Proofs, verified
from console.tui.theme.palette import meaning
from console.tui.views.list_views import narrowed, row_id, subject_of
from console.tui.views.one_partner import last_used, locks_on, observed
from console.tui.views.story_reader import fields_of
from console.tui.views.tails import merged, searching
from console.tui.views.usage import by_hour, used, window
from console.tui.views.view_registry import described
from console.tui.widgets.rows import TableState

BY_ID = {op.id: op for op in OPERATIONS}


def link_to(pilot):
    return Link(pilot, lambda: None)


def of(view, **options):
    return described(BY_ID, Proofs(link_to(StillPilot())))[view]


def named(row):
    return row


def test_a_tail_puts_what_is_new_on_top_and_keeps_what_it_had():
    held = [5, 4, 3, 2, 1]
    assert merged(held, [6, 7], named, ascending=True) == [7, 6, 5, 4, 3, 2, 1]
    assert merged(held, [5, 6], named, ascending=True) == [6, 5, 4, 3, 2, 1]
    assert merged(held, [7, 6, 5, 4], named, ascending=False) == [7, 6, 5, 4, 3, 2, 1]


def test_a_tail_that_missed_rows_does_not_hide_the_hole():
    assert merged([3, 2, 1], [9, 8, 7], named, ascending=False) == [9, 8, 7]


def test_what_the_log_can_be_searched_by_is_asked_of_it_and_the_rest_stays_a_filter():
    raw, left = searching(of("audit"), "actor:kds target:grt_01AB lock leaked !acme index>40")
    assert raw == {"actor": "kds", "target": "grt_01AB", "text": "lock leaked"}
    assert left == "!acme index>40"
    assert searching(of("calls"), "partner:acme 198.51") == ({"partner": "acme"}, "198.51")


def test_every_list_and_every_group_of_usage_has_a_view_with_columns():
    views = described(BY_ID, Proofs(link_to(StillPilot())))
    for op in OPERATIONS:
        if op.verb == "list":
            assert any(view.sources[0].op is op for view in views.values()), op.id
    for view in views.values():
        assert view.columns
        assert view.empty
        assert len({each.key for each in view.keys}) == len(view.keys)


def a_row(group, **more):
    counts = dict.fromkeys(
        ("calls", "allowed", "denied", "errors", "input_tokens", "output_tokens",
         "estimated_calls"), 0)  # fmt: skip
    return UsageRow(group=group, **{**counts, **more})


def test_usage_is_largest_first_beside_the_whole_and_its_norm():
    now = [
        a_row("a", input_tokens=10),
        a_row("b", input_tokens=30, output_tokens=60, norm_tokens=45),
    ]
    rows = used(now, "partner")
    assert [each.row.group for each in rows] == ["b", "a"]
    assert [each.beyond for each in rows] == [45, -1]
    assert {each.whole for each in rows} == {100}


def test_hours_without_calls_are_hours_too():
    start = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)
    hours = by_hour([a_row("2026-11-23T05:00:00Z", calls=7)], start, start + timedelta(hours=4))
    assert [row.calls for _, row in hours] == [0, 0, 7, 0, 0]


def test_an_hour_opens_exactly_its_own_calls():
    view = of("usage")
    row = used([a_row("2026-11-23T05:00:00Z", calls=7)], "hour")[0]
    drill = view.opens(row, {"by": "hour", "since": "24h"})
    assert drill.view == "calls"
    assert drill.options == {"since": "2026-11-23T05:00:00Z", "until": "2026-11-23T06:00:00Z"}
    assert view.opens(row._replace(by="pilot"), {"by": "pilot"}).why
    day = used([a_row("2026-11-23", calls=7)], "day")[0]
    assert view.opens(day, {"by": "day", "partner": "acme"}).options == {
        "partner": "acme", "since": "2026-11-23T00:00:00Z", "until": "2026-11-24T00:00:00Z",
    }  # fmt: skip
    network = used([a_row("203.0.113.0/24", calls=7)], "network")[0]
    assert view.opens(network, {"by": "network", "since": "6h", "key": "crd_1"}).options == {
        "network": "203.0.113.0/24", "since": "6h", "credential": "crd_1",
    }  # fmt: skip


def proven(events, pilot):
    proofs = Proofs(link_to(pilot))
    asyncio.run(proofs.prove(events))
    return proofs


def test_a_row_is_ok_only_if_its_bytes_are_in_the_log_and_say_what_it_says():
    pilot = StillPilot()
    good, lied, altered, gone = pilot.all[Event][:4]
    lied = msgspec.structs.replace(lied, actor="somebody")
    altered = msgspec.structs.replace(altered, body=altered.body.replace("success", "failure"))
    gone = msgspec.structs.replace(gone, id="evt_01J9ZK99999999999999999999")
    proofs = proven([good, lied, altered, gone], pilot)
    assert [proofs.word(each) for each in (good, lied, altered, gone)] == [
        "ok", "FAILED", "FAILED", "..",
    ]  # fmt: skip
    assert "actor" in proofs.failure(lied)


@pytest.mark.parametrize(
    "change",
    [
        {"body": "{}"}, {"actor": "somebody"}, {"reason": "another"}, {"sequence": 9_999},
        {"at": datetime(2020, 1, 1, tzinfo=UTC)}, {"request_id": "req_other"}, {"index": 0},
        {"fault": "the store has another"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_another_row_under_the_id_of_a_proven_one_is_not_ok(change):
    pilot = StillPilot()
    true = pilot.all[Event][0]
    false = msgspec.structs.replace(true, **change)
    proofs = proven([true], pilot)
    assert (proofs.word(true), proofs.word(false), verified([false], proofs)) == ("ok", "..", 0)
    asyncio.run(proofs.prove([false]))
    assert (proofs.word(true), proofs.word(false)) == ("ok", "FAILED")
    again = proven([false], pilot)
    asyncio.run(again.prove([true]))
    assert (again.word(true), again.word(false)) == ("ok", "FAILED")


def test_a_row_is_not_ok_under_a_head_that_is_not_the_logs():
    pilot = StillPilot()
    pilot.root = b"\0" * 32
    proofs = proven(pilot.all[Event][:1], pilot)
    assert proofs.word(pilot.all[Event][0]) == "FAILED"


def test_what_came_of_asking_is_kept_of_the_newest_events_only(monkeypatch):
    monkeypatch.setattr("console.tui.link.log_proofs.MAX_KEPT", 12)
    pilot = StillPilot()
    event = pilot.all[Event][0]
    unlogged = [
        msgspec.structs.replace(event, id=f"evt_01J9ZL{number:020d}") for number in range(60)
    ]
    good = pilot.all[Event][:40]
    lied = [msgspec.structs.replace(each, actor="somebody") for each in pilot.all[Event][40:]]
    proofs = proven([*unlogged, *good, *lied], pilot)
    for held in (proofs._proven, proofs._failed, proofs._later):
        assert 9 <= len(held) <= 12
    assert [proofs.word(each) for each in good[-9:]] == ["ok"] * 9
    assert [proofs.word(each) for each in lied[-9:]] == ["FAILED"] * 9
    assert proofs.word(lied[0]) == ".."


def test_what_is_no_event_contradicts_its_row():
    event = msgspec.structs.replace(StillPilot().all[Event][0], body="no json")
    assert contradiction(event)
    assert not contradiction(StillPilot().all[Event][0])


def test_an_event_that_is_opened_by_its_id_is_proven():
    async def story(hands: Hands):
        await hands.command(f"event {an_id('evt', 60)}")
        await hands.see(
            "#60",
            "PROOF",
            "in the log: entry 60 of 64",
            "success  ok",
            "EVENT, as it is in the log",
        )
        assert "not proven" not in hands.text

    run(StillPilot(), story)


def test_an_event_whose_bytes_are_not_the_logs_fails_when_it_is_opened_though_its_entry_is_there():
    pilot = StillPilot()
    events = pilot.all[Event]
    at = next(at for at, each in enumerate(events) if each.index == 60)
    events[at] = msgspec.structs.replace(
        events[at], body=events[at].body.replace("success", "failure")
    )

    async def story(hands: Hands):
        await hands.command(f"event {events[at].id}")
        await hands.see(
            "#60",
            "FAILED",
            "not proven: the log holds other bytes than were listed",
            "EVENT, as the API gives it",
        )
        assert "in the log: entry" not in hands.text

    run(pilot, story)


def test_undeclared_networks_come_first_with_how_many_calls():
    def call(address, declared):
        return SimpleNamespace(address=address, declared=declared)

    calls = [call("1.1.1.1", True)] * 5 + [call("2.2.2.2", False)] * 2
    key = SimpleNamespace(last_network="3.3.3.3", last_used_at=NOW, grant_id="g")
    seen = observed(calls, [key])
    assert seen == [("2.2.2.2", 2, False), ("1.1.1.1", 5, True), ("3.3.3.3", 0, True)]
    assert last_used([key, SimpleNamespace(last_used_at=None, grant_id="g")]) == {"g": NOW}


def test_a_partner_is_shown_locked_by_whatever_holds_it():
    pilot = StillPilot()
    partner = pilot._one(next(k for k in pilot.all if k.__name__ == "Partner"), "acme")

    def lock(kind, target, state="active", partners=()):
        return SimpleNamespace(kind=kind, target=target, state=state,
                               blast=SimpleNamespace(partners=list(partners)))  # fmt: skip

    held = [lock("partner", "acme"), lock("subprocessor", "datawharf"), lock("everything", "*"),
            lock("model", "aurora-1", partners=["acme"])]  # fmt: skip
    free = [lock("partner", "acme", "released"), lock("partner", "halcyon")]
    assert locks_on([*held, *free], partner) == held


def test_a_tail_follows_until_the_cursor_moves_and_then_its_row_stays_where_it_is():
    pilot = StillPilot()

    async def story(hands: Hands):
        app = hands.app
        await hands.command("calls")
        await hands.until(lambda: app.table.total == 60)
        assert app.place.state.follow
        await hands.press("down", "down", "down")
        before, y = app.place.state.cursor, app.place.state.index - app.place.state.top
        first = pilot.all[CallRecord][0]
        pilot.all[CallRecord][:0] = [
            msgspec.structs.replace(first, id=f"req_new{n}") for n in range(5)
        ]
        await hands.until(lambda: app.table.total == 65)
        assert app.place.state.cursor == before
        assert app.place.state.index - app.place.state.top == y
        await hands.see("5 above")
        await hands.press("f")
        assert app.table.current.id == "req_new0"
        await hands.see("following")

    run(pilot, story)


def test_a_paused_tail_counts_what_it_holds_back():
    pilot = StillPilot()

    async def story(hands: Hands):
        app = hands.app
        await hands.command("calls")
        await hands.until(lambda: app.table.total == 60)
        await hands.press("p")
        first = pilot.all[CallRecord][0]
        pilot.all[CallRecord].insert(0, msgspec.structs.replace(first, id="req_new"))
        await hands.see("PAUSED, 1 new")
        assert app.table.total == 60
        await hands.press("p")
        assert app.table.total == 61

    run(pilot, story)


def test_a_search_of_the_log_is_a_place_of_its_own_that_escape_leaves():
    async def story(hands: Hands):
        app = hands.app
        await hands.command("audit")
        await hands.until(lambda: app.table.total == 64)
        await hands.press("slash")
        await hands.type("actor:kds")
        await hands.press("enter")
        assert app.place.raw == {"actor": "kds"}
        await hands.press("escape")
        assert app.place.raw == {}

    run(StillPilot(), story)


def test_usage_turns_by_group_and_time_in_its_place():
    async def story(hands: Hands):
        app = hands.app
        await hands.command("usage")
        await hands.see("tokens an hour", "PARTNER", "usage by partner, last 24h")
        await hands.press("g")
        await hands.see("usage by grant")
        await hands.press("t")
        await hands.see("last 3d")
        assert len(app.places) == 1

    run(StillPilot(), story)


def test_usage_groups_by_everything_in_turn_and_shows_the_hours_of_the_week():
    async def story(hands: Hands):
        await hands.command("usage")
        await hands.see("usage by partner")
        for group in ("grant", "key", "model", "capability", "principal", "network", "pilot",
                      "hour", "day", "partner"):  # fmt: skip
            await hands.press("g")
            await hands.see(f"usage by {group}")
        await hands.press("w")
        await hands.see("tokens by the hour of the week", "Mon", "Sun", "blank = none")
        await hands.press("w")
        await hands.see("tokens an hour", "usage by partner, last 24h")

    run(StillPilot(), story, (100, 40))


def test_the_row_under_the_cursor_is_told_beside_the_table_where_there_is_room():
    async def story(hands: Hands):
        await hands.command("alerts")
        await hands.see("CALLS BEHIND IT", "EVIDENCE", "a acknowledge alert")
        await hands.press("down")
        await hands.see("x4")

    run(StillPilot(), story, (120, 40))


def test_a_call_beside_the_table_is_told_by_its_row_and_read_only_by_who_opens_it():
    asked = []

    class CountingPilot(StillPilot):
        def answer(self, call: Any) -> Any:
            asked.append(call.route.id)
            return super().answer(call)

    async def story(hands: Hands):
        for view, show in (("calls", CALL_SHOW.id), ("audit", EVENT_SHOW.id)):
            await hands.command(view)
            await hands.until(lambda: hands.app.table.total)
            for _ in range(3):
                await hands.press("down")
                row = hands.app.table.current
                await hands.until(lambda row=row: hands.app._pane[1] == row.id)
                await hands._pilot.pause(0.4)
                assert hands.app._pane_lines
            assert show not in asked, view
            await hands.press("enter")
            await hands.until(lambda show=show: show in asked)
            await hands.press("escape")

    run(CountingPilot(), story, (120, 40))


def test_a_column_in_which_no_row_says_anything_is_left_out():
    def said(name):
        return TableColumn(name, lambda row, _: str(row.get(name, "")), lambda _: "",
                           lambda row: row.get(name, ""))  # fmt: skip

    columns = [said(name) for name in ("first", "second", "third")]

    async def story(hands: Hands):
        table = hands.app.table

        def heads(rows, **state):
            table.show(columns, rows, lambda row: row["id"], TableState(**state))
            return table.render_line(0).text.split()

        full = {"id": "a", "third": "x"}
        assert heads([full]) == ["FIRST", "THIRD"]
        assert heads([full, {"id": "b", "second": "y"}]) == ["FIRST", "SECOND", "THIRD"]
        assert heads([full], sort="second") == ["FIRST", "SECOND↑", "THIRD"]
        assert heads([full], tail=True) == ["FIRST", "SECOND", "THIRD"]
        assert heads([]) == ["FIRST", "SECOND", "THIRD"]
        await hands.press()

    run(StillPilot(), story)


def test_an_alert_says_who_was_told_and_who_waits_until_when():
    def page(target, state, at, said=""):
        return AlertPage(target=target, state=state, at=at, said=said)

    class PagingPilot(StillPilot):
        def answer(self, call: Any) -> Any:
            found = super().answer(call)
            if call.route.id != ALERT_SHOW.id:
                return found
            later = NOW + timedelta(minutes=10.5)
            pages = [page("lead", "waiting", later), page("desk", "delivered", NOW),
                     page("night", "cancelled", NOW, "taken on before")]  # fmt: skip
            return msgspec.structs.replace(found, pages=pages)

    async def story(hands: Hands):
        await hands.command(f"alert {an_id('alr', 0)}")
        await hands.see("WHO IS TOLD", "lead", "waiting", "in 10m", "taken on before")
        lines = hands.text.splitlines()
        at = next(at for at, line in enumerate(lines) if "WHO IS TOLD" in line)
        assert at < next(at for at, line in enumerate(lines) if "EVIDENCE" in line)

    run(PagingPilot(), story, (100, 40))


def test_every_state_of_a_page_has_a_meaning():
    assert all(meaning(state) for state in DeliveryState)
    columns = [column.name for column in of("oncall").columns]
    assert columns.index("after") == columns.index("level") + 1


def test_a_list_longer_than_was_asked_for_says_so_and_goes_on_at_its_end():
    async def story(hands: Hands):
        app = hands.app
        await hands.command("partners")
        await hands.see("100+ rows")
        await hands.press("end")
        await hands.until(lambda: app.table.total == 400)
        await hands.press("end")
        await hands.see("450 rows")

    run(StillPilot(partners=450), story)


def test_rows_without_an_id_are_told_apart_and_none_is_nameless():
    budget = BudgetState(
        grant_id="grt_1", pilot="aurora", partner="acme", period="month", starts_at=NOW,
        budget_micros=1, spent_micros=0, reserved_micros=0, left_micros=1,
    )  # fmt: skip
    session = OperatorSession(
        operator="root", service="audit", by="user root", source="this machine", agent="one",
        first_at=NOW, last_at=NOW, requests=1,
    )  # fmt: skip
    rows = [
        budget,
        msgspec.structs.replace(budget, scope="principal", principal="a"),
        session,
        msgspec.structs.replace(session, agent="two"),
        UsageRow(group="", calls=1, allowed=0, denied=1, errors=0, input_tokens=0,
                 output_tokens=0, estimated_calls=0),
    ]  # fmt: skip
    assert len({row_id(row) for row in rows} - {""}) == len(rows)


def test_a_receipt_of_a_lock_is_asked_for_by_its_own_id():
    receipt = msgspec.structs.replace(
        StillPilot().all[Receipt][0], action="lock.add", kind="partner", target="acme",
        lock_id=an_id("lck", 1),
    )  # fmt: skip
    subject = subject_of(receipt)
    assert subject is not None
    assert (subject.noun, subject.id) == ("receipt", receipt.id)
    assert name_of(receipt) == receipt.id
    # what `lock add` answers is named by the lock, which `lock release` takes
    assert answer_name(receipt) == receipt.lock_id


def test_the_story_beside_a_receipt_of_a_lock_is_the_receipts():
    pilot = StillPilot()
    locked = msgspec.structs.replace(
        pilot.all[Receipt][0], action="lock.add", kind="partner", target="acme",
        lock_id=an_id("lck", 1),
    )  # fmt: skip
    pilot.all[Receipt] = [locked]

    async def story(hands: Hands):
        await hands.command("receipts")
        await hands.see("lock.add  partner acme", "HISTORY")
        assert "not to be had" not in hands.text

    run(pilot, story, (120, 40))


@pytest.mark.parametrize(
    ("view", "words", "raw", "filter"),
    [
        ("partners", ["acme"], {}, "acme"),
        ("partners", ["active"], {"state": "active"}, ""),
        ("grants", ["acme"], {"partner": "acme"}, ""),
        ("grants", ["acme", "suspended"], {"partner": "acme", "state": "suspended"}, ""),
        ("alerts", ["acme", "open", "egress"], {"partner": "acme", "state": "open"}, "egress"),
        ("alerts", ["critical"], {"severity": "critical"}, ""),
        ("locks", ["datawharf"], {}, "datawharf"),
        ("locks", ["model", "active"], {"kind": "model", "state": "active"}, ""),
        ("receipts", ["acme"], {}, "acme"),
        ("rules", ["burst", "off"], {"state": "off"}, "burst"),
        ("capabilities", ["cyber"], {}, "cyber"),
        ("prices", ["aurora-1"], {}, "aurora-1"),
        ("usage", ["model"], {"by": "model"}, ""),
        ("usage", ["7d"], {"since": "7d"}, ""),
        ("usage", ["2026-11-29", "acme"], {"since": "2026-11-29", "partner": "acme"}, ""),
        ("usage", ["7eleven"], {"partner": "7eleven"}, ""),
    ],
)
def test_a_bare_word_is_a_state_else_a_time_else_the_partner_else_a_filter(
    view, words, raw, filter
):
    assert narrowed(of(view), words, {}) == (raw, filter)


def test_a_word_for_a_time_that_since_does_not_take_is_no_partner():
    with pytest.raises(PilotError) as refused:
        narrowed(of("usage"), ["yesterday"], {})
    assert "like 24h, 7d or 2026-11-29" in refused.value.message
    assert narrowed(of("grants"), ["yesterday"], {}) == ({"partner": "yesterday"}, "")


def test_a_window_of_dates_is_drawn_as_it_is_counted():
    raw = {"since": "2026-11-29", "until": "2026-11-30"}
    day = datetime(2026, 11, 29, tzinfo=UTC)
    assert window(raw, day + timedelta(days=9)) == (day, day + timedelta(days=1))
    assert window({}, day) == (day - timedelta(days=1), day)


def test_partners_by_a_name_are_filtered_by_it():
    async def story(hands: Hands):
        await hands.command("partners acme")
        await hands.see("/acme", "1/5")
        await hands.command("handovers")
        await hands.see("logs", "not read", "cannot be had")

    run(StillPilot(), story)


def an_example(kind: Any) -> Any:
    """Return an object of a type: its texts say something, its times are now."""
    values = {}
    for each in msgspec.structs.fields(kind):
        asked = [one for one in get_args(each.type) if one is not type(None)] or [each.type]
        if each.name.endswith("_reason") or each.name in {"error", "why"}:
            values[each.name] = "so it is"
        elif datetime in asked:
            values[each.name] = NOW
        elif date in asked:
            values[each.name] = NOW.date()
        elif bool in asked:
            values[each.name] = False
        elif float in asked or int in asked:
            values[each.name] = 7
        elif str in asked:
            values[each.name] = an_id("row", 1) if each.name == "id" else f"some-{each.name}"[:20]
        elif each.required:
            values[each.name] = []
    return kind(**values)


class EverythingPilot(StillPilot):
    """A pilot that has one of everything that can be listed, or nothing at all."""

    def __init__(self, *, rows: bool, **options: Any) -> None:
        self.rows = rows
        super().__init__(**options)

    def answer(self, call: Any) -> Any:
        found = super().answer(call)
        if getattr(call.route.answer, "__origin__", None) is not Page:
            return found
        items = list(found.items) if isinstance(found, Page) else []
        if not items:
            (kind,) = get_args(call.route.answer)
            items = self.all.get(kind) or [an_example(kind)]
        return Page(as_of=NOW, source="all", items=items if self.rows else [])


@pytest.mark.parametrize("rows", [True, False])
def test_no_view_has_an_empty_pane_beside_it(rows):
    async def story(hands: Hands):
        app = hands.app
        for name, view in app.views.items():
            await hands.command(name)
            await hands.until(lambda: app.place.heard is not None or app.place.stale)
            assert not rows or app.table.total or name in {"now", "export"}, name
            await hands._pilot.pause(0.05)
            pane = app.query_one("#detail")
            if not pane.display:
                continue
            assert app.table.current is not None, f"{name}: nothing is told of nothing"
            assert view.told
            told = [line.split("│", 1)[1] for line in app._canvas.text() if "│" in line]
            await hands.until(lambda: app._pane_lines)
            assert any(line.strip() for line in told) or app._pane_lines, name

    run(EverythingPilot(rows=rows), story, (120, 40))


def test_a_row_without_a_story_is_told_by_its_own_members():
    async def story(hands: Hands):
        await hands.command("deliveries")
        await hands.see("failed", "it answered 503")
        await hands.press("enter")
        await hands.see("deliveries > delivery", "revoked credential still presented", "alert id")
        await hands.press("escape")
        await hands.see("deliveries")

    run(StillPilot(), story)


def hinted(view, size=(80, 24), prepare=lambda pilot: None):
    pilot = EverythingPilot(rows=True)
    prepare(pilot)
    said = []

    async def story(hands: Hands):
        await hands.command(view)
        await hands.until(lambda: hands.app.table.total)
        await hands._pilot.pause(0.05)
        said.append(hands.text.splitlines()[-1])

    run(pilot, story, size)
    return said[0]


def test_hints_are_verbs_of_the_row_alone():
    for view in ("rules", "points", "silences", "oncall", "prices", "budgets", "logs"):
        assert "L lock" not in hinted(view), view
    assert "L lock" in hinted("partners")

    def of_a_partner(pilot):
        pilot.all[Lock] = [
            msgspec.structs.replace(each, kind="partner", target="acme") for each in pilot.all[Lock]
        ]

    line = hinted("locks", prepare=of_a_partner)
    assert "suspend" not in line
    assert "L lock" not in line


def test_what_a_list_is_for_is_hinted_first():
    def active(pilot):
        pilot.all[Grant] = [
            msgspec.structs.replace(each, state="active") for each in pilot.all[Grant]
        ]

    for view, wanted in (("expiring", "N renew"), ("quiet", "x revoke")):
        line = hinted(view, prepare=active)
        assert line.split("enter open  ", 1)[1].startswith(wanted), line


def test_sessions_of_one_operator_are_told_apart_where_it_is_narrow():
    session = OperatorSession(
        operator="root", service="audit", by="user root", source="this machine",
        agent="pilotctl/1.0 tui", first_at=NOW, last_at=NOW, requests=1,
    )  # fmt: skip
    columns = of("sessions").columns
    others = [
        msgspec.structs.replace(session, agent="pilotctl/1.0 cli"),
        msgspec.structs.replace(session, by="token …4f2a"),
        msgspec.structs.replace(session, service="gateway"),
    ]
    rows = [session, *others]
    texts = [[column.text(row, NOW) for column in columns] for row in rows]
    natural = [max(len(column.name), *(len(each[at]) for each in texts))
               for at, column in enumerate(columns)]  # fmt: skip
    shown = arrange(columns, natural, 78)
    seen = {tuple(each[at][:cells] for at, cells in shown.items()) for each in texts}
    assert len(seen) == len(rows)


def test_what_a_rules_author_wrote_is_read_as_paragraphs_and_steps():
    rule = an_example(DetectionRule)
    rule = msgspec.structs.replace(
        rule, description="A point let\na call through.\n\nNever so.",
        runbook="1. Lock\nthe partner.\n2. Verify.",
    )  # fmt: skip
    lines = ["".join(ink.text for ink in line.inks).strip() for line in fields_of(rule, 70)]
    told = [line.split("  ")[-1].strip() for line in lines]
    at = next(at for at, line in enumerate(lines) if line.startswith("description"))
    assert told[at] == "A point let a call through."
    assert told[at + 1 : at + 3] == ["", "Never so."]
    assert "1. Lock the partner." in lines[at + 3]
    assert lines[at + 4] == "2. Verify."
