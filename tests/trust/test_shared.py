"""A big log is verified on several processors, and what is found is the same."""

import multiprocessing

import pytest

from console.trust import parallel_hashing
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.kept_checkpoints import folder_history
from console.trust.note import SignerKey
from console.trust.scan import GIVE_UP
from console.trust.tiles import folder_reader
from console.trust.verify import verify_folder, verify_log
from console.trust.writer import TileWriter
from tests.trust.spec_log import numbered

ORIGIN = "log.example/audit"
SIGNER = SignerKey.generate(ORIGIN)
KEY = SIGNER.verifier
SIZE = 30 * 256 + 100


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A log of 30 bundles and a piece, of which two workers get two at a time."""
    monkeypatch.setattr(parallel_hashing, "WORTH_SHARING", 1000)
    monkeypatch.setattr(parallel_hashing, "RANGE", 2)
    monkeypatch.setattr(parallel_hashing, "usable_processors", lambda: 2)
    writer = TileWriter(tmp_path, durable=False)
    for at in range(0, SIZE, 1500):
        writer.append(numbered(min(1500, SIZE - at), at))
        writer.publish(sign_checkpoint(Checkpoint(ORIGIN, writer.size, writer.root), SIGNER))
    yield tmp_path
    assert not multiprocessing.active_children()


def alone(folder):
    """What is found without any workers."""
    found = verify_log(folder_reader(folder), KEY, history=folder_history(folder))
    return found._replace(left_out=())  # it cannot list what earlier heads left behind


def test_a_sound_log_is_found_sound_with_its_progress_told(folder):
    seen = []
    report = verify_folder(folder, KEY, progress=lambda done, _: seen.append(done))
    assert report.ok
    assert report == alone(folder)
    assert seen == [*range(256, SIZE, 256), SIZE]


def test_most_bundles_are_read_by_the_workers(folder):
    roots = list(parallel_hashing.bundle_roots(folder, SIZE))
    assert roots == [parallel_hashing.sound_root(folder, number) for number in range(30)]
    assert None not in roots


def test_what_is_wrong_is_named_as_without_workers(folder):
    def change(path, made):
        file = folder / path
        file.write_bytes(made(file.read_bytes()))

    change("tile/entries/003", lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    change("tile/entries/005", lambda raw: raw[:-5])
    change("tile/entries/007", lambda raw: raw + b"more")
    change("tile/0/009", lambda raw: b"x" * 32 + raw[32:])
    change("tile/0/011", lambda raw: raw[:-1])
    change("tile/entries/029", lambda _: b"\xff" * 300)
    (folder / "tile/entries/013").unlink()
    (folder / "tile/0/015").unlink()
    for number in (20, 21, 22):
        (folder / f"tile/entries/{number:03}").unlink()
        (folder / f"tile/0/{number:03}").unlink()
    report = verify_folder(folder, KEY)._replace(left_out=())
    assert len(report.damage) >= 9
    assert report == alone(folder)


def test_entries_rewritten_with_their_tiles_are_found(folder):
    other = TileWriter(folder, durable=False)
    other.append([b"another history"] * SIZE)
    report = verify_folder(folder, KEY)._replace(left_out=())
    assert not report.ok
    assert report == alone(folder)


def test_a_head_that_claims_a_number_beyond_all_bounds_is_answered_at_once(folder):
    head = Checkpoint(ORIGIN, 1 << 60, b"r" * 32)
    (folder / "checkpoint").write_bytes(sign_checkpoint(head, SIGNER))
    scanned = []

    def count(done, _):
        scanned.append(done)
        assert len(scanned) <= 30 + 1 + GIVE_UP, "it goes on beyond what is there"

    report = verify_folder(folder, KEY, progress=count)._replace(left_out=())
    assert report == alone(folder)


def test_workers_that_die_cost_time_and_nothing_else(folder):
    def kill(done, _):
        if done == 1024:
            for worker in multiprocessing.active_children():
                worker.kill()

    assert verify_folder(folder, KEY, progress=kill) == alone(folder)


def test_no_worker_outlives_a_verification_that_is_broken_off(folder):
    def interrupt(done, _):
        if done == 1024:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_folder(folder, KEY, progress=interrupt)


@pytest.mark.parametrize(("size", "processors"), [(999, 2), (SIZE, 1)])
def test_a_small_log_or_a_single_processor_starts_no_worker(folder, monkeypatch, size, processors):
    monkeypatch.setattr(parallel_hashing, "usable_processors", lambda: processors)
    assert list(parallel_hashing.bundle_roots(folder, size)) == []
