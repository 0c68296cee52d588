"""A call admitted against a closing is told of exactly where the closing was verified and in force.

Random histories of a gateway with two partners: closings of every kind, lifted or not, proven
at once, later or never, and calls, some of them let through against what was closed. A proof is
told later than it holds. The events and calls reach audit in pieces, as the two feeds bring
them; at times the calls come first.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, create_engine, func, select

from console.model.enforcement import LockKind
from console.model.traffic import CallRecord
from console.services.audit.alerts.detections import has_read, take_calls, take_events
from console.services.audit.log import ledger
from console.services.audit.log.leaf import read_leaf
from console.services.audit.log.publisher import claimed
from console.services.audit.migrations import STEPS
from console.services.audit.rules import admitted_calls
from console.services.audit.rules.admitted_calls import ANNOUNCING
from console.services.audit.rules.closing_store import learn_all
from console.services.audit.rules.closings import COVERS, LIFTING, POINT, Known
from console.services.audit.rules.rule_file import load_rules
from console.services.audit.state.schema import ADMITTED_CALLS, ALERTS, ALIASES, CLOSINGS
from console.services.backup.closings import CLOSINGS as CLOSES
from console.services.store import OutboxPage, Store
from console.services.wire.call_feed import CallFeed, CallRow
from tests.services.audit.audit_rig import START, call, item

RULES = [each for each in load_rules() if each.id == "admitted-after-revoke"]
USERS = {"prn_a": "a" * 64, "prn_b": "b" * 64}
KEYS = [
    ("acme", "grt_a1", "crd_a1"),
    ("acme", "grt_a2", "crd_a2"),  # renews the first
    ("zenith", "grt_z1", "crd_z1"),
    ("zenith", "grt_z1", "crd_z2"),
]
FORMER = {"grt_a2": "grt_a1"}
TARGETS = [
    *(("grant", each) for each in ("grt_a1", "grt_a2", "grt_z1")),
    *(("partner", each) for each in ("acme", "zenith")),
    *(("credential", each) for _, _, each in KEYS),
    *(("principal", each) for each in (*USERS, *USERS.values())),
    ("everything", "*"), ("model", "aurora-1"), ("capability", "cap-b"), ("pilot", "north"),
    ("stage", "north/limited"), ("subprocessor", "sub"), ("network", "203.0.113.0/25"),
    ("point", "gw-1"),
]  # fmt: skip


class Closed(NamedTuple):
    """A closing as the history made it, with the true times of its proof and its end."""

    receipt: str
    action: str
    kind: str
    target: str
    verified_at: datetime | None = None
    lifted_at: datetime | None = None
    event_id: str = ""

    def covers(self, made: CallRecord) -> bool:
        if self.kind == "network":
            return made.address == "203.0.113.7"
        of = {
            "everything": ["*"], "partner": [made.partner], "credential": [made.credential_id],
            "grant": [made.grant_id, FORMER.get(made.grant_id, "")], "model": [made.model],
            "principal": [made.principal, *(i for i, h in USERS.items() if h == made.principal)],
            "capability": [made.capability], "pilot": [made.pilot], "point": [made.point],
            "stage": [f"{made.pilot}/{made.stage}"], "subprocessor": [made.holder],
        }  # fmt: skip
        return self.target in of[self.kind]


def oracle(closings: list[Closed], calls: list[CallRecord]) -> dict[tuple[str, str], int]:
    """How many calls of each grant and key were admitted against what was proven and in force."""
    found: dict[tuple[str, str], int] = {}
    for made in calls:
        for each in closings:
            proven = each.verified_at is not None and each.verified_at < made.started_at
            in_force = each.lifted_at is None or made.started_at < each.lifted_at
            if proven and in_force and each.covers(made):
                name = (made.grant_id, made.credential_id)
                found[name] = found.get(name, 0) + 1
                break
    return found


class History:
    """A gateway that closes, lifts and serves at random, and an audit that follows it."""

    def __init__(self, conn: Connection, rng: random.Random) -> None:
        self.conn, self.rng, self.now = conn, rng, START
        self.closings: list[Closed] = []
        self.calls: list[CallRecord] = []
        self.untold: list[Closed] = []
        """Closings that are proven, and of whose proof there is no event yet."""
        self.outboxes: dict[str, list[Any]] = {"policy": [], "gateway": []}
        self.change = 0
        claimed(conn, "a key")
        for user, hashed in USERS.items():
            self.tell("policy", "principal.create", "principal", user, after={"hash": hashed})
        renewed = {"lineage": ["grt_a1"]}
        self.tell("policy", "grant.renew", "grant", "grt_a2", after=renewed)
        self.log("policy")

    def tell(self, source: str, action: str, kind: str, target: str, **told: Any) -> str:
        box = self.outboxes[source]
        said = {"kind": kind, "target": target, "at": self.now, **told}
        box.append(item(source, len(box) + 1, action, **said))
        return box[-1].event_id

    def close(self) -> None:
        kind, target = self.rng.choice(TARGETS)
        action = "lock.add"
        if kind in {"grant", "partner"} and self.rng.random() < 0.6:
            action = f"{kind}.suspend"
        elif kind == "point":
            action = "point.deregister"
        elif kind in {"grant", "credential", "partner"} and self.rng.random() < 0.4:
            action = {"grant": "grant.revoke", "credential": "key.revoke"}.get(kind, "")
            action = action or "partner.offboard"
        self.change += 1
        made = self.tell("gateway", action, kind, target)
        receipt = f"rcp_{len(self.closings)}"
        self.closings.append(Closed(receipt, action, kind, target, event_id=made))

    def prove(self) -> None:
        waiting = [n for n, each in enumerate(self.closings) if each.verified_at is None]
        if not waiting:
            return
        nth = self.rng.choice(waiting)
        proven = self.closings[nth]._replace(verified_at=self.now)
        self.closings[nth] = proven
        self.untold.append(proven)
        if self.rng.random() < 0.5:
            self.tell_proof()

    def tell_proof(self) -> None:
        """Commit a receipt that is verified: its proof may be older, and others came between."""
        if not self.untold:
            return
        proven = self.untold.pop(self.rng.randrange(len(self.untold)))
        after = {
            "kind": proven.kind, "target": proven.target, "action": proven.action,
            "enforced_at": proven.verified_at, "event_id": proven.event_id,
        }  # fmt: skip
        told = {"after": after, "at": proven.verified_at}
        self.tell("gateway", "receipt.verify", "receipt", proven.receipt, **told)

    def lift(self) -> None:
        for_ever = ("grant.revoke", "key.revoke", "partner.offboard")
        open_ones = [
            n for n, each in enumerate(self.closings)
            if each.lifted_at is None and each.action not in for_ever
        ]  # fmt: skip
        if not open_ones:
            return
        self.change += 1
        nth = self.rng.choice(open_ones)
        lifted = self.closings[nth]._replace(lifted_at=self.now)
        self.closings[nth] = lifted
        facts = {"receipt_id": lifted.receipt, "sequence": self.change}
        if lifted.action == "lock.add":
            after = {"receipt_id": lifted.receipt}
            told = {"after": after, "facts": {"sequence": self.change}}
            self.tell("gateway", "lock.release", "lock", "lck_1", **told)
        elif lifted.kind == "point":
            facts = {"receipt_id": lifted.receipt}
            self.tell("gateway", "point.admit", "point", lifted.target, facts=facts)
        else:
            self.tell("gateway", "suspension.lift", lifted.kind, lifted.target, facts=facts)

    def serve(self) -> None:
        partner, grant, key = self.rng.choice(KEYS)
        made = call(
            started_at=self.now,
            snapshot_sequence=self.change,
            partner=partner, grant_id=grant, credential_id=key, stage="limited",
            pilot=self.rng.choice(["north", "south"]), point=self.rng.choice(["gw-1", "gw-2"]),
            model=self.rng.choice(["aurora-1", "aurora-2"]),
            capability=self.rng.choice(["cap-a", "cap-b"]),
            holder=self.rng.choice([partner, "sub"]),
            address=self.rng.choice(["203.0.113.7", "203.0.113.207"]),
            principal=self.rng.choice(["", *USERS.values()]),
        )  # fmt: skip
        forbidden = any(each.lifted_at is None and each.covers(made) for each in self.closings)
        if not forbidden or self.rng.random() < 0.1:
            self.calls.append(made)

    def log(self, source: str) -> None:
        """Bring some of a source's events into the log, and some of the log to the rules."""
        box = self.outboxes[source]
        last = ledger.place(self.conn, source).last_seq
        upto = self.rng.randint(last, len(box)) if source == "gateway" else len(box)
        ledger.take(self.conn, source, OutboxPage(box[last:upto], len(box)))
        while take_events(self.conn, RULES):
            pass

    def read_calls(self) -> None:
        """Take a page of calls, mostly once the events that came before it are read.

        That a closing was lifted is always read first: without it an alert would be wrong.
        """
        head = len(self.outboxes["gateway"])
        if self.rng.random() < 0.7 or self.lift_unread():
            self.read_events(head)
        self.take_page()

    def take_page(self) -> None:
        head = len(self.outboxes["gateway"])
        items = [CallRow(seq=seq, call=each) for seq, each in enumerate(self.calls, 1)]
        take_calls(self.conn, RULES, CallFeed(items=items, head=len(items), events=head))

    def read_events(self, head: int) -> None:
        while head and not has_read("gateway", head, self.conn):
            self.log("gateway")

    def lift_unread(self) -> bool:
        last = ledger.place(self.conn, "gateway").last_seq
        unread = [read_leaf(each.body.encode()) for each in self.outboxes["gateway"][last:]]
        return any(each.action in LIFTING for each in unread)

    def run(self, steps: int) -> None:
        acts = [self.close, self.prove, self.tell_proof, self.lift, self.serve, self.read_calls]
        for _ in range(steps):
            self.now += timedelta(seconds=self.rng.choice([0.1, 1, 60]))
            self.rng.choices(acts, [2, 3, 2, 2, 12, 2])[0]()
            if self.rng.random() < 0.1:
                self.log("gateway")
        self.read_calls()
        while self.untold:
            self.tell_proof()
        self.read_events(len(self.outboxes["gateway"]))

    def tried(self) -> int:
        """How many calls a trial over the whole history finds, which stores nothing."""
        events = [read_leaf(each.body.encode()) for box in self.outboxes.values() for each in box]
        known = Known.of(events)
        return sum(known.forbade(each) for each in self.calls)

    def alerts(self) -> dict[tuple[str, str], int]:
        found = self.conn.execute(select(ALERTS.c.body)).scalars()
        return {(each.grant_id, each.credential_id): each.count for each in found}


@contextmanager
def stores(folder: Path) -> Iterator[Any]:
    """Give fresh connections to an empty audit store, each undone when it is let go."""
    path = folder / "audit.db"
    Store.open(path, STEPS, durable=False).close()
    engine = create_engine(f"sqlite:///{path}")

    @contextmanager
    def fresh() -> Iterator[Connection]:
        with engine.connect() as conn:
            began = conn.begin()
            try:
                yield conn
            finally:
                began.rollback()

    yield fresh
    engine.dispose()


def agree(folder: Path, seed: int, count: int) -> None:
    told = 0
    with stores(folder) as fresh:
        for nth in range(count):
            with fresh() as conn:
                history = History(conn, random.Random(f"{seed}/{nth}"))
                history.run(25)
                expected = oracle(history.closings, history.calls)
                assert history.alerts() == expected, f"history {seed}/{nth}"
                assert history.tried() == sum(expected.values()), f"trial of {seed}/{nth}"
                told += bool(expected)
    print(f"{count} histories of seed {seed} agree; {told} of them hold such a call")
    assert 0 < told < count


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.long)])
def test_random_histories_agree_with_the_oracle(tmp_path: Path, count: int) -> None:
    agree(tmp_path, int(os.environ.get("PILOTCTL_SEED", "9")), count)


@pytest.mark.long
def test_five_thousand_random_histories_agree_with_the_oracle(tmp_path: Path) -> None:
    agree(tmp_path, random.randrange(10**6), 5000)


def closed_and_proven(history: History, kind: str, target: str, action: str) -> None:
    """Make a closing, and prove it in the next second; its proof is not told yet."""
    made = history.tell("gateway", action, kind, target)
    history.now += timedelta(seconds=1)
    history.untold.append(Closed("rcp_1", action, kind, target, history.now, event_id=made))


def served(history: History, **told: Any) -> None:
    """Let a call through, five minutes after what was before."""
    history.now += timedelta(minutes=5)
    history.calls.append(call(started_at=history.now, **told))


@pytest.mark.parametrize("calls_come_first", [False, True])
def test_a_proof_told_late_finds_the_wrong_call_behind_later_calls_of_the_same_key(
    tmp_path: Path, calls_come_first: bool
) -> None:
    with stores(tmp_path) as fresh, fresh() as conn:
        history = History(conn, random.Random(1))
        closed_and_proven(history, "point", "gw-1", "point.deregister")
        for point in ("gw-1", "gw-2", "gw-2"):
            served(history, point=point)
            if not calls_come_first:
                history.read_events(len(history.outboxes["gateway"]))
            history.take_page()
        assert history.alerts() == {}
        history.tell_proof()
        history.read_events(len(history.outboxes["gateway"]))
        assert history.alerts() == {("grt_a", "crd_a"): 1}
        history.tell("gateway", "lock.add", "lock", "lck_1")
        history.read_events(len(history.outboxes["gateway"]))
        assert history.alerts() == {("grt_a", "crd_a"): 1}, "a call is counted once"


def test_the_calls_that_wait_for_a_proof_are_bounded_and_a_busy_key_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admitted_calls, "MAX_CALLS", 100)
    with stores(tmp_path) as fresh, fresh() as conn:
        history = History(conn, random.Random(1))
        closed_and_proven(history, "partner", "acme", "partner.suspend")
        history.read_events(1)
        served(history)
        for _ in range(500):
            served(history, partner="zenith", grant_id="grt_z", credential_id="crd_z")
        history.take_page()
        count = select(func.count()).select_from(ADMITTED_CALLS)
        assert 0 < conn.execute(count).scalar_one() <= 100
        history.tell_proof()
        history.read_events(len(history.outboxes["gateway"]))
        assert history.alerts() == {("grt_a", "crd_a"): 1}
        served(history, partner="zenith")
        history.take_page()
        assert conn.execute(count).scalar_one() == 1, "nothing waits for a proof any more"


def test_every_closing_with_a_receipt_is_announced_by_an_event_that_is_followed() -> None:
    without_receipt = {"key.rotate", "content.redact"}
    at_gateway = {
        event for each in CLOSES if each.store == "gateway" and each.source != "policy"
        for event in each.events
    }  # fmt: skip
    assert at_gateway - without_receipt == ANNOUNCING


def test_a_store_from_before_learns_its_closings_from_the_log(tmp_path: Path) -> None:
    with stores(tmp_path) as fresh, fresh() as conn:
        history = History(conn, random.Random(1))
        history.run(80)
        learned = conn.execute(select(CLOSINGS).order_by(CLOSINGS.c.receipt)).all()
        named = conn.execute(select(ALIASES)).all()
        conn.execute(CLOSINGS.delete())
        conn.execute(ALIASES.delete())
        learn_all(conn)
        assert conn.execute(select(CLOSINGS).order_by(CLOSINGS.c.receipt)).all() == learned
        assert conn.execute(select(ALIASES)).all() == named


def test_a_suspension_that_policy_resumed_before_there_were_events_of_it_is_over(
    tmp_path: Path,
) -> None:
    with stores(tmp_path) as fresh, fresh() as conn:
        history = History(conn, random.Random(1))
        after = {
            "kind": "grant",
            "target": "grt_a1",
            "enforced_at": START,
            "action": "grant.suspend",
        }
        history.tell("gateway", "receipt.verify", "receipt", "rcp_1", after=after)
        history.now += timedelta(minutes=1)
        history.tell("policy", "grant.resume", "grant", "grt_a1")
        for source, box in history.outboxes.items():
            last = ledger.place(conn, source).last_seq
            ledger.take(conn, source, OutboxPage(box[last:], len(box)))
        learn_all(conn)
        for minutes, expected in ((0.5, 1), (2, 1)):
            at = START + timedelta(minutes=minutes)
            made = call(grant_id="grt_a1", credential_id="crd_a1", started_at=at)
            history.calls.append(made)
            take_calls(
                conn, RULES, CallFeed(items=[CallRow(seq=int(minutes) + 1, call=made)], head=3)
            )
            assert sum(history.alerts().values()) == expected


def test_every_kind_that_can_be_closed_is_compared_with_a_call() -> None:
    assert set(COVERS) == {*LockKind, POINT}
