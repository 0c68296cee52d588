import shutil

import pytest

from console.errors import ExitCode, PilotError
from console.model.audit import EventProof, LogFinding, LogHead, StoreComparison
from console.model.policy import Answer, Bundle
from console.operations.index import find
from console.operations.outcome import outcome
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.note import SignerKey
from console.trust.writer import TileWriter
from tests.operations.replay import AT, absent, play, unavailable
from tests.operations.test_closing import VKEY, a_log

VERIFY = find("audit.verify")
PROOF = find("audit.proof")


@pytest.fixture(scope="module")
def signer():
    return SignerKey.generate("log.example/audit")


@pytest.fixture
def folder(tmp_path, signer):
    """A log of 600 entries that was published at 300 and at 600."""
    writer = TileWriter(tmp_path / "log", durable=False)
    for start in (0, 300):
        writer.append([b'{"n":%d}' % at for at in range(start, start + 300)])
        head = Checkpoint("log.example/audit", writer.size, writer.root)
        writer.publish(sign_checkpoint(head, signer))
    return tmp_path / "log"


def over_api(folder, vkey, compared=StoreComparison(tree_size=600, next=600), **given):  # noqa: B008 - frozen
    note = (folder / "checkpoint").read_text()
    head = LogHead(
        origin="log.example/audit", key=vkey, tree_size=600, checkpoint=note, checkpointed_at=AT
    )

    def file(call):
        try:
            return (folder / call.path["file"]).read_bytes()
        except FileNotFoundError:
            return absent()

    return play(
        VERIFY.run(VERIFY.params(**given), None),
        {"log.head": head, "log.tile": file, "log.compare": compared},
        vkey=vkey,
    )


def test_a_whole_log_verifies_in_a_folder_and_over_the_api(folder, signer):
    vkey = str(signer.verifier)
    here = play(VERIFY.run(VERIFY.params(log=str(folder), vkey=vkey), None), {}).result
    there = over_api(folder, vkey)
    for check in (here, there.result):
        assert check.good
        assert (check.tree_size, check.entries, check.findings) == (600, 600, [])
        assert outcome(VERIFY, check).exit is ExitCode.DONE
    assert here.root == there.result.root
    assert there.reports, "reading a long log is shown"


@pytest.mark.parametrize("how", ["folder", "api"])
def test_an_altered_entry_is_found_and_is_exit_11(folder, signer, how):
    bundle = folder / "tile/entries/001"
    raw = bytearray(bundle.read_bytes())
    raw[10] ^= 1
    bundle.write_bytes(raw)
    vkey = str(signer.verifier)
    given = {"log": str(folder), "vkey": vkey}
    check = (
        play(VERIFY.run(VERIFY.params(**given), None), {}).result
        if how == "folder"
        else over_api(folder, vkey).result
    )
    assert not check.good
    assert check.findings
    assert any("257" in each.where or "256" in each.where for each in check.findings)
    assert outcome(VERIFY, check).exit is ExitCode.LOG_FAILED


def test_a_missing_tile_over_the_api_is_named(folder, signer):
    shutil.rmtree(folder / "tile/0")
    check = over_api(folder, str(signer.verifier)).result
    assert not check.good
    assert any(each.where.startswith("tile/0") for each in check.findings)


def test_a_log_signed_by_another_key_is_not_ours(folder):
    other = SignerKey.generate("log.example/audit")
    check = over_api(folder, str(other.verifier)).result
    assert not check.good
    assert outcome(VERIFY, check).exit is ExitCode.LOG_FAILED


def test_an_api_that_does_not_answer_is_unavailable_and_not_a_damaged_log(folder, signer):
    note = (folder / "checkpoint").read_text()
    vkey = str(signer.verifier)
    head = LogHead(origin="o", key=vkey, tree_size=600, checkpoint=note, checkpointed_at=AT)
    with pytest.raises(PilotError) as caught:
        play(
            VERIFY.run(VERIFY.params(), None),
            {"log.head": head, "log.tile": unavailable()},
            vkey=vkey,
        )
    assert caught.value.exit is ExitCode.UNAVAILABLE


def test_a_log_that_rolled_back_behind_a_known_note_is_found(folder, signer):
    known = (folder / "checkpoint").read_text()
    (folder / "checkpoint").write_bytes((folder / "checkpoint.300").read_bytes())
    (folder / "checkpoint.600").unlink()
    p = VERIFY.params(log=str(folder), vkey=str(signer.verifier), known=known)
    check = play(VERIFY.run(p, None), {}).result
    assert [each.code for each in check.findings] == ["rollback"]


@pytest.mark.parametrize(
    ("given", "exit"),
    [
        ({"log": "/nowhere/at/all", "vkey": VKEY}, ExitCode.NOT_FOUND),
        ({"vkey": VKEY}, ExitCode.USAGE),
    ],
)
def test_a_log_that_cannot_be_meant_is_refused(given, exit):
    with pytest.raises(PilotError) as caught:
        play(VERIFY.run(VERIFY.params(**given), None), {}, vkey=VKEY)
    assert caught.value.exit is exit


def test_an_event_is_proven_or_the_log_has_failed():
    event = a_log().event_id
    good = play(PROOF.run(PROOF.params(event=event), None), {"log.proof": a_log()}, vkey=VKEY)
    assert isinstance(good.result, EventProof)
    other = SignerKey.generate("log.example/audit")
    for answer, key, asked in (
        (a_log(uid="evt_other"), VKEY, event),
        (a_log(), str(other.verifier), event),
        (a_log(), VKEY, "evt_else"),
    ):
        with pytest.raises(PilotError) as caught:
            play(PROOF.run(PROOF.params(event=asked), None), {"log.proof": answer}, vkey=key)
        assert caught.value.exit is ExitCode.LOG_FAILED


BUNDLE = Bundle(
    revision="ab12",
    policies='// why\n@id("one")\npermit (principal, action, resource);\n\n'
    '@id("two")\nforbid (principal, action, resource)\nwhen { context.x == ";" };\n',
    schema="{}",
    activated_at=AT,
)


def test_an_explained_decision_shows_the_policies_that_decided():
    explain = find("policy.explain")
    p = explain.params(
        subject="partner:acme", action="call", resource="grant:grt_1", context=["model=aurora-1"]
    )
    told = {"reasons": ["two"], "bundle_revision": "ab12", "error": {"message": "no model"}}
    answer = Answer(False, told)
    played = play(
        explain.run(p, None),
        {"authzen.evaluation": answer, "policy.bundle": BUNDLE},
    )
    assert played.result.policies == [
        '@id("two")\nforbid (principal, action, resource)\nwhen { context.x == ";" };'
    ]
    assert played.result.errors == ["no model"]
    question = played.call("authzen.evaluation").body
    assert (question.subject.type, question.subject.id) == ("partner", "acme")
    assert question.context == {"model": "aurora-1"}
    end = outcome(explain, played.result)
    assert (end.exit, end.negative) == (ExitCode.DONE, True), "a no is an answer"
    moved = Answer(False, {"reasons": ["two"], "bundle_revision": "older"})
    shown = play(
        explain.run(p, None),
        {"authzen.evaluation": moved, "policy.bundle": BUNDLE},
    ).result
    assert shown.policies == [], "another bundle's policies are not why"


@pytest.mark.parametrize("subject", ["acme", ":acme", "partner:", ""])
def test_a_question_about_nothing_is_refused_before_it_is_sent(subject):
    check = find("policy.check")
    with pytest.raises(PilotError) as caught:
        play(
            check.run(check.params(subject=subject, action="call", resource="grant:g"), None),
            {},
        )
    assert caught.value.exit is ExitCode.USAGE


def test_a_store_that_differs_from_the_log_is_found_part_by_part(folder, signer):
    finding = LogFinding(code="store-entry-missing", where="entry 450", message="lost")
    parts = [
        StoreComparison(tree_size=600, next=400),
        StoreComparison(tree_size=600, next=600, findings=[finding]),
    ]
    played = over_api(folder, str(signer.verifier), compared=parts)
    assert not played.result.good
    assert played.result.findings == [finding]
    assert outcome(VERIFY, played.result).exit is ExitCode.LOG_FAILED
    asked = [call.query["from"] for call in played.calls if call.route.id == "log.compare"]
    assert asked == ["0", "400"]
