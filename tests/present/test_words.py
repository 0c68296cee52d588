from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from console.model.enforcement import LogProof, PointProof, Receipt
from console.model.grant import Gap, Grant
from console.operations.spec import Plan, Section
from console.operations.values import seconds
from console.present.amounts import purse
from console.present.cells import clip, fit, width
from console.present.columns import cell, columns_of, name_of
from console.present.detail import detail_lines
from console.present.diff import difference, difference_lines
from console.present.plan import plan_lines
from console.present.receipt import receipt_lines, standing
from console.present.safe import safe
from console.present.sparkline import sparkline
from console.present.times import age, duration, local_and_utc, until

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_duration_is_written_as_it_is_read():
    assert duration(timedelta(days=1, hours=12)) == "1d12h"
    assert duration(0.25) == "0.25s"
    assert duration(-90) == "-1m30s"


@given(st.integers(0, 10**9))
def test_every_duration_in_whole_seconds_is_read_back(count):
    assert seconds(duration(count)) == count


def test_ages_grow_in_coarse_steps_only():
    shown = [age(AT - timedelta(seconds=s), AT) for s in (3, 12, 19, 61, 3700, 90000, 200000)]
    assert shown == ["now", "10s", "10s", "1m", "1h", "25h", "2d"]
    assert until(AT + timedelta(days=3), AT) == "in 3d"
    assert until(AT - timedelta(minutes=5), AT) == "5m ago"
    assert until(AT + timedelta(days=700), AT) == "in 700d"
    assert until(AT + timedelta(days=1874), AT) == "in 5y"
    assert age(None, AT) == ""


def test_a_time_is_shown_here_and_in_utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert local_and_utc(AT) == "2026-03-01 21:00:00 JST (12:00:00Z)"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@given(st.text(), st.integers(1, 30))
def test_a_cell_is_exactly_as_wide_as_asked(text, cells):
    shown = safe(text)
    assert width(clip(shown, cells)) <= cells
    assert width(fit(shown, cells)) == cells


def test_wide_characters_take_two_cells_and_marks_none():
    assert width("日本e\u0301") == 5
    assert fit("日本語", 4) == "日… "


def grant(**more):
    return Grant(
        id="grt_01J9ZK00000000000000000000", created_at=AT, created_by="root", updated_at=AT,
        updated_by="root", pilot="p", stage="sandbox", partner="ac\x1bme", capabilities=["c"],
        models=[], networks=[], purpose="x", not_before=AT, expires_at=AT + timedelta(days=9),
        tier=1, state="active", **more,
    )  # fmt: skip


def test_an_empty_scope_is_shown_as_all_and_hostile_text_is_escaped():
    row = {column.name: cell(column, grant(), AT) for column in columns_of(Grant)}
    assert row["models"] == row["networks"] == "ALL"
    assert row["partner"] == "ac^[me"
    assert row["expires"] == "in 9d"
    assert name_of(grant()) == "grt_01J9ZK00000000000000000000"
    shown = next(line for line in detail_lines(grant()) if line.startswith("networks"))
    assert shown.endswith("ALL")


def test_a_grant_that_ended_before_its_time_says_how_and_not_when_it_would_have():
    expires = next(column for column in columns_of(Grant) if column.name == "expires")
    for state, more, said in (
        ("active", {}, "in 9d"),
        ("expired", {"renewed_by": "grt_2"}, "renewed"),
        ("revoked", {}, "ended"),
        ("denied", {}, "ended"),
    ):
        row = msgspec.structs.replace(grant(), state=state, **more)
        assert cell(expires, row, AT) == said
    past = msgspec.structs.replace(grant(), state="expired", expires_at=AT - timedelta(days=2))
    assert cell(expires, past, AT) == until(past.expires_at, AT)


def test_from_tier_two_up_no_network_is_what_the_partner_declares_and_never_all():
    row = msgspec.structs.replace(grant(), tier=2, principals=["service"])
    networks = next(column for column in columns_of(Grant) if column.name == "networks")
    assert cell(networks, row, AT) == "declared egress"
    lines = {line.split()[0]: line for line in detail_lines(row) if line.strip()}
    assert lines["networks"].endswith("declared egress")
    assert lines["principals"].endswith("service")


def test_the_amounts_of_a_budget_add_up_as_they_are_shown():
    assert purse(50_000, 46_700, 0) == ("0.0500", "0.0467", "0.0000", "0.0033")
    assert purse(250_000_000, 0, 0) == ("250.00", "0.00", "0.00", "250.00")
    assert purse(10_000_000, 12_345_678, 0) == ("10.00", "12.35", "0.00", "-2.35")


@given(limit=st.integers(0, 10**12), spent=st.integers(0, 10**12), reserved=st.integers(0, 10**9))
def test_any_budget_adds_up_and_never_shows_more_left_than_there_is(limit, spent, reserved):
    shown = [Decimal(each.replace(",", "")) for each in purse(limit, spent, reserved)]
    assert shown[0] - shown[1] - shown[2] == shown[3]
    assert shown[0] == Decimal(limit) / 1_000_000
    assert shown[3] <= Decimal(limit - spent - reserved) / 1_000_000


def test_every_noun_that_is_listed_has_columns_that_its_rows_can_fill():
    from typing import get_args, get_origin

    from console.model.stored import Page
    from console.operations.index import all_operations

    for op in all_operations():
        if get_origin(op.result) is Page:
            row = get_args(op.result)[0]
            columns = columns_of(row)
            assert columns, row
            assert any(column.priority == 0 for column in columns)
            assert len({column.name for column in columns}) == len(columns)


def test_the_difference_names_each_member_that_changed():
    after = msgspec.structs.replace(grant(), state="revoked", networks=["203.0.113.0/24"])
    assert difference_lines(grant(), msgspec.to_builtins(after)) == [
        'networks: [] -> ["203.0.113.0/24"]',
        'state: "active" -> "revoked"',
    ]
    assert difference({"a": None}, {}) == [("a", "null", "(absent)")]


def test_members_that_only_one_side_spells_out_are_no_difference():
    told = msgspec.to_builtins(msgspec.structs.replace(grant(), updated_by="second"))
    short = {name: value for name, value in told.items() if name != "labels"}
    assert difference_lines(grant(), {**short, "newer": 1}) == [
        f'updated_by: "{grant().updated_by}" -> "second"'
    ]


def test_a_plan_says_what_is_missing_and_how_to_mend_it():
    plan = Plan(
        title="Grant c to a\u202ecme",
        sections=[Section("What it does", ["opens c"])],
        gaps=[Gap(code="terms_not_accepted", message="no terms", mend="pilotctl terms accept …")],
        partners=1,
        irreversible="Never.",
    )
    assert plan_lines(plan) == [
        "Grant c to a\\u{202e}cme",
        "What it does:",
        "  opens c",
        "Missing:",
        "  no terms (terms_not_accepted)",
        "    mend: pilotctl terms accept …",
        "Reaches 1 partner.",
        "Cannot be undone: Never.",
    ]


def receipt(**more):
    plain = {
        "id": "rcp_1", "action": "grant.revoke", "kind": "grant", "target": "grt_1",
        "reason": "over", "by": "root", "requested_at": AT, "recorded_at": AT, "sequence": 7,
        "credentials": 2, "points": [], "prober": "control", "event_id": "evt_1",
        "state": "verifying",
    }  # fmt: skip
    return Receipt(**{**plain, **more})


def test_a_receipt_says_verified_and_logged_only_for_what_was_proven():
    refused = PointProof(point="gw-1", state="refused", method="probe", at=AT, sequence=7,
                         codes=["grant_revoked"], probes=2)  # fmt: skip
    log = LogProof(index=4, tree_size=9, leaf="", hashes=[], checkpoint="")
    started = receipt(points=[PointProof(point="gw-1", state="waiting")])
    assert standing(started) == (
        False,
        "verifying, not logged",
        "not proven at gw-1; the event is not proven to be in the log",
    )
    verified = receipt(state="verified", points=[refused], enforced_at=AT)
    assert not standing(verified).proven
    whole = msgspec.structs.replace(verified, log=log, logged_at=AT + timedelta(seconds=2))
    assert standing(whole) == (True, "verified, logged", "")
    for step in (started, verified):
        assert "  logged     not yet proven" in receipt_lines(step)
    text = "\n".join(receipt_lines(whole))
    assert "gw-1  refused  2 probes  grant_revoked  +0.000 s" in text
    assert "leaf 4 of 9" in text


def test_when_it_was_logged_is_said_by_who_waited_for_it_and_by_nobody_later():
    log = LogProof(index=4, tree_size=9, leaf="", hashes=[], checkpoint="")
    later = receipt(log=log, logged_at=AT + timedelta(minutes=5))
    (line,) = (each for each in receipt_lines(later) if each.startswith("  logged"))
    assert line == "  logged     leaf 4 of 9, inclusion checked here"
    waited = msgspec.structs.replace(later, logged_at=AT + timedelta(seconds=2), watched=True)
    assert "  logged     +2.000 s  leaf 4 of 9, inclusion checked here" in receipt_lines(waited)


def test_a_burst_is_not_smoothed_out_of_a_sparkline():
    assert sparkline([0, 0, 9, 0, 0, 0], 3) == " █ "
    assert sparkline([1, 2, 4], 3, ascii_only=True) == "-+@"
    assert sparkline([], 5) == ""
