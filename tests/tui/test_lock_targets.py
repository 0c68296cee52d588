"""What `L` locks: what the cursor is on, and never more than that."""

from datetime import UTC, datetime

from fake_pilot import FakePilot
from test_console import run

from console.model.principal import Principal
from console.tui.link.subjects import lock_target
from console.tui.widgets.text_lines import Subject

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADA = Principal(
    id="prn_01J9ZK00000000000000000000", created_at=NOW, created_by="mhr", updated_at=NOW,
    updated_by="mhr", partner="acme", kind="person", hash="0" * 64, note="", state="active",
)  # fmt: skip


def test_a_lock_from_the_row_of_a_user_is_on_that_user_and_not_on_its_partner():
    assert lock_target(Subject("principal", ADA.id, ADA)) == ("principal", ADA.id)


def test_its_plan_counts_its_own_calls():
    async def story(hands):
        await hands.command(f"lock add principal {ADA.id}")
        await hands.see("Lock principal prn_", "its calls with 2 keys of acme")

    run(FakePilot(), story)
