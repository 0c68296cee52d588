"""What it costs to verify a log, beside hashing the same bytes with hashlib and nothing else."""

import os
import shutil
from hashlib import sha256
from time import perf_counter

import pytest

from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import root_of_entries
from console.trust.note import SignerKey
from console.trust.parallel_hashing import usable_processors
from console.trust.tiles import bundles_of
from console.trust.verify import verify_folder
from console.trust.writer import TileWriter

pytestmark = pytest.mark.benchmark

COUNT = 1_000_000
SIZES = (600, 1100)
"""Bytes of an entry: a small audit event, and one as most are."""
AT_MOST = 2.0
ROUNDS = 3


@pytest.fixture(scope="module", params=SIZES)
def entries(request):
    tail = os.urandom(request.param - 8)
    return [at.to_bytes(8, "big") + tail for at in range(COUNT)]


def hash_alone(entries):
    for entry in entries:
        sha256(entry).digest()


def timed(work, *args):
    started = perf_counter()
    answer = work(*args)
    return perf_counter() - started, answer


def hash_from_files(bundles):
    """Read what verification reads, cut out each entry, hash it with hashlib: nothing else."""
    for path in bundles:
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            start = at + 2
            at = start + (raw[at] << 8 | raw[at + 1])
            sha256(raw[start:at]).digest()


def compare(name, entries, work, *baselines):
    """Time all in turns in this one run, so that a busy machine slows all; the best of each.

    Prints the ratio to every baseline and returns that to the first.
    """
    rounds = [[timed(each)[0] for each in (work, *baselines)] for _ in range(ROUNDS)]
    ours, *bases = (min(times) for times in zip(*rounds, strict=True))
    print(f"\n{name}: {COUNT:,} entries of {len(entries[0])} bytes in {ours:.2f} s")
    for baseline, base in zip(baselines, bases, strict=True):
        said = (baseline.__doc__ or "").partition("\n")[0]
        print(f"  {ours / base:.2f} times {base:.2f} s: {said}")
    return ours / bases[0]


def test_the_root_of_a_million_entries_costs_at_most_twice_their_hashing(entries):
    def in_memory():
        """Hash each entry in memory with hashlib alone."""
        hash_alone(entries)

    assert compare("root", entries, lambda: root_of_entries(entries), in_memory) <= AT_MOST


def test_verifying_a_log_of_a_million_entries_costs_at_most_twice_their_hashing(entries, tmp_path):
    signer = SignerKey.generate("log.example/audit")
    writer = TileWriter(tmp_path, durable=False)
    for at in range(0, COUNT, 10_000):
        writer.append(entries[at : at + 10_000])
    writer.publish(sign_checkpoint(Checkpoint("log.example/audit", COUNT, writer.root), signer))
    bundles = [tmp_path / bundle.path for bundle in bundles_of(COUNT)]

    def verify():
        report = verify_folder(tmp_path, signer.verifier)
        assert report.ok, report.damage[:3]

    def in_memory():
        """Hash each entry in memory with hashlib alone: no reading."""
        hash_alone(entries)

    def from_files():
        """Read the same files and hash each entry with hashlib alone."""
        hash_from_files(bundles)

    # On one processor nothing is shared out, and reading the files is paid for too.
    baselines = [in_memory, from_files] if usable_processors() > 1 else [from_files, in_memory]
    try:
        assert compare("verify", entries, verify, *baselines) <= AT_MOST
    finally:
        shutil.rmtree(tmp_path)
