"""Acting on marked rows: one plan of all, one confirmation, an answer for each."""

from datetime import UTC, datetime

import msgspec
from fake_pilot import FakePilot
from test_console import OPERATIONS, run

from console.errors import ExitCode, PilotError
from console.model.audit import Alert
from console.model.enforcement import Blast, Receipt
from console.model.grant import Grant
from console.operations.spec import Plan
from console.tui.dialogs.bulk_form import Bulk
from console.tui.dialogs.bulk_results import Part, Results
from console.tui.link.marked_rows import Item, chosen, together
from console.tui.widgets.text_lines import Subject

BY_ID = {op.id: op for op in OPERATIONS}


class Blasts(FakePilot):
    """A pilot whose grants each reach something of their own; some may be refused."""

    def __init__(self, **options):
        super().__init__(**options)
        self.never = set()
        self.uncounted = set()

    def _lock_blast(self, call):
        name = call.body.id
        if name in self.uncounted:
            return PilotError("unavailable", "not counted", exit=ExitCode.UNAVAILABLE)
        grant = next((each for each in self.all[Grant] if each.id == name), None)
        partners = [grant.partner] if grant else [name]
        return Blast(partners=partners, grants=[name], credentials=2, streams=1)

    def _alert_acknowledge(self, call):
        if call.path["alert"] in self.never:
            return PilotError("forbidden", "you may not take this one", exit=ExitCode.REFUSED)
        return super()._alert_acknowledge(call)


async def mark_three(hands):
    await hands.command("grants")
    await hands.until(lambda: hands.app.table.total == 5)
    await hands.press("space", "space", "space")


def test_marked_rows_are_revoked_with_one_plan_one_count_and_a_result_for_each():
    pilot = Blasts()

    async def story(hands):
        await mark_three(hands)
        marked = set(hands.app.place.state.marks)
        await hands.press("R")
        await hands.see("Revoke grant: 3 marked", "Together:", "3 grants, 6 keys, 3")
        await hands.see("Cannot be undone")
        await hands.type("leaked")
        await hands.press("tab")
        await hands.see("type 3 first")
        await hands.type("4")
        await hands.see("type 3 first")
        assert not pilot.sent
        await hands.press("backspace")
        await hands.type("3")
        await hands.press("tab", "tab", "enter")
        await hands.see("3 unverified", "not proven to be in", seconds=60)
        assert {call.body.id for call in pilot.sent} == marked
        assert {call.body.reason for call in pilot.sent} == {"leaked"}
        await hands.press("enter")
        assert hands.app.place.state.marks == marked, "what is not proven stays marked"

    run(pilot, story)


def test_what_could_not_be_counted_is_not_left_out_of_the_sum():
    pilot = Blasts()

    async def story(hands):
        await mark_three(hands)
        pilot.uncounted = {min(hands.app.place.state.marks)}
        await hands.press("R")
        await hands.see("Together:", "2 grants, 4 keys", "what 1 of them would end could not be")

    run(pilot, story)


def test_what_is_refused_says_why_and_stays_marked_and_nothing_is_called_a_success():
    pilot = Blasts()

    async def story(hands):
        await hands.command("alerts")
        await hands.until(lambda: hands.app.table.total == 3)
        await hands.press("space", "space", "space")
        refused = pilot.all[Alert][1].id
        pilot.never = {refused}
        await hands.press(BY_ID["alert.acknowledge"].key)
        await hands.see("3 marked", "Together: 3 changes")
        await hands.press("tab", "enter")
        await hands.see("2 done", "1 refused", "you may not take this one", seconds=60)
        await hands.press("enter")
        assert hands.app.place.state.marks == {refused}
        assert hands.app.message[1].token == "bad"

    run(pilot, story)


def test_a_part_is_verified_only_where_its_receipt_is_proven_and_logged():
    item = Item(Subject("grant", "g"), {})
    part = Part(BY_ID["grant.revoke"], item, lambda: None)
    now = datetime.now(UTC)
    receipt = Receipt(
        id="r", action="grant.revoke", kind="grant", target="g", partner="acme", reason="x",
        by="op", requested_at=now, recorded_at=now, sequence=1, credentials=0, points=[],
        prober="p", event_id="e", state="verified",
    )  # fmt: skip
    part.finish(receipt)
    assert (part.state, part.good) == ("unverified", False)
    part.fail(PilotError("unknown-outcome", "no answer"), unknown=True)
    assert (part.state, part.good) == ("unknown", False)


def test_an_answer_that_is_lost_is_unknown_then_asked_for_again_with_its_key():
    pilot = Blasts(lose=1)

    async def story(hands):
        hands.app.look_again = 0.3
        await mark_three(hands)
        await hands.press("R")
        await hands.see("Together:")
        await hands.type("leaked")
        await hands.press("tab")
        await hands.type("3")
        await hands.press("tab", "tab", "enter")
        await hands.see("3 unverified", seconds=60)
        assert "K1" in pilot.keys_used

    run(pilot, story)


def test_rows_that_a_filter_hides_are_named_before_they_are_acted_on():
    pilot = Blasts()

    async def story(hands):
        await mark_three(hands)
        await hands.press("slash", *"acme", "enter")
        await hands.until(lambda: len(hands.app.table.rows) == 1)
        await hands.press("R")
        await hands.see("Revoke grant: 3 marked", "2 hidden by /acme", "hidden")
        await hands.press("escape")
        await hands.see("cancelled")
        assert not pilot.sent

    run(pilot, story)


def test_enter_alone_sends_nothing_and_leaving_the_results_stops_nothing():
    pilot = Blasts(stall_writes=0.3)

    async def story(hands):
        await mark_three(hands)
        await hands.press("R")
        await hands.see("Together:")
        await hands.press("enter", "enter", "enter")
        await hands.until(lambda: not isinstance(hands.app.screen, Bulk))
        assert not pilot.sent
        await hands.press("R")
        await hands.see("Together:")
        await hands.type("leaked")
        await hands.press("tab")
        await hands.type("3")
        await hands.press("tab", "tab", "enter")
        await hands.until(lambda: isinstance(hands.app.screen, Results))
        await hands.press("escape")
        await hands.until(lambda: not hands.app._writes, seconds=60)
        assert len(pilot.receipts) == 3

    run(pilot, story)


def test_what_two_rows_share_is_acted_on_once_and_what_has_none_is_named():
    grant = FakePilot().all[Grant][0]
    rows = [
        (Subject("grant", grant.id, grant), "a", False),
        (Subject("grant", grant.id, grant), "b", True),
        (Subject("event", "evt_1"), "c", False),
    ]
    found = chosen(BY_ID["grant.revoke"], rows)
    (item,) = found.items
    assert (item.rows, item.hidden) == ({"a", "b"}, True)
    assert len(found.left_out) == 1


def test_what_is_reached_together_counts_shared_partners_once():
    blasts = [
        Blast(partners=["acme"], grants=["g1"], credentials=2, streams=1),
        Blast(partners=["acme", "northwind"], grants=["g1", "g2"], credentials=3),
    ]
    words = together([Plan(title="x", blast=blast) for blast in blasts])
    assert "2 partners (acme, northwind), 2 grants" in words
    assert "at most 5 keys" in words


def test_a_plan_says_its_blast_as_data():
    plan = Plan(title="x", blast=Blast(partners=["acme"]))
    assert msgspec.to_builtins(plan)["blast"]["partners"] == ["acme"]
