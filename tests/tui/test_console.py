"""The console by keys, over a pilot in memory: what is seen, what is sent, what is refused."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import pytest
from fake_pilot import SECRET, FakePilot, an_id

from console.model.grant import Grant
from console.operations.index import all_operations
from console.operations.spec import Effect, fields
from console.tui.app.console_app import Console
from console.tui.app.screen_commands import KEYS, NEEDED
from console.tui.dialogs.operation_form import Act
from console.tui.dialogs.write_progress import Doing, SecretShown
from console.tui.link.form_values import Registry, near_line
from console.tui.places.reader import Reads
from console.tui.theme.palette import load_all

PALETTES, _ = load_all()
OPERATIONS = all_operations()


class Hands:
    """An operator: presses keys, types, and reads the screen."""

    def __init__(self, app, pilot):
        self.app, self._pilot = app, pilot

    async def press(self, *keys):
        await self._pilot.press(*keys)

    async def type(self, text):
        await self._pilot.press(*[KEY_NAMES.get(char, char) for char in text])

    async def command(self, line):
        """Run a `:` line at once (one test types it)."""
        self.app.run_command(line)
        await self._pilot.pause()

    @property
    def text(self):
        return "\n".join(self.app._canvas.text())

    async def see(self, *wanted, seconds=60.0):
        end = time.monotonic() + seconds
        while not all(each in self.text for each in wanted):
            assert time.monotonic() < end, f"not seen: {wanted}\n{self.text}"
            await self._pilot.pause(0.02)

    async def until(self, holds, seconds=60.0):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.text
            await self._pilot.pause(0.02)


KEY_NAMES = {
    " ": "space", ":": "colon", "/": "slash", "=": "equals_sign", "-": "minus", ".": "full_stop",
    "!": "exclamation_mark", ">": "greater_than_sign", "_": "underscore", "?": "question_mark",
}  # fmt: skip


def run(pilot, story, size=(80, 24), **options):
    """Run `story(hands)` against the console over `pilot`."""

    async def go():
        app = Console(pilot, OPERATIONS, PALETTES, PALETTES["dark"], **options)
        async with app.run_test(size=size) as hands:
            operator = Hands(app, hands)
            await operator.see("gw ok", "policy ok", seconds=60)
            await story(operator)
        return app

    with pytest.MonkeyPatch.context() as patch:
        pilot.set_clock(patch)
        return asyncio.run(go())


def test_the_landing_view_says_what_needs_someone_worst_first():
    async def story(hands):
        await hands.see("CRIT", "revoked credential still presented", "LOCK", "EXP", "#4182")
        lines = hands.text.splitlines()
        assert "PROD" in lines[0]  # in full where the machine answers fast: ages take room
        assert "gw ok" in lines[0]
        assert "#4182" in lines[0]
        assert next(at for at, line in enumerate(lines) if "CRIT" in line) == 3

    run(FakePilot(), story)


@pytest.mark.parametrize("size", [(80, 24), (40, 15)])
def test_every_list_of_the_registry_is_a_view(size):
    async def story(hands):
        assert {"grants", "alerts", "usage", "audit", "calls", "keys", "locks", "partners"} <= set(
            hands.app.views
        )
        for name in hands.app.views:
            hands.app.run_command(name)
            await hands.until(lambda: hands.app.place.heard is not None or hands.app.place.stale)
            assert not hands.app.place.faults or name not in {"grants", "alerts", "calls"}

    run(FakePilot(), story, size)


def test_a_mistyped_view_names_the_nearest_and_a_wrong_option_is_named():
    async def story(hands):
        await hands.command("grnats")
        await hands.see("nearest: grants")
        await hands.command("grants colour=red")
        await hands.see("does not take 'colour'")

    run(FakePilot(), story)


def test_a_view_takes_arguments_and_a_filter():
    async def story(hands):
        await hands.press("colon")
        await hands.see("tab", "grants")
        await hands.type("calls acme outcome=denied /aurora")
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.heard is not None)
        place = hands.app.place
        assert place.raw["partner"] == "acme"
        assert place.raw["outcome"] == "denied"
        assert place.state.filter == "aurora"
        assert place.command.startswith("calls ")

    run(FakePilot(), story)


def test_going_back_restores_filter_sort_cursor_and_marks():
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 40)
        await hands.press("slash")
        await hands.type("state:active")
        await hands.press("enter")
        await hands.press("s", "down", "down", "space", "down")
        before = hands.app.place.state
        kept = (before.filter, before.sort, before.cursor, set(before.marks), before.top)
        assert len(kept[3]) == 1
        await hands.press("enter")
        await hands.see("capabilities")
        await hands.press("escape")
        after = hands.app.place.state
        assert (after.filter, after.sort, after.cursor, set(after.marks), after.top) == kept
        await hands.see("/state:active", "1 marked")
        await hands.press("alt+right")
        assert hands.app.place.subject is not None

    run(FakePilot(partners=40), story)


def test_the_cursor_stays_on_its_row_when_others_come():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("down", "down")
        held = hands.app.table.state.cursor
        first = pilot.all[Grant][0]
        new = [msgspec.structs.replace(first, id=an_id("grt", 900 + n)) for n in range(3)]
        pilot.all[Grant][:0] = new
        await hands.press("ctrl+r")
        await hands.until(lambda: hands.app.table.total == 8)
        assert hands.app.table.state.cursor == held
        assert hands.app.table.state.index == 5

    run(pilot, story)


def test_lock_from_an_alert_shows_the_plan_then_a_receipt_that_grows_to_verified():
    pilot = FakePilot()
    presses = ["L"]

    async def story(hands):
        await hands.see("CRIT")
        await hands.press("L")
        await hands.see("Lock partner acme", "What ends", "1 stream in flight", "[ Cancel ]")
        await hands.type("leaked")
        await hands.see("--reason leaked")
        assert pilot.sent == []
        presses.extend(["tab", "tab", "enter"])
        await hands.press("tab", "tab", "enter")
        await hands.see("gw-1", "refused", "verified", "+0.178 s")
        (sent,) = pilot.sent
        assert (str(sent.body.target.kind), sent.body.target.id) == ("partner", "acme")
        assert sent.body.reason == "leaked"
        assert len(presses) <= 12

    run(pilot, story)


def test_enter_alone_never_confirms():
    pilot = FakePilot()

    async def story(hands):
        await hands.see("CRIT")
        await hands.press("L")
        await hands.see("Lock partner acme")
        await hands.type("why")
        await hands.press("enter", "enter")
        await hands.until(lambda: not isinstance(hands.app.screen, Act))
        await hands.see("cancelled")
        assert pilot.sent == []

    run(pilot, story)


def test_revoke_wants_the_name_typed():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("R")
        await hands.see("Revoke grt_", "Cannot be undone", "Type acme:")
        await hands.type("leaked")
        await hands.see("type acme first")
        await hands.press("tab", "tab", "right", "enter")
        assert pilot.sent == []

    run(pilot, story)


def test_revoke_with_the_name_typed_is_followed_to_its_end():
    pilot = FakePilot(pace=1.0)  # the write itself is still in view in the log

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("R")
        await hands.see("Type acme:")
        await hands.type("leaked")
        await hands.press("tab")
        await hands.type("acme")
        await hands.press("tab", "tab", "enter")
        await hands.see("3 of 3 points", "enforced")
        assert [call.body.id for call in pilot.sent] == [an_id("grt", 0)]
        await hands.press("enter")
        await hands.see("revoked")
        await hands.press("at")
        await hands.see("POST /v1/tombstones 200", "pilotctl grant revoke")

    run(pilot, story)


def test_a_closing_whose_plan_cannot_be_had_can_be_sent_with_its_name_typed():
    pilot = FakePilot(refuse={"lock.blast"})

    async def story(hands):
        await hands.see("CRIT")
        await hands.press("L")
        await hands.see("What it reaches is not known", "Type acme:")
        await hands.type("leaked")
        await hands.press("tab")
        await hands.type("acme")
        await hands.press("tab", "tab", "enter")
        await hands.see("3 of 3")
        assert len(pilot.sent) == 1

    run(pilot, story)


def test_what_hands_over_a_key_is_done_in_turn_for_marked_rows_each_with_its_own_plan():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("space", "space", "K")
        await hands.see("Issue a key of acme  (1 of 2 marked)")
        await hands.type("new")
        await hands.press("tab", "tab", "enter")
        await hands.see(SECRET)
        await hands.press("ctrl+x")
        await hands.see("(2 of 2 marked)", "new")
        await hands.press("escape")
        await hands.see("cancelled")
        assert len(pilot.sent) == 1

    run(pilot, story)


def test_a_raw_key_is_shown_once_and_gone():
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("K")
        await hands.see("Issue a key of acme")
        await hands.type("new")
        await hands.press("tab", "tab", "enter")
        await hands.until(lambda: isinstance(hands.app.screen, SecretShown))
        await hands.see(SECRET)
        await hands.press("q", "escape", "enter")
        assert SECRET in hands.text
        await hands.press("ctrl+x")
        await hands.until(lambda: SECRET not in hands.text)
        await hands.press("at")
        await hands.see("key.issue")
        assert SECRET not in hands.text
        assert not any(SECRET in line.text for line in hands.app.link.log)

    run(FakePilot(), story)


def test_a_lost_answer_is_unknown_and_asked_again_with_the_same_key():
    pilot = FakePilot(lose=1)

    async def story(hands):
        hands.app.look_again = 0.05
        await hands.see("CRIT")
        await hands.press("L")
        await hands.see("What ends")
        await hands.type("why")
        await hands.press("tab", "tab", "enter")
        await hands.see("UNKNOWN")
        await hands.see("enforced", "3 of 3")
        assert len(pilot.sent) == 2
        assert pilot.keys_used[1] == "K1"

    run(pilot, story)


def test_leaving_the_dialogue_of_a_write_does_not_stop_it():
    pilot = FakePilot(slow={"gateway": 0.3})

    async def story(hands):
        await hands.see("CRIT")
        await hands.press("L")
        await hands.see("What ends")
        await hands.type("why")
        await hands.press("tab", "tab", "enter")
        await hands.until(lambda: isinstance(hands.app.screen, Doing))
        await hands.press("escape")
        await hands.command("alerts")
        await hands.until(lambda: len(pilot.sent) == 1)
        await hands.until(lambda: not hands.app._writes)
        said = [note.text for note in hands.app.link.log]
        assert any(each.startswith("lock.add: ") for each in said), said
        assert not any("bug" in each for each in said)

    run(pilot, story)


def test_a_read_only_profile_refuses_what_opens_and_never_what_closes():
    pilot = FakePilot(read_only=True)

    async def story(hands):
        await hands.see("RO")
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("n")
        await hands.see("read-only for what opens")
        await hands.press("L")
        await hands.see("What ends")
        await hands.press("escape")
        await hands.command("write")
        await hands.press("n")
        await hands.see("Create grant")

    run(pilot, story)


def test_what_a_role_may_not_do_says_so():
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("n")
        await hands.see("needs the role operator")

    run(FakePilot(roles=("viewer",)), story)


def test_an_api_that_is_away_leaves_old_rows_with_their_age_and_stops_what_opens():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        pilot.down = {"policy", "audit"}
        await hands.see("policy DOWN", "audit DOWN", "gw ok", "OLD, from", seconds=60)
        assert "northwind" in hands.text
        await hands.press("n")
        await hands.see("policy is down")
        await hands.press("L")
        await hands.see("Lock grant grt_", "What ends")
        await hands.press("escape")
        pilot.down = set()
        await hands.see("policy ok", "audit ok", seconds=60)

    run(pilot, story)


def test_a_log_that_does_not_hold_stops_what_opens_and_nothing_else():
    pilot = FakePilot(suspect=True)

    async def story(hands):
        await hands.see("audit SUSPECT", "#4182?")
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("n")
        await hands.see("the log failed verification: the log has another past")
        await hands.press("L")
        await hands.see("Lock grant", "What ends")

    run(pilot, story)


def test_from_the_top_alert_to_its_verdict_in_twelve_keys():
    pilot = FakePilot()
    keys = []

    async def story(hands):
        async def press(*names):
            keys.extend(names)
            await hands.press(*names)

        await hands.see("CRIT")
        await press("enter")
        await hands.see("EVIDENCE", "key used after it was revoked")
        await press("L")
        await hands.see("Lock partner acme", "What ends")
        await hands.type("leaked")
        await press("tab", "tab", "enter")
        await hands.see("3 of 3")
        await press("enter", "c")
        await hands.see("Verdict")
        await press("t", "tab")
        await hands.type("leaked")
        await hands.see("true_positive")
        await press("tab", "tab", "enter")
        await hands.see("resolved")
        assert len(keys) <= 12, keys

    run(pilot, story)


def test_help_lists_what_can_be_done_here_and_runs_it():
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("question_mark")
        await hands.see("grant revoke", "grant create")
        await hands.press("slash")
        await hands.type("grant create")
        await hands.press("enter", "enter")
        await hands.see("Create grant", "Partner")

    run(FakePilot(), story)


def test_a_form_checks_in_place_and_completes():
    async def story(hands):
        await hands.command("points")
        await hands.command("grant create")
        await hands.see("partner is missing", "northwind")
        await hands.type("nor")
        await hands.press("tab")
        await hands.type("aurora")
        await hands.press("tab")
        await hands.type("limitd")
        await hands.see("limitd")
        await hands.see("limited", "Stage")
        assert "northwind" in hands.text

    run(FakePilot(), story)


def test_tab_in_a_list_completes_its_last_item_and_keeps_the_others():
    async def story(hands):
        await hands.command(
            "capability create a.b title=T pilot=aurora category=general tier=1 "
            "model=aurora-1 longest=30d"
        )
        await hands.see("Route", "Cancel")
        await hands.type("chat.completions,mess")
        await hands.press("tab")
        await hands.see("chat.completions,messages", "--route messages")

    run(FakePilot(), story)


def test_usage_opens_the_calls_behind_a_row():
    async def story(hands):
        await hands.command("usage")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.name == "calls" and hands.app.table.total)
        assert hands.app.place.raw == {"partner": "acme", "since": "24h"}

    run(FakePilot(), story)


def test_a_partner_is_one_story_whose_lines_can_be_acted_on():
    async def story(hands):
        await hands.command("partner acme")
        await hands.see("GRANTS", "KEYS", "ALERTS")
        while hands.app.subject is None or hands.app.subject.noun != "alert":
            await hands.press("down")
        await hands.press("enter")
        await hands.see("EVIDENCE")

    run(FakePilot(), story, (100, 40))


def test_moving_on_drops_the_read_before():
    pilot = FakePilot()

    async def story(hands):
        pilot.slow["policy"] = 5.0
        await hands.command("grants")
        await hands.command("calls")
        await hands.until(lambda: hands.app.table.total == 60)
        reads = [w for w in hands.app.workers if w.group == "read" and w.is_running]
        assert len(reads) == 1

    run(pilot, story)


def test_a_hundred_thousand_rows_are_as_quick_as_a_hundred():
    async def story(hands):
        table = hands.app.table
        await hands.command("calls")
        await hands.until(lambda: table.total == 60)
        record = table.current
        copies = [msgspec.structs.replace(record, id=f"req_{n}") for n in range(100_000)]
        hands.app.workers.cancel_all()
        began = time.process_time()
        table.show(table.columns, copies, table._id_of, table.state)
        shown = time.process_time() - began
        began = time.process_time()
        table.go(99_999)
        await hands.press("pageup")
        moved = time.process_time() - began
        assert shown < 0.5
        assert moved < 1.0

    run(FakePilot(), story)


def test_no_key_of_an_operation_is_one_that_the_frame_keeps():
    for op in OPERATIONS:
        assert op.key not in NEEDED, op.id
        assert op.key not in set("ABCDFHOPQ[~0123456789"), f"{op.id}: a split escape may send it"


def test_every_operation_can_be_reached_by_a_command_and_has_a_form():
    registry = Registry(OPERATIONS)
    for op in OPERATIONS:
        assert registry.named([op.noun, op.verb]) == (op, [])
        assert fields(op) is not None
        assert near_line(op, {}, datetime.now(UTC)).startswith(f"pilotctl {op.noun} {op.verb}")
        if op.effect is not Effect.READ:
            assert op.plan is not None
    assert KEYS


def test_the_console_has_all_that_places_and_actions_declare_of_it():
    async def story(hands):
        missing = [name for name in Reads.__annotations__ if not hasattr(hands.app, name)]
        assert missing == []

    run(FakePilot(), story)
