"""RFC 6962 Merkle trees over SHA-256: hashing, growing, proving, and checking proofs.

A tree of size n over the entries D is named by its root, MTH(D[0:n]). Everything that
builds a proof reads nodes through a `NodeReader`, which answers for complete subtrees only;
the ragged right edge is put together here. Checks follow the loops of RFC 9162 §2.1.3.2 and
§2.1.4.2 and raise `PilotError` (code `log-proof-failed`, exit 11) when a proof does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import islice

from console.errors import ExitCode, PilotError

HASH_SIZE = 32
"""Bytes of a SHA-256 hash."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without entries (RFC 6962 §2.1)."""

NodeReader = Callable[[int, int], bytes]
"""`reader(level, index)` gives MTH(D[index * 2**level : (index + 1) * 2**level]), 32 bytes."""

# A copied state that has absorbed the prefix is cheaper than a new hash of prefix + data.
new_leaf = sha256(b"\x00").copy
"""Start a leaf hash: `new_leaf()`, then `update(entry)`, then `digest()`."""
new_node = sha256(b"\x01").copy
"""Start a node hash, to be given the left and the right hash."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry: SHA-256(0x00 || entry)."""
    state = new_leaf()
    state.update(entry)
    return state.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees: SHA-256(0x01 || left || right)."""
    state = new_node()
    state.update(left + right)
    return state.digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Hash many entries, in order."""
    hashes: list[bytes] = []
    keep, new = hashes.append, new_leaf
    for entry in entries:
        state = new()
        state.update(entry)
        keep(state.digest())
    return hashes


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree whose leaf hashes are `leaves`."""
    if not leaves:
        return EMPTY_ROOT
    # Pairing neighbours and carrying an odd last node up gives RFC 6962's tree.
    level, new = leaves, new_node
    while len(level) > 1:
        above: list[bytes] = []
        keep, following = above.append, iter(level)
        for left, right in zip(following, following, strict=False):
            state = new()
            state.update(left + right)
            keep(state.digest())
        if len(level) & 1:
            keep(level[-1])
        level = above
    return level[0]


def root_of_entries(entries: Iterable[bytes]) -> bytes:
    """Return the root of the tree over `entries`, which may be any number and are not kept."""
    # Whole subtrees at a time: their hashes stay in the processor's cache.
    source, width = iter(entries), 1 << 10
    row: list[bytes] = []
    while len(leaves := leaf_hashes(islice(source, width))) == width:
        row.append(root_of(leaves))
    return root_of_peaks([*peaks_of(row), *peaks_of(leaves)])


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """Join complete subtrees, largest (leftmost) first, into the root of the whole tree."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def peaks_of(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the roots of the complete subtrees that make up a row of equal-height nodes."""
    peaks: list[bytes] = []
    start = 0
    for bit in range(len(hashes).bit_length() - 1, -1, -1):
        if len(hashes) >> bit & 1:
            peaks.append(root_of(hashes[start : start + (1 << bit)]))
            start += 1 << bit
    return peaks


class CompactRange:
    """The state of a tree that only grows: its size and the roots of its complete subtrees.

    It takes at most 64 hashes for any tree, so a sequencer stores it (`to_bytes`) with the
    batch that it has appended and goes on from there (`from_bytes`).
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if (
            not 0 <= size < 1 << 63
            or len(peaks) != size.bit_count()
            or any(len(peak) != HASH_SIZE for peak in peaks)
        ):
            raise PilotError(
                "log-state-damaged", f"{len(peaks)} hashes cannot be the state of {size} entries"
            )
        self._size = size
        self._peaks = list(peaks)

    @property
    def size(self) -> int:
        """How many entries the tree has."""
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, largest first."""
        return tuple(self._peaks)

    @property
    def root(self) -> bytes:
        """The tree's root now."""
        return root_of_peaks(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes at the end, in order."""
        peaks, size = self._peaks, self._size
        for leaf in leaves:
            node, full = leaf, size
            while full & 1:
                node = node_hash(peaks.pop(), node)
                full >>= 1
            peaks.append(node)
            size += 1
        self._size = size

    def to_bytes(self) -> bytes:
        """Serialise: the size as 8 bytes, big-endian, then the peaks."""
        return self._size.to_bytes(8, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, raw: bytes) -> CompactRange:
        """Read back what `to_bytes` gave; `PilotError` (`log-state-damaged`) for anything else."""
        if len(raw) < 8 or len(raw) % HASH_SIZE != 8:
            raise PilotError("log-state-damaged", f"{len(raw)} bytes are no stored tree state")
        peaks = [raw[at : at + HASH_SIZE] for at in range(8, len(raw), HASH_SIZE)]
        return cls(int.from_bytes(raw[:8], "big"), peaks)


def subtree_root(start: int, end: int, nodes: NodeReader) -> bytes:
    """Return MTH(D[start:end]) for a range that RFC 6962 §2.1 reaches by splitting."""
    width = end - start
    if width & (width - 1) == 0 and width:
        level = width.bit_length() - 1
        return nodes(level, start >> level)
    if not width:
        return EMPTY_ROOT
    middle = start + _split(width)
    return node_hash(subtree_root(start, middle, nodes), subtree_root(middle, end, nodes))


def tree_root(size: int, nodes: NodeReader) -> bytes:
    """Return the root of the first `size` entries from stored nodes."""
    return subtree_root(0, size, nodes)


def inclusion_proof(index: int, size: int, nodes: NodeReader) -> list[bytes]:
    """Return PATH(index, D[0:size]) of RFC 6962 §2.1.1, from the leaf's sibling upwards."""
    if not 0 <= index < size:
        raise PilotError("log-proof-range", f"no entry {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree_root(middle, end, nodes))
            end = middle
        else:
            path.append(subtree_root(start, middle, nodes))
            start = middle
    path.reverse()
    return path


def consistency_proof(old: int, new: int, nodes: NodeReader) -> list[bytes]:
    """Return PROOF(old, D[0:new]) of RFC 6962 §2.1.2; a proof from size 0 proves nothing."""
    if not 0 < old <= new:
        raise PilotError("log-proof-range", f"no consistency proof leads from {old} to {new}")
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtree_root(middle, end, nodes))
            end = middle
        else:
            path.append(subtree_root(start, middle, nodes))
            start, whole = middle, False
    if not whole:
        path.append(subtree_root(start, end, nodes))
    path.reverse()
    return path


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` (a leaf hash) is entry `index` of the tree (size, root).

    RFC 9162 §2.1.3.2. Raises `PilotError` (`log-proof-failed`) when it is not shown.
    """
    _lengths((leaf, root, *proof))
    if not 0 <= index < size:
        raise _failed(f"there is no entry {index} in a tree of {size}")
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _failed("the inclusion proof is too long")
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        at >>= 1
        last >>= 1
    if last != 0:
        raise _failed("the inclusion proof is too short")
    if node != root:
        raise _failed(f"the proof of entry {index} does not lead to the root at {size}")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree (new, new_root) begins with the tree (old, old_root).

    RFC 9162 §2.1.4.2. Raises `PilotError` (`log-proof-failed`) when it is not shown; always
    for `old` = 0, because every tree begins with the empty one.
    """
    _lengths((old_root, new_root, *proof))
    if not 0 < old <= new:
        raise _failed(f"nothing can be proven from size {old} to size {new}")
    if old == new:
        if proof:
            raise _failed("a proof between equal sizes must be empty")
        if old_root != new_root:
            raise _failed(f"two different roots at size {old}")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise _failed("the consistency proof is too short")
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _failed("the consistency proof is too long")
        if at & 1 or at == last:
            before = node_hash(sibling, before)
            after = node_hash(sibling, after)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            after = node_hash(after, sibling)
        at >>= 1
        last >>= 1
    if last != 0:
        raise _failed("the consistency proof is too short")
    if before != old_root or after != new_root:
        raise _failed(f"the tree at {new} does not begin with the tree at {old}")


def _split(width: int) -> int:
    """Return the largest power of two below `width` (> 1)."""
    return 1 << (width - 1).bit_length() - 1


def _lengths(hashes: Iterable[bytes]) -> None:
    if any(len(each) != HASH_SIZE for each in hashes):
        raise _failed("a hash in the proof is not 32 bytes")


def _failed(message: str) -> PilotError:
    return PilotError("log-proof-failed", message, exit=ExitCode.LOG_FAILED)
