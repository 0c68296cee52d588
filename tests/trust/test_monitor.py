import json
import multiprocessing
import resource
import stat

import pytest

from console.errors import ExitCode, PilotError
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import EMPTY_ROOT, consistency_proof, leaf_hashes, root_of
from console.trust.note import SignerKey
from console.trust.pins import Monitor
from tests.trust.spec_log import numbered

ORIGIN = "log.example/audit"
LEAVES = leaf_hashes(numbered(64))


@pytest.fixture(scope="module")
def signer():
    return SignerKey.generate(ORIGIN)


@pytest.fixture
def monitor(tmp_path):
    return Monitor(tmp_path / "state", clock=lambda: 1_790_000_000.5)


def note_of(signer, size, root=None):
    head = Checkpoint(ORIGIN, size, root or root_of(LEAVES[:size]))
    return sign_checkpoint(head, signer)


def growth(old, new):
    return consistency_proof(
        old, new, lambda level, at: root_of(LEAVES[at << level : (at + 1) << level])
    )


def test_first_contact_pins_and_growth_moves_the_pin(monitor, signer):
    assert monitor.pinned(ORIGIN) is None
    first = monitor.accept(note_of(signer, 5), signer.verifier)
    assert (first.size, first.accepted_at) == (5, 1_790_000_000)
    assert first.note == note_of(signer, 5)
    assert first.fingerprint == signer.verifier.fingerprint
    monitor.accept(note_of(signer, 5), signer.verifier)
    monitor.accept(note_of(signer, 40), signer.verifier, growth(5, 40), since=5)
    pin = monitor.pinned(ORIGIN)
    assert pin is not None
    assert pin.checkpoint == Checkpoint(ORIGIN, 40, root_of(LEAVES[:40]))
    assert monitor.evidence(ORIGIN) == []


def test_growth_from_the_empty_log_needs_no_proof(monitor, signer):
    monitor.accept(note_of(signer, 0, EMPTY_ROOT), signer.verifier)
    assert monitor.accept(note_of(signer, 5), signer.verifier).size == 5


@pytest.mark.parametrize(
    ("size", "root", "code"),
    [
        (9, None, "log-rollback"),
        (10, b"r" * 32, "log-split-view"),
        (20, b"r" * 32, "log-inconsistent"),
    ],
    ids=["a rollback is refused", "a split view is refused", "unproven growth is refused"],
)
def test_and_both_notes_are_kept(monitor, signer, size, root, code):
    pinned, offered = note_of(signer, 10), note_of(signer, size, root)
    monitor.accept(pinned, signer.verifier)
    proof = growth(10, 20) if size > 10 else []
    for _ in range(2):
        with pytest.raises(PilotError) as caught:
            monitor.accept(offered, signer.verifier, proof)
        assert (caught.value.code, caught.value.exit) == (code, ExitCode.LOG_FAILED)
    kept = monitor.evidence(ORIGIN)
    assert sorted(caught.value.detail["evidence"]) == sorted(map(str, kept))
    assert {path.read_bytes() for path in kept} == {pinned, offered}
    assert len(kept) == 2
    pin = monitor.pinned(ORIGIN)
    assert pin is not None
    assert pin.note == pinned


def test_a_full_disk_does_not_hide_that_the_log_failed(monitor, signer):
    monitor.accept(note_of(signer, 40), signer.verifier)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(PilotError) as caught:
            monitor.accept(note_of(signer, 5), signer.verifier)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.code, caught.value.exit) == ("log-rollback", ExitCode.LOG_FAILED)
    assert "cannot be kept" in caught.value.hint
    notes = caught.value.detail["notes"]
    assert notes == [note_of(signer, 40).decode(), note_of(signer, 5).decode()]
    assert monitor.evidence(ORIGIN) == []
    with pytest.raises(PilotError):
        monitor.accept(note_of(signer, 5), signer.verifier)
    assert len(monitor.evidence(ORIGIN)) == 2


def test_growth_without_a_proof_is_refused(monitor, signer):
    monitor.accept(note_of(signer, 10), signer.verifier)
    with pytest.raises(PilotError) as caught:
        monitor.accept(note_of(signer, 20), signer.verifier)
    assert caught.value.code == "log-inconsistent"


def test_another_key_of_the_same_name_is_refused_even_if_it_is_given(monitor, signer):
    other = SignerKey.generate(ORIGIN)
    monitor.accept(note_of(signer, 10), signer.verifier)
    with pytest.raises(PilotError) as caught:
        monitor.accept(note_of(other, 10), other.verifier)
    assert caught.value.code == "log-key-changed"
    with pytest.raises(PilotError) as caught:
        monitor.accept(note_of(other, 10), signer.verifier)
    assert caught.value.code == "log-key-unknown"


def test_the_pin_and_the_evidence_are_private_files(monitor, signer, tmp_path):
    monitor.accept(note_of(signer, 10), signer.verifier)
    with pytest.raises(PilotError):
        monitor.accept(note_of(signer, 9), signer.verifier)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"origin": "log.example/audit"}'])
def test_a_pin_that_cannot_be_read_is_not_forgotten(monitor, signer, tmp_path, raw):
    monitor.accept(note_of(signer, 10), signer.verifier)
    next(tmp_path.rglob("pin.json")).write_bytes(raw)
    with pytest.raises(PilotError) as caught:
        monitor.accept(note_of(signer, 9), signer.verifier)
    assert (caught.value.code, caught.value.exit) == ("log-pin-damaged", ExitCode.LOG_FAILED)


def test_origins_that_look_alike_have_pins_of_their_own(monitor):
    for origin in ("a/b", "a-b", "A/B", "../../etc", "日本"):
        signer = SignerKey.generate(origin)
        head = Checkpoint(origin, 5, root_of(LEAVES[:5]))
        monitor.accept(sign_checkpoint(head, signer), signer.verifier)
        pin = monitor.pinned(origin)
        assert pin is not None
        assert pin.origin == origin


def test_a_pin_that_another_process_moved_is_not_taken_for_a_rollback(monitor, signer):
    monitor.accept(note_of(signer, 10), signer.verifier)
    monitor.accept(note_of(signer, 30), signer.verifier, growth(10, 30))
    with pytest.raises(PilotError) as caught:
        monitor.accept(note_of(signer, 20), signer.verifier, growth(10, 20), since=10)
    assert (caught.value.code, caught.value.exit) == ("log-pin-moved", ExitCode.UNAVAILABLE)
    assert monitor.evidence(ORIGIN) == []


def follow(folder, secret, start):
    """Another console: follow the log upwards, starting over whenever the pin was moved."""
    signer, monitor = SignerKey.parse(secret), Monitor(folder)
    for size in range(start, 61, 3):
        while (pin := monitor.pinned(ORIGIN)) is None or pin.size < size:
            old = pin.size if pin else 0
            proof = growth(old, size) if old else []
            try:
                monitor.accept(note_of(signer, size), signer.verifier, proof, since=old)
            except PilotError as error:
                if error.code != "log-pin-moved":
                    raise


def test_two_processes_share_a_pin_without_losing_growth(monitor, signer, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    followers = [
        spawn.Process(target=follow, args=(tmp_path / "state", signer.secret_text(), start))
        for start in (1, 2, 3)
    ]
    for each in followers:
        each.start()
    for each in followers:
        each.join(30)
    assert [each.exitcode for each in followers] == [0, 0, 0]
    pin = monitor.pinned(ORIGIN)
    assert pin is not None
    assert pin.size == 60
    assert monitor.evidence(ORIGIN) == []
    for each in followers:
        each.close()


def test_the_pin_file_holds_the_note_verbatim_for_other_tools(monitor, signer, tmp_path):
    monitor.accept(note_of(signer, 10), signer.verifier)
    held = json.loads(next(tmp_path.rglob("pin.json")).read_text())
    assert held["note"].encode() == note_of(signer, 10)
    assert held["key"] == str(signer.verifier)
