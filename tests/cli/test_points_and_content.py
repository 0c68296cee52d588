"""Points taken out of service, one user locked, and content read and redacted, as commands."""

import pytest
from pilot_rig import AT, receipt, stored

CALL = "req_01J9ZK00000000000000000000"
PRINCIPAL = "prn_01J9ZK00000000000000000000"
POINTS = [
    {"name": name, "url": "http://127.0.0.1:1", "state": state, "applied_sequence": 7,
     "lease_until": AT, "last_seen_at": AT, "in_flight": running}
    for name, state, running in (("gw-1", "serving", 3), ("gw-2", "fenced", 0))
]  # fmt: skip


@pytest.fixture
def api(rig):
    rig.api.on("GET /v1/points", {"as_of": AT, "source": "gateway", "items": POINTS})
    record = {
        "id": CALL, "point": "gw-1", "sequence": 1, "started_at": AT, "outcome": "allowed",
        "status": 200, "partner": "acme", "content": "sealed",
    }  # fmt: skip
    rig.api.on(f"GET /v1/calls/{CALL}", record)
    return rig.api


def test_a_point_that_serves_wants_its_name_and_its_flag(rig, api):
    words = ["point", "deregister", "gw-1", "--reason", "moving"]
    plan = rig(*words, "--dry-run").out
    assert "3 calls in flight" in plan
    assert "--serving" in plan
    ended = rig(*words, "--serving", "--yes")
    assert ended.exit == 10
    assert "--confirm gw-1" in ended.err
    made = receipt(action="point.deregister", kind="point", target="gw-1", partner="")
    api.on("POST /v1/points/gw-1/deregistration", made, status=201)
    ended = rig(*words, "--serving", "--confirm", "gw-1", "--timeout", "1s")
    assert ended.exit == 9
    assert "gateway change 7\n" in ended.out, "a point has no keys that end"
    assert api.writes()[-1].body == {"serving": True, "reason": "moving"}
    assert rig("point", "deregister", "gw-2", "--reason", "x", "--dry-run").exit == 0
    ended = rig("point", "deregister", "gw-9", "--reason", "x", "--yes")
    assert ended.exit == 3
    assert "there are gw-1, gw-2" in ended.err


def test_admitting_a_point_opens_and_taking_it_out_closes(rig, api):
    api.on("POST /v1/points/gw-2/admission", POINTS[1])
    admit = ["point", "admit", "gw-2", "--reason", "mended", "--yes"]
    assert rig(*admit, "--read-only").exit == 5
    assert rig(*admit).exit == 0
    made = receipt(action="point.deregister", kind="point", target="gw-2", partner="")
    api.on("POST /v1/points/gw-2/deregistration", made, status=201)
    words = ["point", "deregister", "gw-2", "--reason", "x", "--yes", "--timeout", "1s"]
    assert rig(*words, "--read-only").exit == 9


def test_a_lock_on_one_user_says_that_others_go_on(rig, api):
    blast = {"partners": ["acme"], "grants": [], "credentials": 2, "streams": 1}
    api.on("POST /v1/locks:blast", blast)
    out = rig("lock", "add", "principal", PRINCIPAL, "--reason", "misuse", "--dry-run").out
    assert "its calls with 2 keys of acme; other users of the same keys go on" in out
    assert "1 stream of it in flight" in out
    lock = stored(
        "lck_01J9ZK00000000000000000000", kind="principal", target=PRINCIPAL, reason="misuse",
        message="", state="active", receipt_id="rcp_01J9ZK00000000000000000000",
    )  # fmt: skip
    api.on("POST /v1/locks", lock, status=201)
    made = receipt(action="lock.add", kind="principal", target=PRINCIPAL)
    api.on("GET /v1/receipts/rcp_01J9ZK00000000000000000000", made)
    words = ["lock", "add", "principal", PRINCIPAL, "--reason", "misuse", "--yes"]
    assert "gateway change 7, its calls with 1 key\n" in rig(*words, "--timeout", "1s").out


def test_reading_content_is_confirmed_and_redacting_it_wants_the_call_typed(rig, api):
    kept = {
        "call": CALL, "pilot": "aurora", "partner": "acme", "state": "kept", "stored_at": AT,
        "expires_at": AT, "request": '{"input":"\u001b[31mred"}', "answer": "data: {}\n\ndata: x",
    }  # fmt: skip
    api.on(f"POST /v1/calls/{CALL}/content", kept)
    read = ["call", "content", CALL, "--reason", "complaint 7"]
    assert rig(*read).exit == 10
    shown = rig(*read, "--yes")
    assert shown.exit == 0
    assert "\x1b" not in shown.out
    assert "data: x" in shown.out
    assert api.writes()[-1].body == {"reason": "complaint 7"}
    api.on(f"POST /v1/calls/{CALL}/redaction", {**kept, "state": "redacted", "request": None})
    redact = ["call", "redact", CALL, "--reason", "a name"]
    ended = rig(*redact, "--yes")
    assert ended.exit == 10
    assert f"--confirm {CALL}" in ended.err
    assert "cannot be had again" in rig(*redact, "--dry-run").out
    assert rig(*redact, "--confirm", CALL).exit == 0
