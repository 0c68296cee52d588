"""A log that was not written by us verifies, and each way to damage it is found and named."""

import hashlib
import shutil

import pytest

from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.damage import DamageKind
from console.trust.note import VerifierKey
from console.trust.tiles import folder_reader
from console.trust.verify import verify_folder, verify_log
from console.trust.writer import TileWriter
from tests.trust.spec_log import SpecLog, numbered

SIZES = [0, 1, 255, 256, 257, 700, 65_536 + 300]


def key_of(log):
    return VerifierKey.parse(log.vkey)


@pytest.mark.parametrize("size", SIZES)
def test_a_log_built_from_the_specification_verifies(tmp_path, size):
    log = SpecLog(tmp_path)
    log.grow(numbered(size))
    seen = []
    report = verify_folder(
        tmp_path, key_of(log), progress=lambda done, total: seen.append((done, total))
    )
    assert (report.damage, report.ok) == ((), True)
    assert (report.entries, report.root) == (size, log.root())
    assert report.signed is not None
    assert seen[-1:] == ([(size, size)] if size else [])
    shutil.rmtree(tmp_path)


def test_growth_over_many_checkpoints_verifies_against_each_of_them(tmp_path):
    log = SpecLog(tmp_path)
    heads = []
    for step in (1, 254, 1, 1, 300, 211, 4):
        note = log.grow(numbered(step, len(log.entries)))
        heads.append(open_checkpoint(note, key_of(log)).checkpoint)
    for known in [None, *heads, Checkpoint(log.origin, 0, log.root(0))]:
        report = verify_folder(tmp_path, key_of(log), known=known)
        assert report.damage == (), known
    for partial in tmp_path.glob("tile/*/000.p"):  # the specification lets a log delete these
        if (partial.parent / "000").exists():
            shutil.rmtree(partial)
    assert verify_folder(tmp_path, key_of(log)).ok


def test_a_log_that_serves_more_than_it_has_signed_yet_verifies(tmp_path):
    log = SpecLog(tmp_path)
    note = log.grow(numbered(200))
    log.grow(numbered(400, 200), history=False)
    shutil.rmtree(tmp_path / "tile/0/000.p")
    shutil.rmtree(tmp_path / "tile/entries/000.p")
    log.put("checkpoint", note)
    report = verify_folder(tmp_path, key_of(log))
    assert (report.damage, report.entries, report.root) == ((), 200, log.root(200))


# --- Damage. Each function spoils the files of a log of 700 entries (or of `size`). ---


def rewrite(log, path, change):
    place = log.folder / path
    place.write_bytes(change(place.read_bytes()))


def set_byte(log, path, at, value=None):
    def change(raw):
        return raw[:at] + bytes([raw[at] ^ 1 if value is None else value]) + raw[at + 1 :]

    rewrite(log, path, change)


def offset(entries, upto):
    return sum(2 + len(each) for each in entries[:upto])


def bundle_of(entries):
    return b"".join(len(each).to_bytes(2, "big") + each for each in entries)


def bad_signature(log):
    def change(raw):
        text, _, _ = raw.partition(b"\n\n")
        return text + b"\n\n" + log.checkpoint(1, b"r" * 32).partition(b"\n\n")[2]

    rewrite(log, "checkpoint", change)


def other_key(log):
    other = SpecLog(log.folder, log.origin)
    log.put("checkpoint", other.checkpoint(len(log.entries), log.root()))


def other_origin(log):
    log.put("checkpoint", log.checkpoint(len(log.entries), log.root(), origin="else.example"))


def other_log_entirely(log):
    other = SpecLog(log.folder, "else.example/log")
    log.put("checkpoint", other.checkpoint(len(log.entries), log.root()))


def malformed_checkpoint(log):
    log.put("checkpoint", log.checkpoint("0700", log.root()))


def garbage_checkpoint(log):
    log.put("checkpoint", b"\x00\xff not a note")


def no_checkpoint(log):
    (log.folder / "checkpoint").unlink()


def entries_missing(log):
    log.put("checkpoint", log.checkpoint(1000, log.root()))


def absurd_size(log):
    log.put("checkpoint", log.checkpoint(1 << 62, log.root()))


def bundle_missing(log):
    (log.folder / "tile/entries/001").unlink()


def entry_altered(log):
    set_byte(log, "tile/entries/002.p/188", offset(log.entries[512:], 3) + 5)


def entry_altered_in_a_full_bundle(log):
    set_byte(log, "tile/entries/000", offset(log.entries, 255) + 2)


def entry_replaced_by_a_longer_one(log):
    entries = [*log.entries[256:300], b"a longer one" * 9, *log.entries[301:512]]
    log.put("tile/entries/001", bundle_of(entries))


def entries_swapped(log):
    entries = log.entries[:256]
    entries[5], entries[9] = entries[9], entries[5]
    log.put("tile/entries/000", bundle_of(entries))


def entries_swapped_across_bundles(log):
    entries = list(log.entries)
    entries[5], entries[600] = entries[600], entries[5]
    log.put("tile/entries/000", bundle_of(entries[:256]))
    log.put("tile/entries/002.p/188", bundle_of(entries[512:]))


def bundle_truncated(log):
    rewrite(log, "tile/entries/001", lambda raw: raw[: offset(log.entries[256:], 100) + 3])


def bundle_emptied(log):
    rewrite(log, "tile/entries/001", lambda raw: b"")


def bundle_trailing(log):
    rewrite(log, "tile/entries/002.p/188", lambda raw: raw + b"\x00\x01x")


def bundle_garbled(log):
    set_byte(log, "tile/entries/001", offset(log.entries[256:], 10) + 1, 0)


def bundle_of_noise(log):
    noise = b"".join(hashlib.sha256(b"%d" % at).digest() for at in range(300))
    log.put("tile/entries/001", b"\x00\x10" + noise)


def tile_altered(log):
    set_byte(log, "tile/0/001", 32 * 7 + 3)


def partial_tile_altered(log):
    set_byte(log, "tile/0/002.p/188", 32 * 187)


def upper_tile_altered(log):
    set_byte(log, "tile/1/000.p/2", 32)


def tile_missing(log):
    (log.folder / "tile/0/000").unlink()


def upper_tile_missing(log):
    (log.folder / "tile/1/000.p/2").unlink()


def tile_truncated(log):
    rewrite(log, "tile/0/001", lambda raw: raw[:-1])


def tile_trailing(log):
    rewrite(log, "tile/0/002.p/188", lambda raw: raw + b"x")


def tile_is_a_folder(log):
    (log.folder / "tile/0/000").unlink()
    (log.folder / "tile/0/000").mkdir()


def root_of_another_tree(log):
    log.put("checkpoint", log.checkpoint(700, b"r" * 32))


def rewritten(log, at):
    """Change an entry, its bundle and its leaf tile, as one who covers their traces would."""
    log.entries[at] = b"was never here"
    first, end = at // 256 * 256, min(at // 256 * 256 + 256, len(log.entries))
    partial = "" if end - first == 256 else f".p/{end - first}"
    leaves = [hashlib.sha256(b"\x00" + each).digest() for each in log.entries[first:end]]
    log.put(f"tile/entries/{at // 256:03}{partial}", bundle_of(log.entries[first:end]))
    log.put(f"tile/0/{at // 256:03}{partial}", b"".join(leaves))


def entry_and_its_tile_rewritten(log):
    rewritten(log, 300)


def last_entries_and_their_tile_rewritten(log):
    rewritten(log, 699)


def entry_and_another_tile_altered(log):
    entry_altered_in_a_full_bundle(log)
    tile_altered(log)
    partial_tile_altered(log)


def entry_altered_and_upper_tile_altered(log):
    entry_altered_in_a_full_bundle(log)
    upper_tile_altered(log)


def history_of_more(log):
    log.put("checkpoint.900", log.checkpoint(900, b"r" * 32))


def history_of_another_tree(log):
    log.put("checkpoint.700", log.checkpoint(700, b"r" * 32))


def history_that_did_not_lead_here(log):
    log.put("checkpoint.301", log.checkpoint(301, b"r" * 32))


def history_misnamed(log):
    log.put("checkpoint.300", log.checkpoint(301, log.root(301)))


def history_unsigned(log):
    raw = log.checkpoint(301, log.root(301))
    log.put("checkpoint.301", raw.replace(b"\n301\n", b"\n302\n"))


K = DamageKind
DAMAGE = [
    (bad_signature, [(K.SIGNATURE_BAD, "checkpoint")]),
    (other_key, [(K.KEY_WRONG, "checkpoint")]),
    (other_origin, [(K.ORIGIN_WRONG, "checkpoint")]),
    (other_log_entirely, [(K.KEY_WRONG, "checkpoint"), (K.ORIGIN_WRONG, "checkpoint")]),
    (malformed_checkpoint, [(K.CHECKPOINT_MALFORMED, "checkpoint")]),
    (garbage_checkpoint, [(K.CHECKPOINT_MALFORMED, "checkpoint")]),
    (no_checkpoint, [(K.CHECKPOINT_MISSING, "checkpoint")]),
    (entries_missing, [(K.ENTRIES_MISSING, "entries 512-999")]),
    (absurd_size, [(K.ENTRIES_MISSING, f"entries 512-{(1 << 62) - 1}")]),
    (bundle_missing, [(K.ENTRIES_MISSING, "entries 256-511")]),
    (entry_altered, [(K.ENTRY_ALTERED, "entry 515"), (K.ROOT_MISMATCH, "checkpoint 700")]),
    (
        entry_altered_in_a_full_bundle,
        [(K.ENTRY_ALTERED, "entry 255"), (K.ROOT_MISMATCH, "checkpoint 700")],
    ),
    (
        entry_replaced_by_a_longer_one,
        [(K.ENTRY_ALTERED, "entry 300"), (K.ROOT_MISMATCH, "checkpoint 700")],
    ),
    (
        entries_swapped,
        [
            (K.ENTRIES_REORDERED, "entry 5"),
            (K.ENTRIES_REORDERED, "entry 9"),
            (K.ROOT_MISMATCH, "checkpoint 700"),
        ],
    ),
    (
        entries_swapped_across_bundles,
        [
            (K.ENTRIES_REORDERED, "entry 5"),
            (K.ENTRIES_REORDERED, "entry 600"),
            (K.ROOT_MISMATCH, "checkpoint 700"),
        ],
    ),
    (bundle_truncated, [(K.BUNDLE_TRUNCATED, "tile/entries/001")]),
    (bundle_emptied, [(K.BUNDLE_TRUNCATED, "tile/entries/001")]),
    (bundle_trailing, [(K.BUNDLE_TRAILING, "tile/entries/002.p/188")]),
    (bundle_garbled, [(K.BUNDLE_GARBLED, "tile/entries/001")]),
    (bundle_of_noise, [(K.BUNDLE_GARBLED, "tile/entries/001")]),
    (tile_altered, [(K.TILE_ALTERED, "tile/0/001")]),
    (partial_tile_altered, [(K.TILE_ALTERED, "tile/0/002.p/188")]),
    (upper_tile_altered, [(K.TILE_ALTERED, "tile/1/000.p/2")]),
    (tile_missing, [(K.TILE_MISSING, "tile/0/000")]),
    (upper_tile_missing, [(K.TILE_MISSING, "tile/1/000.p/2")]),
    (tile_truncated, [(K.TILE_TRUNCATED, "tile/0/001")]),
    (tile_trailing, [(K.TILE_TRAILING, "tile/0/002.p/188")]),
    (tile_is_a_folder, [(K.TILE_MISSING, "tile/0/000")]),
    (root_of_another_tree, [(K.ROOT_MISMATCH, "checkpoint 700"), (K.SPLIT_VIEW, "checkpoint.700")]),
    (
        entry_and_its_tile_rewritten,
        [(K.ENTRIES_REWRITTEN, "entries 256-511"), (K.ROOT_MISMATCH, "checkpoint 700")],
    ),
    (last_entries_and_their_tile_rewritten, [(K.ROOT_MISMATCH, "checkpoint 700")]),
    (
        entry_and_another_tile_altered,
        [
            (K.ENTRY_ALTERED, "entry 255"),
            (K.TILE_ALTERED, "tile/0/001"),
            (K.TILE_ALTERED, "tile/0/002.p/188"),
            (K.ROOT_MISMATCH, "checkpoint 700"),
        ],
    ),
    (
        entry_altered_and_upper_tile_altered,
        [
            (K.ENTRY_ALTERED, "entry 255"),
            (K.TILE_ALTERED, "tile/1/000.p/2"),
            (K.ROOT_MISMATCH, "checkpoint 700"),
        ],
    ),
    (history_of_more, [(K.ROLLBACK, "checkpoint.900")]),
    (history_of_another_tree, [(K.SPLIT_VIEW, "checkpoint.700")]),
    (history_that_did_not_lead_here, [(K.GROWTH_INCONSISTENT, "checkpoint.301")]),
    (history_misnamed, [(K.CHECKPOINT_MALFORMED, "checkpoint.300")]),
    (history_unsigned, [(K.SIGNATURE_BAD, "checkpoint.301")]),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    log = SpecLog(tmp_path_factory.mktemp("whole"))
    log.grow(numbered(300), history=True)
    log.grow(numbered(400, 300), history=True)
    return log


@pytest.fixture
def log(whole, tmp_path):
    """A copy of the log to damage."""
    copy = SpecLog(tmp_path / "log", whole.origin)
    shutil.copytree(whole.folder, copy.folder)
    copy.private, copy.public, copy.entries = whole.private, whole.public, list(whole.entries)
    return copy


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        pytest.param(*each, id=f"{each[0].__name__.replace('_', ' ')} is found and named")
        for each in DAMAGE
    ],
)
def test_damage(log, damage, named):
    damage(log)
    report = verify_folder(log.folder, key_of(log))
    assert not report.ok
    assert sorted((each.kind, each.where) for each in report.damage) == sorted(named)
    assert all(each.message for each in report.damage)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_536 + 300])
def test_the_very_entry_is_named_at_every_size(tmp_path, size):
    log = SpecLog(tmp_path)
    log.grow(numbered(size))
    at = size - 1
    bundle = at // 256
    partial = "" if size % 256 == 0 else f".p/{size % 256}"
    path = f"tile/entries/{bundle:03}{partial}"
    set_byte(log, path, offset(log.entries[bundle * 256 :], at - bundle * 256) + 2)
    found = [(each.kind, each.where) for each in verify_folder(tmp_path, key_of(log)).damage]
    assert found == [(K.ENTRY_ALTERED, f"entry {at}"), (K.ROOT_MISMATCH, f"checkpoint {size}")]
    shutil.rmtree(tmp_path)


def test_an_empty_log_cannot_claim_entries_nor_another_root(tmp_path):
    log = SpecLog(tmp_path)
    log.grow([])
    log.put("checkpoint", log.checkpoint(0, b"r" * 32))
    report = verify_log(folder_reader(tmp_path), key_of(log))
    assert [each.kind for each in report.damage] == [K.CHECKPOINT_MALFORMED]


@pytest.mark.parametrize(
    ("known", "named"),
    [
        ((900, b"r" * 32), K.ROLLBACK),
        ((700, b"r" * 32), K.SPLIT_VIEW),
        ((299, b"r" * 32), K.GROWTH_INCONSISTENT),
        ((512, b"r" * 32), K.GROWTH_INCONSISTENT),
    ],
    ids=[
        "a rollback behind the known checkpoint is named",
        "a split view of the known size is named",
        "growth that does not contain the known checkpoint is named",
        "the same at the edge of a tile",
    ],
)
def test_the_checkpoint_that_was_known_before(log, known, named):
    head = Checkpoint(log.origin, *known)
    report = verify_log(folder_reader(log.folder), key_of(log), known=head)
    assert [(each.kind, each.where) for each in report.damage] == [(named, "the known checkpoint")]


def test_a_history_rewritten_and_signed_again_does_not_pass_what_was_known(log):
    known = open_checkpoint((log.folder / "checkpoint.300").read_bytes(), key_of(log)).checkpoint
    forged = SpecLog(log.folder, log.origin)
    forged.private, forged.public = log.private, log.public
    forged.grow([b"was never here", *log.entries[1:]], history=False)
    report = verify_log(folder_reader(log.folder), key_of(log), known=known)
    assert [each.kind for each in report.damage] == [K.GROWTH_INCONSISTENT]
    with_history = verify_folder(log.folder, key_of(log))
    assert [(each.kind, each.where) for each in with_history.damage] == [
        (K.SPLIT_VIEW, "checkpoint.700"),
        (K.GROWTH_INCONSISTENT, "checkpoint.300"),
    ]


def test_an_altered_entry_does_not_also_count_as_inconsistent_growth(log):
    entry_altered_in_a_full_bundle(log)
    kinds = {each.kind for each in verify_folder(log.folder, key_of(log)).damage}
    assert K.GROWTH_INCONSISTENT not in kinds


def test_a_file_that_cannot_be_read_is_damage_and_not_a_crash(log):
    inner = folder_reader(log.folder)

    def read(path):
        if path == "tile/entries/001":
            raise OSError(5, "Input/output error")
        return inner(path)

    report = verify_log(read, key_of(log))
    assert (K.UNREADABLE, "tile/entries/001") in [(d.kind, d.where) for d in report.damage]
    assert not report.ok


def test_every_single_file_of_a_log_is_checked(log):
    """Whatever file one bit of changes, the log no longer verifies."""
    for path in [path for path in log.folder.rglob("*") if path.is_file()]:
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        assert not verify_folder(log.folder, key_of(log)).ok, path
        path.write_bytes(raw)


def test_a_log_of_garbage_gives_a_bounded_report(tmp_path):
    writer = TileWriter(tmp_path, durable=False)
    writer.append(numbered(256 * 100))
    log = SpecLog(tmp_path)
    log.put("checkpoint", log.checkpoint(256 * 100, writer.root))
    for number in range(100):
        entries = numbered(256, number * 256)
        entries[::2] = [b"no"] * 128
        log.put(f"tile/entries/{number:03}", bundle_of(entries))
    report = verify_log(folder_reader(tmp_path), key_of(log))
    assert len(report.damage) == 1000
    assert report.unlisted > 10_000
    shutil.rmtree(tmp_path)
