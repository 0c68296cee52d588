"""What the services say to each other: read as it was written, and refused where it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from console.model.traffic import CallRecord
from console.services.wire.call_feed import CallFeed, CallRow
from console.services.wire.projections import Closing, Closings, Projection
from tests.services.audit.audit_rig import call

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLOSING: dict[str, Any] = {
    "seq": 1, "kind": "grant", "id": "grt_a", "reason": "leak", "by": "oncall", "at": AT,
    "event_id": "evt_1",
}  # fmt: skip


def test_audit_reads_the_call_records_that_control_tells_on_as_their_points_wrote_them() -> None:
    made = call(partner="acme")
    row = CallRow(seq=1, call=msgspec.Raw(msgspec.json.encode(made)))
    told = msgspec.json.encode(CallFeed(items=[row], head=1, events=7))
    read = msgspec.json.decode(told, type=CallFeed[CallRecord])
    assert read == CallFeed(items=[CallRow(seq=1, call=made)], head=1, events=7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": -1},
        {"head": 2**53 + 1},
        {"events": -1},
        {"events": 2**53 + 1},
        {"items": [{"seq": 0, "call": call()}]},
        {"items": [{"seq": 2**53 + 1, "call": call()}]},
        {"items": [{"seq": 1, "call": {}}]},
    ],
)
def test_audit_reads_no_feed_whose_numbers_or_records_cannot_be(wrong: dict[str, Any]) -> None:
    told = {"items": [{"seq": 1, "call": call()}], "head": 1, "events": 1}
    msgspec.json.decode(msgspec.json.encode(told), type=CallFeed[CallRecord])
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(told | wrong), type=CallFeed[CallRecord])


@pytest.mark.parametrize("lacking", sorted(CLOSING))
def test_policy_reads_no_closing_that_lacks_what_control_tells_of_each(lacking: str) -> None:
    whole = {"items": [CLOSING], "head": 1}
    read = msgspec.json.decode(msgspec.json.encode(whole), type=Closings)
    assert read.items == [Closing(**CLOSING)]
    less = {"items": [{k: v for k, v in CLOSING.items() if k != lacking}], "head": 1}
    with pytest.raises(msgspec.ValidationError, match=lacking):
        msgspec.json.decode(msgspec.json.encode(less), type=Closings)


@pytest.mark.parametrize("lacking", ["from", "items", "as_of"])
def test_control_reads_no_projection_that_lacks_its_place_or_its_time(
    lacking: str,
) -> None:
    whole = {"from": 4, "items": [], "as_of": "2026-03-01T12:00:00Z"}
    read = msgspec.json.decode(msgspec.json.encode(whole), type=Projection)
    assert msgspec.json.decode(msgspec.json.encode(read)) == {
        **whole,
        "as_of": "2026-03-01T12:00:00Z",
    }
    del whole[lacking]
    with pytest.raises(msgspec.ValidationError, match=lacking):
        msgspec.json.decode(msgspec.json.encode(whole), type=Projection)
