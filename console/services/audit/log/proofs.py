"""What the log can prove: its head, its growth, and that an event is in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from console.api.problems import refusal
from console.errors import PilotError
from console.model.audit import EventProof, LogGrowth, LogHead
from console.model.enforcement import LogProof
from console.model.number import whole_number
from console.services.audit.log.publisher import Head, Publisher
from console.services.audit.log.store_check import MEND, StoreCheck
from console.services.web import Answer, Ask
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import consistency_proof, inclusion_proof, tree_root
from console.trust.tiles import CHECKPOINT, TileReader, folder_reader, parse_tile_path


class Proofs:
    """Answers from the published log only: never from what is not on the disk yet.

    Where a log has ended and the next is not published, nothing is answered: half of one log
    and half of another would be taken for a log that was changed.
    """

    def __init__(self, publisher: Publisher, check: StoreCheck) -> None:
        self._publisher = publisher
        self._check = check

    def head(self, conn: Connection, ask: Ask) -> LogHead:  # noqa: ARG002 - a handler's shape
        """Answer `log.head`."""
        head = self._publisher.head_in(conn)
        return LogHead(
            origin=head.key.name,
            key=str(head.key),
            tree_size=head.size,
            checkpoint=head.note.decode(),
            checkpointed_at=head.signed_at,
        )

    def growth(self, conn: Connection, ask: Ask) -> LogGrowth:
        """Answer `log.growth`: from `old` (above 0) to `new`, the newest unless given."""
        head = self._publisher.head_in(conn)
        new = _size("new", ask.query.get("new", ""), head.size, head.size)
        old = _size("old", ask.query.get("old", ""), new, None)
        with self._reading(head) as reader:
            hashes = consistency_proof(old, new, reader.nodes)
        return LogGrowth(old_size=old, new_size=new, hashes=[_base64(each) for each in hashes])

    def proof(self, conn: Connection, ask: Ask) -> EventProof:
        """Answer `log.proof`, by event id or index, at `tree_size` or the newest."""
        head = self._publisher.head_in(conn)
        event = self._check.find(conn, ask.path["event"])
        if event.index >= head.size or event.index < 0:
            if event.fault:
                raise refusal("not-found", f"{event.id[:80]!a}: {event.fault}", mend=MEND)
            raise refusal(
                "not-found",
                f"{event.id} is recorded and not yet under a published checkpoint",
                mend="ask again in a moment",
            )
        size = _size("tree_size", ask.query.get("tree_size", ""), head.size, head.size)
        if event.index >= size:
            raise refusal("invalid", f"tree_size: {event.id} is entry {event.index}, beyond {size}")
        note = head.note
        with self._reading(head) as reader:
            hashes = inclusion_proof(event.index, size, reader.nodes)
            root = head.root if size == head.size else tree_root(size, reader.nodes)
        if size != head.size:
            # A tree that ours begins with: signing it says nothing new.
            note = sign_checkpoint(Checkpoint(head.key.name, size, root), head.signer)
        return EventProof(
            event_id=event.id,
            fault=event.fault,
            proof=LogProof(
                index=event.index,
                tree_size=size,
                leaf=_base64(event.body.encode()),
                hashes=[_base64(each) for each in hashes],
                checkpoint=note.decode(),
            ),
        )

    def file(self, conn: Connection, ask: Ask) -> Answer:
        """Answer `log.tile`: one file of the log, as C2SP tlog-tiles lays it out."""
        path = ask.path["file"]
        head = self._publisher.head_in(conn)
        if path == CHECKPOINT:
            return Answer(
                body=head.note,
                content_type="text/plain",
                headers={"Cache-Control": "no-cache"},
            )
        try:
            tile = parse_tile_path(path)
            with self._reading(head):
                body = (self._publisher.folder / tile.path).read_bytes()
        except (PilotError, OSError) as error:
            if isinstance(error, PilotError) and error.code == "unavailable":
                raise
            raise refusal("not-found", f"the log has no file {path[:80]!a}") from None
        return Answer(
            body=body,
            content_type="application/octet-stream",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
        )

    @contextmanager
    def _reading(self, head: Head) -> Iterator[TileReader]:
        """Give the log's files at `head`; refuse what was read if they made way meanwhile."""
        try:
            yield TileReader(folder_reader(self._publisher.folder), head.size)
        finally:
            self._publisher.settle(head)


def _size(name: str, said: str, most: int, usual: int | None) -> int:
    """Read a tree size between 1 and `most`; a proof from the empty tree proves nothing."""
    if not said and usual:
        return usual
    size = whole_number(said)
    if size is None or not 0 < size <= most:
        raise refusal("invalid", f"{name}: must be a tree size from 1 to {most}")
    return size


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()
