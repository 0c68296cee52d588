import json
from base64 import b64decode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.trust.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    root_of,
    root_of_entries,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.trust.spec_log import mth, numbered
from tests.vectors import vectors


def nodes_of(leaves):
    def node(level, index):
        row = leaves[index << level : (index + 1) << level]
        assert len(row) == 1 << level, "only complete subtrees may be asked for"
        return root_of(row)

    return node


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_every_public_proof_vector_is_judged_as_published(kind):
    cases = sorted(vectors(f"merkle/{kind}").rglob("*.json"))
    assert len(cases) == 49
    for path in cases:
        case = json.loads(path.read_text())
        assert (failure(kind, case) is not None) == case["wantErr"], path


def failure(kind, case):
    proof = [b64decode(each) for each in case["proof"] or []]
    try:
        if kind == "inclusion":
            leaf, root = b64decode(case["leafHash"]), b64decode(case["root"])
            verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
        else:
            roots = b64decode(case["root1"]), b64decode(case["root2"])
            verify_consistency(case["size1"], case["size2"], proof, *roots)
    except PilotError as error:
        return error.exit is ExitCode.LOG_FAILED
    return None


def test_hashing_is_that_of_rfc_6962():
    assert sha256(b"").digest() == EMPTY_ROOT == root_of([])
    assert leaf_hash(b"entry") == sha256(b"\x00entry").digest()
    entries = numbered(300)
    for size in (*range(1, 70), 255, 256, 257, 300):
        assert root_of(leaf_hashes(entries[:size])) == mth(entries[:size]), size
    for size in (0, 1, 1023, 1024, 1025, 3000):
        assert root_of_entries(iter(numbered(size))) == mth(numbered(size)), size


@given(st.lists(st.binary(max_size=40), max_size=300), st.data())
def test_a_tree_grown_in_any_steps_has_the_root_of_the_whole(entries, data):
    leaves, tree, at = leaf_hashes(entries), CompactRange(), 0
    while at < len(leaves):
        step = data.draw(st.integers(1, len(leaves) - at))
        tree.extend(leaves[at : at + step])
        tree = CompactRange.from_bytes(tree.to_bytes())
        at += step
        assert (tree.size, tree.root) == (at, root_of(leaves[:at]))
    assert tree.root == mth(entries)


@given(st.integers(1, 400), st.data())
def test_every_entry_is_provable_and_any_flipped_bit_is_not(size, data):
    leaves = leaf_hashes(numbered(size))
    index = data.draw(st.integers(0, size - 1))
    root = tree_root(size, nodes_of(leaves))
    assert root == root_of(leaves)
    proof = inclusion_proof(index, size, nodes_of(leaves))
    verify_inclusion(leaves[index], index, size, proof, root)
    spoiled = data.draw(st.integers(0, len(proof) + 1))
    parts = [leaves[index], root, *proof]
    flip(parts, spoiled, data)
    with pytest.raises(PilotError, match="proof of entry"):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(st.integers(1, 400), st.data())
def test_growth_is_provable_and_any_flipped_bit_is_not(new, data):
    leaves = leaf_hashes(numbered(new))
    old = data.draw(st.integers(1, new))
    old_root, new_root = root_of(leaves[:old]), root_of(leaves)
    proof = consistency_proof(old, new, nodes_of(leaves))
    verify_consistency(old, new, proof, old_root, new_root)
    parts = [old_root, new_root, *proof]
    flip(parts, data.draw(st.integers(0, len(parts) - 1)), data)
    with pytest.raises(PilotError):
        verify_consistency(old, new, parts[2:], parts[0], parts[1])
    for wrong in ([*proof, EMPTY_ROOT], proof[:-1]):
        if wrong != proof:
            with pytest.raises(PilotError):
                verify_consistency(old, new, wrong, old_root, new_root)


def test_a_proof_from_tree_size_0_is_refused():
    leaves = leaf_hashes(numbered(3))
    with pytest.raises(PilotError, match="nothing can be proven"):
        verify_consistency(0, 3, [], EMPTY_ROOT, root_of(leaves))
    with pytest.raises(PilotError, match="nothing can be proven"):
        verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(PilotError, match="no consistency proof"):
        consistency_proof(0, 3, nodes_of(leaves))
    with pytest.raises(PilotError, match="no entry 3"):
        inclusion_proof(3, 3, nodes_of(leaves))


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 7, b"\x00" * 40, (3).to_bytes(8, "big") + b"x" * 32]
)
def test_a_stored_tree_state_that_cannot_be_one_is_refused(raw):
    with pytest.raises(PilotError) as caught:
        CompactRange.from_bytes(raw)
    assert caught.value.code == "log-state-damaged"


def flip(parts, at, data):
    byte, bit = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 7))
    spoiled = bytearray(parts[at])
    spoiled[byte] ^= 1 << bit
    parts[at] = bytes(spoiled)
