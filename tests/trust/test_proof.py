import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.trust.merkle import inclusion_proof
from console.trust.note import VerifierKey
from console.trust.proof import Proof, parse_proof, verify_proof
from console.trust.tiles import TileReader, folder_reader
from tests.trust.spec_log import SpecLog, numbered


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    log = SpecLog(tmp_path_factory.mktemp("log"))
    log.grow(numbered(300))
    return log


def proof_of(log, index, extra=None):
    nodes = TileReader(folder_reader(log.folder), 300).nodes
    note = (log.folder / "checkpoint").read_bytes()
    return Proof(index, tuple(inclusion_proof(index, 300, nodes)), note, extra)


@pytest.mark.parametrize("extra", [None, b"", b"context"])
@pytest.mark.parametrize("index", [0, 255, 256, 299])
def test_the_evidence_for_one_event_verifies_from_its_file_alone(log, index, extra):
    raw = proof_of(log, index, extra).text()
    proof = parse_proof(raw)
    assert (proof.text(), proof.extra) == (raw, extra)
    key = VerifierKey.parse(log.vkey)
    assert verify_proof(proof, log.entries[index], key).checkpoint.size == 300
    with pytest.raises(PilotError) as caught:
        verify_proof(proof, log.entries[index] + b" ", key)
    assert (caught.value.code, caught.value.exit) == ("log-proof-failed", ExitCode.LOG_FAILED)


def test_the_only_entry_of_a_log_needs_no_hashes(tmp_path):
    log = SpecLog(tmp_path)
    note = log.grow([b"only"])
    raw = b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note
    assert parse_proof(raw).text() == raw
    verify_proof(parse_proof(raw), b"only", VerifierKey.parse(log.vkey))


@given(st.data())
def test_any_flipped_bit_of_the_file_is_noticed(log, data):
    raw = bytearray(proof_of(log, 7).text())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PilotError):
        verify_proof(parse_proof(bytes(raw)), log.entries[7], VerifierKey.parse(log.vkey))


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(raw):
    start = b"c2sp.org/tlog-proof@v1\n"
    for attempt in (raw, start + raw, start + b"index 0\n\xc3\xa9" + raw + b"\n\n"):
        with pytest.raises(PilotError) as caught:
            verify_proof(parse_proof(attempt), b"", VerifierKey("log", 1, b"k" * 32))
        assert caught.value.exit is ExitCode.LOG_FAILED
