import os
import shutil
from contextlib import suppress
from itertools import accumulate, count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import (
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from console.trust.note import SignerKey
from console.trust.tiles import (
    Tile,
    TileReader,
    bundles_of,
    folder_reader,
    pack_entries,
    parse_tile_path,
    tiles_of,
    unpack_entries,
)
from console.trust.writer import TileWriter
from tests.trust.spec_log import SpecLog, numbered


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(None, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(0, 1000), "tile/0/x001/000"),
    ],
)
def test_a_tile_lies_where_the_specification_puts_it(tile, path):
    assert tile.path == path
    assert parse_tile_path(path) == tile


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 10**15), st.integers(1, 256))
def test_every_tile_path_reads_back(level, number, width):
    tile = Tile(level, number, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "checkpoint", "tile/0", "tile/0/", "tile/0/1", "tile/0/0000", "tile/00/000",
        "tile/64/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/",
        "tile/0/x000/001", "tile/0/001/002", "tile/0/x001", "tile/data/000", "tile/-1/000",
        "tile/0/../000", "/tile/0/000", "tile/0/٠٠٠", "0/000", "tile/entries/000/",
    ],
)  # fmt: skip
def test_any_other_spelling_of_a_path_is_refused(path):
    with pytest.raises(PilotError) as caught:
        parse_tile_path(path)
    assert caught.value.code == "log-path-malformed"


def test_a_tree_of_70_000_has_the_tiles_that_the_specification_lists():
    tiles = list(tiles_of(70_000))
    assert len([t for t in tiles if t.level == 0 and t.width == 256]) == 273
    assert [t for t in tiles if t.width < 256 or t.level] == [
        Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1),
    ]  # fmt: skip
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []
    assert list(bundles_of(700)) == [Tile(None, 0), Tile(None, 1), Tile(None, 2, 188)]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_round_trips_and_never_reads_when_cut(entries):
    raw = pack_entries(entries)
    assert unpack_entries(raw) == entries
    if raw:
        with pytest.raises(PilotError):
            unpack_entries(raw + b"\x00")
        with pytest.raises(PilotError):
            unpack_entries(raw + b"\x00\x05abc")


def test_the_longest_entry_fits_and_one_byte_more_is_refused_whole(tmp_path):
    longest = b"x" * 65_535
    assert unpack_entries(pack_entries([longest])) == [longest]
    writer = TileWriter(tmp_path, durable=False)
    with pytest.raises(PilotError, match="65536 bytes; a log takes 65535") as caught:
        writer.append([b"fine", longest + b"x"])
    assert caught.value.code == "log-entry-too-long"
    assert writer.size == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700, 65_536 + 300])
def test_what_the_writer_leaves_is_byte_for_byte_what_the_specification_builds(tmp_path, size):
    entries = numbered(size)
    ours, theirs = tmp_path / "ours", SpecLog(tmp_path / "theirs")
    theirs.grow(entries)
    writer = TileWriter(ours, durable=False)
    assert writer.append(entries) == range(size)
    assert writer.root == theirs.root()
    for tile in (*tiles_of(size), *bundles_of(size)):
        assert (ours / tile.path).read_bytes() == (theirs.folder / tile.path).read_bytes()
    shutil.rmtree(tmp_path)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.data())
def test_a_log_grown_in_batches_by_writers_that_restart_proves_everything(steps, data):
    entries = numbered(sum(steps))
    leaves = leaf_hashes(entries)
    with temporary() as folder:
        size = 0
        for step in steps:
            writer = TileWriter(folder, size, durable=False)
            writer.append(entries[size : size + step])
            size += step
            assert writer.state.to_bytes() == compact(leaves[:size]).to_bytes()
            old = data.draw(st.integers(1, size))
            at = data.draw(st.integers(0, size - 1))
            root = root_of(leaves[:size])
            growth = consistency_proof(old, size, writer.nodes)
            verify_consistency(old, size, growth, root_of(leaves[:old]), root)
            path = inclusion_proof(at, size, writer.nodes)
            verify_inclusion(leaf_hash(entries[at]), at, size, path, root)
        reader = TileReader(folder_reader(folder), size, cached=2)
        assert list(reader.entries(0, size + 5)) == entries
        start, end = data.draw(st.integers(0, size)), data.draw(st.integers(0, size))
        assert list(reader.entries(start, end)) == entries[start:end]
        assert reader.entry(size - 1) == entries[-1]
        for smaller in accumulate(steps):  # partial tiles may be gone: full ones stand in
            at_that_time = TileReader(folder_reader(folder), smaller)
            assert at_that_time.node(0, smaller - 1) == leaves[smaller - 1]
            assert at_that_time.entry(smaller - 1) == entries[smaller - 1]


def test_appending_again_after_a_crash_before_the_checkpoint_ends_in_the_same_log(tmp_path):
    entries = numbered(600)
    writer = TileWriter(tmp_path, durable=False)
    writer.append(entries[:250])
    TileWriter(tmp_path, 250, durable=False).append(entries[250:520])  # and is killed here
    again = TileWriter(tmp_path, 250, durable=False)
    again.append(entries[250:600])
    assert again.root == root_of(leaf_hashes(entries))
    assert list(TileReader(folder_reader(tmp_path), 600).entries(0, 600)) == entries


def test_a_disk_that_fails_at_any_write_of_a_batch_leaves_the_writer_as_it_was(
    tmp_path, monkeypatch
):
    writer = TileWriter(tmp_path)
    writer.append(numbered(300))
    before = (writer.size, writer.root)
    real = os.fsync
    for healthy in count():
        calls = iter(range(healthy))

        def failing(handle, calls=calls):
            if next(calls, None) is None:
                raise OSError(28, "No space left on device")
            real(handle)

        with monkeypatch.context() as patched, suppress(OSError):
            patched.setattr(os, "fsync", failing)
            assert writer.append(numbered(300, 300)) == range(300, 600)
            break
        assert (writer.size, writer.root) == before
    assert healthy > 9
    assert writer.root == root_of(leaf_hashes(numbered(600)))
    assert not list(tmp_path.rglob(".new-*"))


def test_only_a_checkpoint_of_what_was_written_is_published(tmp_path):
    signer = SignerKey.generate("log.example/audit")
    writer = TileWriter(tmp_path)
    writer.append(numbered(3))
    note = sign_checkpoint(Checkpoint("log.example/audit", 3, writer.root), signer)
    writer.publish(note)
    assert (tmp_path / "checkpoint").read_bytes() == note
    assert (tmp_path / "checkpoint.3").read_bytes() == note
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o600
    other = sign_checkpoint(Checkpoint("log.example/audit", 3, b"r" * 32), signer)
    with pytest.raises(PilotError) as caught:
        writer.publish(other)
    assert caught.value.code == "log-not-appended"


def test_nodes_beyond_the_tree_and_damaged_tiles_are_refused(tmp_path):
    TileWriter(tmp_path, durable=False).append(numbered(300))
    reader = TileReader(folder_reader(tmp_path), 300)
    for level, index in ((0, 300), (8, 1), (9, 0), (0, -1)):
        with pytest.raises(PilotError, match="no node"):
            reader.node(level, index)
    (tmp_path / "tile/0/000").write_bytes(b"x" * 31)
    (tmp_path / "tile/entries/000").write_bytes(b"\x00")
    fresh = TileReader(folder_reader(tmp_path), 300)
    with pytest.raises(PilotError, match="31 bytes"):
        fresh.node(0, 0)
    with pytest.raises(PilotError, match="inside an entry"):
        fresh.entry(0)


def compact(leaves):
    tree = CompactRange()
    tree.extend(leaves)
    return tree


def temporary():
    from pathlib import Path
    from tempfile import TemporaryDirectory

    class Folder(TemporaryDirectory):
        def __enter__(self):
            return Path(super().__enter__())

    return Folder()
