import base64
import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.model.audit import EventProof
from console.model.enforcement import LogProof
from console.operations import grant as grants
from console.operations import lock as locks
from console.operations import pilot as pilots
from console.operations.closing import LOG_SECONDS, believed, follow
from console.operations.outcome import outcome
from console.operations.receipt import OPERATIONS as RECEIPT_OPERATIONS
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import inclusion_proof, leaf_hashes, root_of
from console.trust.note import SignerKey
from tests.operations.replay import (
    AT,
    GRANT,
    a_lock,
    a_point,
    a_receipt,
    absent,
    play,
    unavailable,
)

SIGNER = SignerKey.generate("log.example/audit")
REVOKE = grants.revoke


def signed(size, root, signer=SIGNER):
    return sign_checkpoint(Checkpoint(signer.verifier.name, size, root), signer).decode()


def a_log(uid="evt_01J9ZK00000000000000000000", code="grant.revoke", size=7, index=4):
    """A log of `size` entries, of which `index` is the event, and the proof of it."""
    event = json.dumps({"metadata": {"event_code": code, "uid": uid}}).encode()
    entries = [b'{"n":%d}' % at for at in range(size)]
    entries[index] = event
    leaves = leaf_hashes(entries)
    path = inclusion_proof(
        index, size, lambda level, at: root_of(leaves[at << level : (at + 1) << level])
    )
    proof = LogProof(
        index=index,
        tree_size=size,
        leaf=base64.b64encode(event).decode(),
        hashes=[base64.b64encode(each).decode() for each in path],
        checkpoint=signed(size, root_of(leaves)),
    )
    return EventProof(event_id="evt_01J9ZK00000000000000000000", proof=proof)


VKEY = str(SIGNER.verifier)


def revoked(answers, **options):
    p = grants.RevokeGrant(grant=GRANT, reason="leaked")
    return play(REVOKE.run(p, None), answers, vkey=VKEY, **options)


def ending(result, **options):
    return outcome(REVOKE, result, **options)


def test_a_revoke_is_done_when_every_point_refused_and_the_event_is_in_the_log():
    waiting = a_receipt(
        state="verifying", enforced_at=None, points=[a_point(), a_point(point="gw-2", at=None)]
    )
    played = revoked(
        {
            "tombstone.create": waiting,
            "receipt.show": [waiting, a_receipt()],
            "log.proof": [absent(), a_log()],
        }
    )
    receipt = played.result
    assert receipt.state == "verified"
    assert receipt.log is not None
    assert receipt.logged_at == AT + timedelta(seconds=3), "when this console checked it"
    assert ending(receipt).exit is ExitCode.DONE
    assert played.calls[0].route.id == "tombstone.create", "close first"
    assert len(played.reports) >= 2, "the receipt grows while it is followed"
    body = played.call("tombstone.create").body
    assert (body.kind, body.id, body.reason) == ("grant", GRANT, "leaked")


def test_with_audit_down_a_verified_revoke_is_not_done_and_says_why():
    played = revoked({"tombstone.create": a_receipt(), "log.proof": unavailable("audit is down")})
    receipt = played.result
    assert receipt.state == "verified"
    assert receipt.log is None
    assert receipt.logged_at is None
    assert "audit is down" in receipt.why
    assert ending(receipt).exit is ExitCode.UNVERIFIED
    assert played.waited <= LOG_SECONDS + 1


def test_a_receipt_that_stays_unverified_is_not_done():
    played = revoked(
        {
            "tombstone.create": a_receipt(state="unverified", why="gw-2 did not refuse"),
            "log.proof": a_log(),
        }
    )
    assert played.result.log is not None
    end = ending(played.result)
    assert end.exit is ExitCode.UNVERIFIED
    assert "gw-2 did not refuse" in end.why


def test_at_the_deadline_what_is_known_is_returned_and_is_not_done():
    waiting = a_receipt(state="verifying", enforced_at=None)
    played = revoked({"tombstone.create": waiting, "receipt.show": waiting}, seconds=2)
    assert played.result.state == "verifying"
    assert "not verified in time" in played.result.why
    assert ending(played.result).exit is ExitCode.UNVERIFIED
    assert played.waited <= 2


def test_without_waiting_the_closing_is_sent_and_pending():
    waiting = a_receipt(state="verifying", enforced_at=None)
    played = revoked({"tombstone.create": waiting}, seconds=0)
    assert [call.route.id for call in played.calls] == ["tombstone.create"]
    assert ending(played.result, waited=False).exit is ExitCode.PENDING


def test_a_gateway_that_stops_answering_is_asked_again():
    waiting = a_receipt(state="verifying", enforced_at=None)
    played = revoked(
        {
            "tombstone.create": waiting,
            "receipt.show": [unavailable(), unavailable(), a_receipt()],
            "log.proof": a_log(),
        }
    )
    assert ending(played.result).exit is ExitCode.DONE


def test_another_receipt_than_the_one_asked_for_is_never_taken():
    waiting = a_receipt(state="verifying", enforced_at=None)
    other = a_receipt(target="grt_01J9ZK0000000000000000000X")
    played = revoked({"tombstone.create": waiting, "receipt.show": other, "log.proof": a_log()})
    assert played.result.state == "unverified"
    assert ending(played.result).exit is ExitCode.UNVERIFIED


def test_what_the_gateway_says_of_the_log_is_not_believed():
    claimed = a_receipt(log=a_log().proof, logged_at=AT)
    played = revoked({"tombstone.create": claimed, "log.proof": unavailable()})
    assert played.result.log is None
    assert ending(played.result).exit is ExitCode.UNVERIFIED


@pytest.mark.parametrize(
    "change",
    [
        {"state": "waiting"},
        {"state": "unproven"},
        {"state": "anything"},
        {"method": ""},
        {"method": "lease"},
        {"at": None},
        {"sequence": 39},
        {"codes": []},
        {"probes": 0},
        {"state": "lapsed"},
        {"state": "lapsed", "method": "lease", "at": None},
    ],
    ids=str,
)
def test_verified_without_each_points_proof_is_not_verified(change):
    receipt = a_receipt(points=[a_point(), a_point(point="gw-2", **change)])
    waiting = a_receipt(state="verifying", enforced_at=None)
    for first in (receipt, waiting):
        played = revoked({"tombstone.create": first, "receipt.show": receipt, "log.proof": a_log()})
        assert played.result.state == "unverified"
        assert "gw-2" in played.result.why
        assert ending(played.result).exit is ExitCode.UNVERIFIED


def test_a_lapsed_lease_and_a_key_less_grant_are_proof_enough():
    lapsed = a_point(state="lapsed", method="lease", codes=[], probes=0, sequence=3)
    assert believed(a_receipt(points=[lapsed])).state == "verified"
    keyless = a_point(codes=[], probes=0)
    assert believed(a_receipt(points=[keyless], credentials=0)).state == "verified"


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_a_tampered_proof_is_never_logged(data):
    good = a_log()
    raw = msgspec.to_builtins(good.proof)
    member = data.draw(st.sampled_from(sorted(raw)))
    value = raw[member]
    if isinstance(value, int):
        raw[member] = data.draw(st.integers(-1, 20).filter(lambda each: each != value))
    elif isinstance(value, str):
        raw[member] = data.draw(_damaged_text(value))
    else:
        at = data.draw(st.integers(0, len(value) - 1))
        kind = data.draw(st.sampled_from(["alter", "drop", "add", "swap"]))
        changed = list(value)
        if kind == "alter":
            changed[at] = data.draw(_damaged_text(value[at]))
        elif kind == "drop":
            del changed[at]
        elif kind == "add":
            changed.insert(at, value[at])
        else:
            changed[at], changed[at - 1] = changed[at - 1], changed[at]
        raw[member] = changed
    proof = msgspec.convert(raw, LogProof)
    if _same_bytes(proof, good.proof):
        return
    answer = EventProof(event_id=good.event_id, proof=proof)
    played = revoked({"tombstone.create": a_receipt(), "log.proof": answer})
    assert played.result.log is None
    assert played.result.logged_at is None
    assert "not proven to be in the log" in played.result.why
    assert ending(played.result).exit is ExitCode.UNVERIFIED


def _damaged_text(text):
    def put(place):
        at, char = place
        return text[:at] + char + text[at + 1 :]

    places = st.tuples(st.integers(0, len(text) - 1), st.sampled_from("AZaz09+/=\n —"))
    return places.map(put).filter(lambda each: each != text)


def _same_bytes(one, other):
    """Base64 has bits that mean nothing: another spelling of the same bytes is no damage."""

    def decoded(proof):
        try:
            texts = [proof.leaf, *proof.hashes]
            return [base64.b64decode(each, validate=True) for each in texts]
        except ValueError:
            return None

    plain = (one.index, one.tree_size, one.checkpoint) == (
        other.index,
        other.tree_size,
        other.checkpoint,
    )
    return plain and decoded(one) == decoded(other)


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(a_log(uid="evt_01J9ZK0000000000000000000X"), id="another event"),
        pytest.param(a_log(code="grant.create"), id="another action"),
        pytest.param(
            msgspec.structs.replace(a_log(), event_id="evt_01J9ZK0000000000000000000X"),
            id="an answer about another",
        ),
        pytest.param(
            msgspec.structs.replace(
                a_log(),
                proof=msgspec.structs.replace(
                    a_log().proof,
                    checkpoint=signed(7, b"\0" * 32),
                ),
            ),
            id="another root, well signed",
        ),
        pytest.param(
            msgspec.structs.replace(
                a_log(),
                proof=msgspec.structs.replace(
                    a_log().proof,
                    checkpoint=signed(7, b"\0" * 32, SignerKey.generate(SIGNER.verifier.name)),
                ),
            ),
            id="another key of the same name",
        ),
    ],
)
def test_the_proof_of_something_else_is_not_the_proof_of_this(proof):
    played = revoked({"tombstone.create": a_receipt(), "log.proof": proof})
    assert played.result.log is None
    assert ending(played.result).exit is ExitCode.UNVERIFIED


@given(
    states=st.lists(
        st.sampled_from(["waiting", "refused", "lapsed", "unproven", "later"]), max_size=4
    ),
    state=st.sampled_from(["verifying", "verified", "unverified", "else"]),
    enforced=st.booleans(),
    log=st.sampled_from([a_log(), unavailable(), absent(), a_log(code="key.revoke")]),
)
@settings(max_examples=200)
def test_partial_is_never_success(states, state, enforced, log):
    points = [
        a_point(point=f"gw-{at}", state=each, method={"lapsed": "lease"}.get(each, "probe"))
        for at, each in enumerate(states)
    ]
    receipt = a_receipt(state=state, points=points, enforced_at=AT if enforced else None)
    played = play(
        follow(receipt), {"receipt.show": receipt, "log.proof": log}, vkey=VKEY, seconds=3
    )
    proven = all(each in {"refused", "lapsed"} for each in states)
    whole = state == "verified" and proven and enforced and log == a_log_of(log)
    assert (ending(played.result).exit is ExitCode.DONE) == whole


def a_log_of(answer):
    """Return the answer itself if it proves the revoke."""
    if not isinstance(answer, EventProof):
        return None
    leaf = json.loads(base64.b64decode(answer.proof.leaf))
    return answer if leaf["metadata"]["event_code"] == "grant.revoke" else None


def test_a_lock_is_followed_as_a_revoke_is():
    lock = a_lock()
    receipt = a_receipt(action="lock.add", kind="lock", target=lock.id)
    p = locks.AddLock(kind="partner", target="acme", reason="an incident")
    played = play(
        locks.add.run(p, None),
        {"lock.add": lock, "receipt.show": receipt, "log.proof": a_log(code="lock.add")},
        vkey=VKEY,
    )
    assert played.result.lock_id == lock.id
    assert outcome(locks.add, played.result).exit is ExitCode.DONE


def test_a_lock_whose_receipt_cannot_be_had_was_still_added():
    p = locks.AddLock(kind="partner", target="acme", reason="an incident")
    with pytest.raises(Exception, match="was added") as caught:
        play(
            locks.add.run(p, None),
            {"lock.add": a_lock(), "receipt.show": absent()},
            vkey=VKEY,
        )
    assert caught.value.exit is ExitCode.UNVERIFIED


def test_a_receipt_shown_is_proven_anew_and_looking_is_done():
    show = RECEIPT_OPERATIONS[1]
    p = show.params(receipt=a_receipt().id)
    proven = play(show.run(p, None), {"receipt.show": a_receipt(), "log.proof": a_log()}, vkey=VKEY)
    assert proven.result.log is not None
    assert outcome(show, proven.result).exit is ExitCode.DONE
    alone = play(
        show.run(p, None),
        {"receipt.show": a_receipt(log=a_log().proof, logged_at=AT), "log.proof": unavailable()},
        vkey=VKEY,
    )
    assert alone.result.log is None
    assert "not proven" in alone.result.why


def closing(gateway, policy):
    flow = pilots.close.run(pilots.ClosePilotParams(pilot="borealis", reason="over"), None)
    answers = {
        "pilot.close": gateway, "pilot.show": policy, "receipt.show": a_receipt(kind="pilot"),
        "log.proof": a_log(code="pilot.close"),
    }  # fmt: skip
    return play(flow, answers, vkey=VKEY)


def test_a_pilot_is_closed_though_the_gateway_hears_of_it_a_moment_after_policy():
    receipt = a_receipt(kind="pilot", action="pilot.close")
    played = closing([absent(), absent(), receipt], {"slug": "borealis"})
    assert played.result.state == "verified"
    assert 0 < played.waited < 5


@pytest.mark.parametrize("policy", [absent(), unavailable()])
def test_a_pilot_that_policy_does_not_vouch_for_is_not_waited_for(policy):
    with pytest.raises(PilotError) as caught:
        closing(absent(), policy)
    assert caught.value.exit is ExitCode.NOT_FOUND


def test_a_pilot_that_the_gateway_never_hears_of_is_said_to_be_unknown_there():
    with pytest.raises(PilotError) as caught:
        closing(absent("the gateway knows no pilot"), {"slug": "borealis"})
    assert "the gateway knows no pilot" in str(caught.value)
