"""The checkpoints that a folder keeps: few, well spread, and enough to see a rewriting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.damage import DamageKind
from console.trust.kept_checkpoints import RECENT, folder_history, kept_sizes, thin, worth_keeping
from console.trust.merkle import root_of_entries
from console.trust.note import SignerKey
from console.trust.verify import verify_folder
from console.trust.writer import TileWriter
from tests.trust.spec_log import numbered

ORIGIN = "log.example/audit"


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200))
def test_the_newest_stay_and_the_last_before_each_doubling(steps):
    published, kept = [], set()
    for step in steps:
        published.append((published[-1] if published else 0) + step)
        kept = worth_keeping({*kept, published[-1]})
    assert kept == worth_keeping(published), "thinning step by step loses nothing more"
    assert kept >= set(published[-RECENT:])
    for bits in range(1, published[-1].bit_length() + 1):
        before = [size for size in published if size < 1 << bits]
        assert not before or before[-1] in kept
    assert len(kept) <= RECENT + published[-1].bit_length()


@pytest.fixture
def busy(tmp_path):
    """A log that published a checkpoint with each of 300 batches."""
    signer = SignerKey.generate(ORIGIN)
    writer = TileWriter(tmp_path, durable=False)
    for at in range(300):
        writer.append(numbered(3, at * 3))
        writer.publish(sign_checkpoint(Checkpoint(ORIGIN, writer.size, writer.root), signer))
    return tmp_path, signer


def test_a_log_that_publishes_often_keeps_few_checkpoints_and_verifies(busy):
    folder, signer = busy
    newest = list(range(900, 900 - 3 * RECENT, -3))
    assert kept_sizes(folder) == sorted([3, 6, 15, 30, 63, 126, 255, 510, *newest])
    assert [name for name, _ in folder_history(folder)][:2] == ["checkpoint.3", "checkpoint.6"]
    assert verify_folder(folder, signer.verifier).damage == ()


def test_each_checkpoint_that_is_kept_shows_a_history_that_was_signed_anew(busy, tmp_path_factory):
    folder, signer = busy
    entries = numbered(900)
    entries[100] = b"it never happened"
    forged = tmp_path_factory.mktemp("forged")
    writer = TileWriter(forged, durable=False)
    writer.append(entries)
    writer.publish(sign_checkpoint(Checkpoint(ORIGIN, 900, root_of_entries(entries)), signer))
    for name, note in folder_history(folder):
        if name != "checkpoint.900":
            (forged / name).write_bytes(note)
    found = [(each.kind, each.where) for each in verify_folder(forged, signer.verifier).damage]
    later = [size for size in kept_sizes(folder) if 100 < size < 900]
    assert sorted(found) == sorted(
        (DamageKind.GROWTH_INCONSISTENT, f"checkpoint.{size}") for size in later
    )


def test_only_checkpoints_are_thinned_out_and_one_that_goes_meanwhile_is_no_error(tmp_path):
    for size in range(1, 101):
        (tmp_path / f"checkpoint.{size}").write_bytes(b"")
    others = ["checkpoint", "checkpoint.old", "checkpoint.007", "checkpoints.5"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    history = folder_history(tmp_path)
    assert next(history)[0] == "checkpoint.1"
    thin(tmp_path)
    left = [name for name, _ in history]
    assert left == [f"checkpoint.{size}" for size in [3, 7, 15, 31, 63, *range(85, 101)]]
    assert all((tmp_path / name).exists() for name in others)
