"""Partial tiles that earlier heads left behind are looked at, each of them, or named."""

import hashlib

import pytest

from console.trust.damage import DamageKind
from console.trust.note import VerifierKey
from console.trust.tiles import folder_reader
from console.trust.verify import UNLISTED, verify_folder, verify_log
from tests.trust.spec_log import SpecLog, numbered


@pytest.fixture
def log(tmp_path):
    """A log that grew in steps, with the partial tiles of each of them."""
    grown = SpecLog(tmp_path)
    for step in (3, 200, 60, 250, 100):
        grown.grow(numbered(step, len(grown.entries)))
    return grown


def verified(log):
    return verify_folder(log.folder, VerifierKey.parse(log.vkey))


def test_a_log_with_all_that_it_left_behind_is_good(log):
    left = {path.relative_to(log.folder).as_posix() for path in log.folder.glob("tile/**/*.p/*")}
    assert {"tile/0/000.p/3", "tile/entries/001.p/7", "tile/1/000.p/1", "tile/0/002.p/1"} <= left
    report = verified(log)
    assert (report.damage, report.left_out) == ((), ())


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        ("tile/0/000.p/3", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
        ("tile/0/000.p/203", lambda raw: raw[:-32]),
        ("tile/0/001.p/7", lambda raw: raw + bytes(32)),
        ("tile/entries/000.p/3", lambda raw: raw[:-1] + b"x"),
        ("tile/entries/001.p/7", lambda raw: b""),
        ("tile/entries/000.p/203", lambda raw: raw[: len(raw) // 2]),
        ("tile/1/000.p/1", lambda raw: hashlib.sha256(raw).digest()),
    ],
)
def test_an_earlier_partial_tile_that_differs_is_named(log, path, spoil):
    place = log.folder / path
    place.write_bytes(spoil(place.read_bytes()))
    assert [(each.kind, each.where) for each in verified(log).damage] == [
        (DamageKind.TILE_ALTERED, path)
    ]


def test_what_cannot_be_looked_at_is_told(log):
    log.put("tile/0/002.p/200", bytes(32 * 200))
    log.put("tile/0/007.p/1", bytes(32))
    log.put("tile/0/000.p/0003", b"")
    report = verified(log)
    assert report.damage == ()
    assert sorted(report.left_out) == [
        "'tile/0/000.p/0003' is not the path of a tile",
        "tile/0/002.p/200 holds more than the head has signed",
        "tile/0/007.p/1 holds more than the head has signed",
    ]
    served = verify_log(folder_reader(log.folder), VerifierKey.parse(log.vkey))
    assert (served.ok, served.left_out) == (True, (UNLISTED,))
