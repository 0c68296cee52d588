"""Gateway control's limits: it counts for every point, and keeps what it counted.

What a call holds is stored before the call begins, and its cost is counted with its
record, in one transaction: a point or control that is killed at any moment loses
neither. A hold ends when its call does; its money is free only when the record is here,
or when it is certain that the call never reached an upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.grant import GrantProjection
from console.model.price import BudgetState
from console.model.stored import Page
from console.model.traffic import CallRecord
from console.services.gateway.control.calls.limit_ledger import (
    Bound,
    Hold,
    Ledger,
    When,
    period_start,
)
from console.services.gateway.control.calls.spending import (
    SEPARATOR,
    Spending,
    account_of,
    budget_state,
    spenders,
)
from console.services.gateway.control.state.change_log import Views
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import HOLDS, POINTS
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import Store
from console.services.web import Ask
from console.services.wire.points import Done, LimitAsk, LimitSaid, Take, Taken

_LOG = logging.getLogger(__name__)
_SWEEP_SECONDS = 1.0
_INSERT = (
    "INSERT OR IGNORE INTO holds (call, point, incarnation, grant_id, principal, account, "
    "began_at, tokens, micros) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_POINT = "SELECT incarnation, calls_held FROM points WHERE name = ?"
_KEEP = "UPDATE holds SET kept = 1, micros = ? WHERE call = ?"
_FORGET = "DELETE FROM holds WHERE call = ? AND kept = 0"
_END = "UPDATE holds SET ended_at = coalesce(ended_at, ?), tokens = ?, micros = ? WHERE call = ?"


def bounds_of(grant: GrantProjection, principal: str) -> list[Bound]:
    """Return the accounts that bind a call under a grant. Who names nobody is one of its own."""
    out = []
    if grant.limits.binds():
        out.append(Bound(account_of(grant, grant.limits), grant.limits, "this access"))
    if grant.principal_limits.binds():
        account = account_of(grant, grant.principal_limits) + SEPARATOR + principal
        out.append(Bound(account, grant.principal_limits, "one user"))
    return out


def ledger_of(conn: Connection, snapshot: Snapshot) -> tuple[Ledger, list[str]]:
    """Return the ledger as the store has it, and the calls whose holds count no more."""
    ledger, now, at = Ledger(), boottime(), datetime.now(UTC)
    over = []
    for row in conn.execute(select(HOLDS)):
        grant = snapshot.grant(row.grant_id)
        if row.kept and not _still_counts(grant, row.began_at, at):
            over.append(row.call)
            continue
        micros = 0 if row.kept else row.micros
        bounds = bounds_of(grant, row.principal) if grant else []
        ended = row.ended_at
        ledger.restore(
            Hold(
                call=row.call,
                point=row.point,
                incarnation=row.incarnation,
                accounts=tuple(b.account for b in bounds) or (row.account,),
                began=now - (at - row.began_at).total_seconds(),
                tokens=row.tokens,
                micros=micros,
                ended=None if ended is None else now - (at - ended).total_seconds(),
                recorded=ended is not None and micros == 0,
            )
        )
    ledger.sort()
    return ledger, over


class Counters:
    """Every limited call of every point. The ledger is touched by the store's writer alone."""

    def __init__(self, store: Store, views: Views, points: Points) -> None:
        self._store = store
        self._views = views
        self._points = points
        self._ledger: Ledger | None = None
        self._settled: dict[str, str] = {}
        """Point to its process, once what an earlier one held is settled."""

    def reset(self) -> None:
        """Read everything again from the store: a transaction was rolled back."""
        self._ledger = None
        self._settled.clear()

    async def take(self, ask: Ask) -> LimitSaid:
        """Settle and begin limited calls of one point (internal route).

        Calls are counted together. Where that fails, each is counted alone, so that one
        question cannot fail another's: it is answered `limits_unknown` by itself.
        """
        name, said = ask.path["point"], ask.body
        try:
            return await self._count(name, said, ask.now)
        except PilotError:
            raise
        except Exception:
            taken = [await self._count_alone(name, said, ask.now, take=[t]) for t in said.take]
            for done in said.done:
                await self._count_alone(name, said, ask.now, done=[done])
            rest = await self._count(name, msgspec.structs.replace(said, take=[], done=[]), ask.now)
            return LimitSaid(taken=[one for each in taken for one in each], resumed=rest.resumed)

    async def _count_alone(
        self,
        name: str,
        said: LimitAsk,
        at: datetime,
        *,
        take: Sequence[Take] = (),
        done: Sequence[Done] = (),
    ) -> list[Taken]:
        """Count one call. One that cannot be counted does not begin, or keeps what it holds."""
        alone = msgspec.structs.replace(said, take=list(take), done=list(done))
        try:
            return (await self._count(name, alone, at)).taken
        except PilotError:
            raise
        except Exception as error:
            calls = ", ".join([*(each.call for each in take), *(each.call for each in done)])
            _LOG.warning("limits: %s: call %s cannot be counted", name, calls, exc_info=error)
            found = "control cannot count this call"
            return [Taken(code="limits_unknown", found=found) for _ in take]

    async def _count(self, name: str, said: LimitAsk, at: datetime) -> LimitSaid:
        """Count calls in one transaction."""

        def settle(conn: Connection) -> LimitSaid:
            known = conn.exec_driver_sql(_POINT, (name,)).first()
            if known is None:
                raise refusal("not-found", f"no point {name} is registered")
            if known.incarnation != said.incarnation:
                raise refusal("state", f"another process is the point {name} now")
            ledger, when = self._loaded(conn), When(boottime(), at)
            for done in said.done:
                used = (0, 0) if done.void else (done.tokens, done.micros)
                _end(conn, ledger, done.call, used, when)
            resumed = self._resumed(conn, name, said, known.calls_held)
            taken = self._begin(conn, name, said, when)
            return LimitSaid(taken=taken, resumed=resumed)

        try:
            return await self._store.write(settle)
        except BaseException:
            self.reset()
            raise

    def _begin(self, conn: Connection, point: str, said: LimitAsk, when: When) -> list[Taken]:
        snapshot, ledger = self._views.at(conn), self._loaded(conn)
        out, rows = [], []
        for take in said.take:
            grant = snapshot.grant(take.grant_id)
            if grant is None:
                out.append(Taken(code="limits_unknown", found="control knows no such grant"))
                continue
            bounds = bounds_of(grant, take.principal)
            if not bounds:
                out.append(Taken())
                continue
            hold = Hold(
                call=take.call,
                point=point,
                incarnation=said.incarnation,
                accounts=tuple(bound.account for bound in bounds),
                began=when.now,
                tokens=take.tokens,
                micros=take.micros,
            )
            spent = Spending(conn, grant, take.principal)
            taken = ledger.take(hold, bounds, when, spent.since)
            out.append(taken)
            if not taken.code:
                rows.append(_row(hold, take, when.at))
        if rows:
            conn.exec_driver_sql(_INSERT, rows)
        return out

    def _resumed(self, conn: Connection, name: str, said: LimitAsk, held: int) -> bool:
        """Free what an earlier process of this point held, once all its records are here.

        A call's record is on the point's disk before an upstream hears of it, so what has
        none never began.
        """
        if self._settled.get(name) == said.incarnation:
            return True
        ledger, now = self._loaded(conn), boottime()
        left = [
            hold
            for hold in ledger.holds()
            if hold.point == name and hold.incarnation != said.incarnation and not hold.recorded
            and (hold.ended is None or hold.micros)
        ]  # fmt: skip
        if left and (held < said.resumed or now < self._points.seen(name).former_ends):
            return False
        for hold in left:
            _end(conn, ledger, hold.call, (hold.tokens, 0), When(now, datetime.now(UTC)))
            hold.recorded = True
            _free(ledger, hold)
            conn.exec_driver_sql("UPDATE holds SET micros = 0 WHERE call = ?", (hold.call,))
        self._settled[name] = said.incarnation
        return True

    def recorded(self, conn: Connection, records: Sequence[CallRecord]) -> None:
        """Count what new records cost. Runs in the transaction that takes them in."""
        ledger, snapshot = self._loaded(conn), self._views.at(conn)
        now = boottime()
        for record in records:
            hold = ledger.hold(record.id)
            if hold is None and not record.cost_micros:
                continue
            if hold is not None and hold.ended is None:
                tokens = record.input_tokens + record.output_tokens
                ledger.end(record.id, tokens, hold.micros, now)
            beyond = record.held_micros if hold is not None else 0
            accounts = _accounts(snapshot, record)
            ledger.record(record.id, record.cost_micros + beyond, record.started_at, accounts)
            if hold is not None:
                _keep(conn, hold, datetime.now(UTC))
            if beyond:
                conn.exec_driver_sql(_KEEP, (beyond, record.id))

    def _loaded(self, conn: Connection) -> Ledger:
        if self._ledger is None:
            self._ledger, over = ledger_of(conn, self._views.at(conn))
            for call in over:
                conn.exec_driver_sql("DELETE FROM holds WHERE call = ?", (call,))
        return self._ledger

    async def watch(self) -> None:
        """End the holds of points that serve nothing any more, and forget old ones."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if self._ledger is None or any(True for _ in self._ledger.holds()):
                with suppress(PilotError):
                    try:
                        await self._store.write(self._sweep)
                    except BaseException:
                        self.reset()
                        raise

    def _sweep(self, conn: Connection) -> None:
        ledger, now, at = self._loaded(conn), boottime(), datetime.now(UTC)
        current = {
            row.name: row.incarnation
            for row in conn.execute(select(POINTS.c.name, POINTS.c.incarnation))
        }
        for hold in ledger.running():
            seen = self._points.seen(hold.point)
            replaced = current.get(hold.point) != hold.incarnation
            over = now >= seen.former_ends if replaced else not seen.serving
            if over:
                # Its caller is gone. What it may have cost stays held until its record is here.
                _end(conn, ledger, hold.call, (hold.tokens, hold.micros), When(now, at))
        gone = ledger.forget(now)
        if gone:
            conn.exec_driver_sql(_FORGET, [(call,) for call in gone])

    def listing(self, conn: Connection, ask: Ask) -> Page[BudgetState]:
        """Answer `usage.budgets`: every live budget of grants, and of principals that spent."""
        snapshot = self._views.at(conn)
        items: list[BudgetState] = []
        for grant in sorted(snapshot.grants(), key=lambda each: (each.partner, each.id)):
            wanted = ask.query.get("partner", "")
            if (wanted and grant.partner != wanted) or grant.state != "active":
                continue
            if grant.limits.budget_micros is not None:
                items.append(budget_state(conn, grant, grant.limits, None, ask.now))
            if grant.principal_limits.budget_micros is not None:
                items += [
                    budget_state(conn, grant, grant.principal_limits, principal, ask.now)
                    for principal in spenders(conn, grant, ask.now)
                ]
        return Page(as_of=ask.now, source="gateway", items=items)


def _still_counts(grant: GrantProjection | None, began: datetime, at: datetime) -> bool:
    """Tell whether what a cut call may have cost still counts in any budget of its grant."""
    if grant is None:
        return False
    budgets = [each for each in (grant.limits, grant.principal_limits) if each.budget_micros]
    return any(began >= period_start(str(each.budget_period), at) for each in budgets)


def _accounts(snapshot: Snapshot, record: CallRecord) -> Iterable[str]:
    """Return every account that a record's cost counts in, whether it binds now or not."""
    grant = snapshot.grant(record.grant_id)
    if grant is None:
        return ()
    whole = {grant.id, *grant.lineage[-1:]}
    return [*whole, *(each + SEPARATOR + record.principal for each in whole)]


def _row(hold: Hold, take: Take, at: datetime) -> tuple[object, ...]:
    return (
        hold.call, hold.point, hold.incarnation, take.grant_id, take.principal,
        hold.accounts[0], _stored(at), hold.tokens, hold.micros,
    )  # fmt: skip


def _end(conn: Connection, ledger: Ledger, call: str, used: tuple[int, int], when: When) -> None:
    """End a call's hold with the tokens and the micro-units it came to."""
    hold = ledger.end(call, *used, when.now)
    if hold is not None:
        _keep(conn, hold, when.at)


def _free(ledger: Ledger, hold: Hold) -> None:
    for key in hold.accounts:
        ledger.account(key).reserved -= hold.micros
    hold.micros = 0


def _keep(conn: Connection, hold: Hold, at: datetime) -> None:
    conn.exec_driver_sql(_END, (_stored(at), hold.tokens, hold.micros, hold.call))


def _stored(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
