"""The rules in force: those that ship, the operator's own files, and how each is set.

A file is the truth about its rule; whether it is switched on, and how it is tuned, is in the
store. The own folder is looked at every two seconds: what was changed there by hand is
recorded as an event too. A file that cannot be read is named, with what is wrong in it; what
it said before stays in force, and the other rules do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.rule import (
    AddRule,
    ChangeRule,
    DetectionRule,
    RuleState,
    TuneRule,
    Tuning,
)
from console.model.stored import Page
from console.model.text import now
from console.parsing.suggest import suggest
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_file import load_rules, name_in, read_rule, tuned
from console.services.audit.rules.rule_folder import read, stamps, write
from console.services.audit.rules.rule_rows import as_tuned, changed, described, new_row
from console.services.audit.rules.strictness import weaker
from console.services.audit.state.schema import RULES
from console.services.events import SYSTEM, event
from console.services.store import Store, emit
from console.services.store.upsert import insert_or_update
from console.services.web import Ask, fresh, page

LOOK_SECONDS = 2.0
"""How often the own folder is looked at."""


_OFF = ("it is off",)
_GONE = ("it is gone",)
"""How a rule is weaker that looks no more."""


class RuleBook:
    """The rules of one audit service. Call `scan` before the first use."""

    def __init__(self, folder: Path, shipped: Sequence[Rule] | None = None) -> None:
        self.folder = folder
        self._shipped = {each.id: each for each in (load_rules() if shipped is None else shipped)}
        self._active: tuple[Rule, ...] = ()
        self._seen: tuple[tuple[str, int, int], ...] | None = None

    @property
    def active(self) -> tuple[Rule, ...]:
        """The rules that look, as they are tuned."""
        return self._active

    def named(self) -> Mapping[str, Rule]:
        """Return the rules that look, by name."""
        return {each.id: each for each in self._active}

    async def follow(self, store: Store) -> None:
        """Look at the own folder, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            seen = await asyncio.to_thread(stamps, self.folder)
            if seen != self._seen:
                with suppress(PilotError):  # the store says so itself; the next look is soon
                    await store.write(self.scan)

    def scan(self, conn: Connection) -> None:
        """Take the files as they are: new, changed, broken and vanished ones."""
        at = now()
        held = {row.id: row for row in conn.execute(select(RULES))}
        if self._seen is None:
            self._restore(conn, held.values(), at)
        seen = stamps(self.folder)
        files = {name: read(self.folder, name, self._shipped) for name, *_ in seen}
        for rule in self._shipped.values():
            row = held.get(rule.id)
            before = row.body if row else None
            if before is None or before.sha256 != rule.revision or before.origin != "shipped":
                self._take(conn, rule, before, origin="shipped", text="", at=at)
        for name, file in files.items():
            row = held.get(name)
            before = row.body if row and row.body.origin == "own" else None
            if file.rule is None:
                text = row.text if row else ""
                self._note_broken(conn, name, file.error, before=before, text=text, at=at)
            elif before is None or before.sha256 != file.rule.revision or before.error:
                old = self._plain(row) if row and before else None
                self._take(conn, file.rule, before, origin="own", text=file.text, at=at, old=old)
        for name, row in held.items():
            if name not in files and name not in self._shipped:
                conn.execute(delete(RULES).where(RULES.c.id == name))
                why = "its file is gone"
                _record(conn, "rule.remove", row.body, SYSTEM, at, why, weaker=_GONE)
        self._keep_required(conn, at)
        self._seen = seen
        self._active = self.in_force(conn)

    def _restore(self, conn: Connection, rows: Iterable[Row[Any]], at: datetime) -> None:
        """Write the own files again that are gone as the service starts.

        A store that was put back from a backup brings its rules with it, and a rule does not
        end because somebody deleted a file while nobody looked: `rule remove` ends one.
        """
        there = {name for name, *_ in stamps(self.folder)}
        for row in rows:
            if row.body.origin == "own" and row.text and row.id not in there:
                write(self.folder / f"{row.id}.toml", row.text)
                why = "its file was gone as the service started"
                _record(conn, "rule.restore", row.body, SYSTEM, at, why)

    def _keep_required(self, conn: Connection, at: datetime) -> None:
        """Put shipped rules that guard an invariant back where they are off, or set weaker.

        A version before this one allowed that, and a rule may have come to be required since.
        """
        for row in conn.execute(select(RULES)).all():
            plain, body = self._shipped.get(row.id), row.body
            if plain is None or not plain.required or body.origin != "shipped":
                continue
            if body.enabled and not weaker(plain, as_tuned(plain, body)):
                continue
            on = RuleState.ON.value
            blank = changed(body, SYSTEM, at, tuning=Tuning(), enabled=True, state=on)
            after = described(plain, blank)
            _keep(conn, row.id, row.text, after)
            why = "it guards an invariant, and was off or weaker than its file"
            _record(conn, "rule.restore", after, SYSTEM, at, why, before=body)

    def in_force(self, conn: Connection) -> tuple[Rule, ...]:
        """Return the rules that look, as this transaction has them."""
        found = []
        for row in conn.execute(select(RULES).order_by(RULES.c.id)):
            rule = self._rule(row)
            if rule is not None and row.body.enabled:
                found.append(rule)
        return tuple(found)

    def rule(self, conn: Connection, name: str) -> Rule:
        """Return one rule, on or off, as it is tuned. Raises `not-found`, or `rule-invalid`."""
        row = conn.execute(select(RULES).where(RULES.c.id == name)).first()
        if row is None:
            raise self._no_rule(conn, name)
        rule = self._rule(row)
        if rule is None:
            raise refusal("state", row.body.error, mend="mend the file; it is read again by itself")
        return rule

    def listing(self, conn: Connection, ask: Ask) -> Page[DetectionRule]:
        """Answer `rule.list`, by name."""
        query = select(RULES)
        for name in ("state", "origin"):
            if wanted := ask.query.get(name, ""):
                query = query.where(RULES.c.id.in_(self._with(conn, name, wanted)))
        return page(conn, query, ask, keys=[RULES.c.id], decode=_body)

    def show(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.show`."""
        row = conn.execute(select(RULES).where(RULES.c.id == ask.path["rule"])).first()
        if row is None:
            raise self._no_rule(conn, ask.path["rule"])
        return _body(row)

    def enable(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.enable`."""
        return self._switch(conn, ask, enabled=True)

    def disable(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.disable`. What guards an invariant stays on."""
        return self._switch(conn, ask, enabled=False)

    def tune(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.tune`: what is not named goes back to the file's value.

        What becomes weaker by it raises an alert; what guards an invariant becomes so never.
        """
        said: TuneRule = ask.body
        before = self.show(conn, ask)
        fresh(ask, before)
        tuning = Tuning(
            threshold=said.threshold,
            window_seconds=said.window_seconds,
            factor=said.factor,
            severity=said.severity.value if said.severity else None,
        )
        row = conn.execute(select(RULES).where(RULES.c.id == before.id)).one()
        plain = self._plain(row)
        if plain is None:
            raise refusal("state", before.error, mend="mend the file first")
        try:
            rule = tuned(plain, tuning)
        except PilotError as error:
            raise refusal("invalid", error.message) from error
        ways = weaker(as_tuned(plain, before), rule) if before.enabled else []
        if before.required and ways:
            raise refusal(
                "refused",
                f"{before.id} guards an invariant, and can only be made stricter: "
                f"this makes it weaker: {'; '.join(ways)}",
                mend="a lower threshold, a longer window or a higher severity is stricter",
            )
        after = changed(described(rule, before), ask.operator.name, ask.now, tuning=tuning)
        kept = self._put(conn, ask, "rule.tune", after=after, before=before, weaker=ways)
        return msgspec.structs.replace(kept, weaker=ways)

    def add(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.add`: the text becomes a file of the own folder."""
        said: AddRule = ask.body
        try:
            name = name_in(said.text)
            rule = read_rule(Path(f"{name}.toml"), said.text.encode())
        except PilotError as error:
            raise refusal("invalid", error.message, mend=error.hint) from error
        if name in self._shipped:
            raise refusal(
                "exists",
                f"{name} is a rule that ships",
                mend=f"`pilotctl rule tune {name}`, or give yours another id",
            )
        if conn.execute(select(RULES.c.id).where(RULES.c.id == name)).first() is not None:
            raise refusal(
                "exists", f"there is a rule {name}", mend=f"`pilotctl rule remove {name}` first"
            )
        if not ask.validate_only:
            write(self.folder / f"{name}.toml", said.text)
        before = new_row(rule, "own", ask.operator.name, ask.now)
        after = msgspec.structs.replace(
            before, enabled=said.enabled, state=(RuleState.ON if said.enabled else RuleState.OFF)
        )
        conn.execute(RULES.insert().values(id=name, text=said.text, body=after))
        _record(conn, "rule.add", after, ask.operator.name, ask.now, said.reason, ask=ask)
        self._refresh(conn, ask)
        return after

    def remove(self, conn: Connection, ask: Ask) -> DetectionRule:
        """Answer `rule.remove`, of an own one: its file too. What it found stays."""
        said: ChangeRule = ask.body
        rule = self.show(conn, ask)
        fresh(ask, rule)
        if rule.origin != "own":
            raise refusal(
                "state", f"{rule.id} ships", mend=f"`pilotctl rule disable {rule.id}` instead"
            )
        if rule.required:
            raise refusal("refused", f"{rule.id} guards an invariant: it cannot be removed")
        conn.execute(delete(RULES).where(RULES.c.id == rule.id))
        ways = _GONE if rule.enabled else ()
        _record(
            conn, "rule.remove", rule, ask.operator.name, ask.now, said.reason, ask=ask, weaker=ways
        )
        path = self.folder / f"{rule.id}.toml"
        if not ask.validate_only:
            path.unlink(missing_ok=True)
        self._refresh(conn, ask)
        return rule

    def broken(self, conn: Connection) -> list[str]:
        """Return what is wrong with own files, in words, for the service's status."""
        rows = conn.execute(select(RULES).order_by(RULES.c.id)).all()
        strays = [
            f"{self.folder / each}.toml: {each} is a rule that ships; give yours another id"
            for each, *_ in self._seen or ()
            if each in self._shipped
        ]
        return [*strays, *(row.body.error for row in rows if row.body.error)]

    def _switch(self, conn: Connection, ask: Ask, *, enabled: bool) -> DetectionRule:
        before = self.show(conn, ask)
        fresh(ask, before)
        if before.required and not enabled:
            raise refusal(
                "refused",
                f"{before.id} guards an invariant: it cannot be switched off",
                mend=f"pilotctl rule show {before.id}",
            )
        if before.enabled == enabled:
            return before
        state = RuleState.BROKEN if before.error else RuleState.ON if enabled else RuleState.OFF
        after = changed(before, ask.operator.name, ask.now, enabled=enabled, state=state.value)
        action = "rule.enable" if enabled else "rule.disable"
        ways = () if enabled else _OFF
        return self._put(conn, ask, action, after=after, before=before, weaker=ways)

    def _put(
        self,
        conn: Connection,
        ask: Ask,
        action: str,
        *,
        after: DetectionRule,
        before: DetectionRule,
        weaker: Sequence[str],
    ) -> DetectionRule:
        conn.execute(RULES.update().where(RULES.c.id == after.id).values(body=after))
        by, reason = ask.operator.name, ask.body.reason
        _record(conn, action, after, by, ask.now, reason, ask=ask, before=before, weaker=weaker)
        self._refresh(conn, ask)
        return after

    def _refresh(self, conn: Connection, ask: Ask) -> None:
        active = self.in_force(conn)

        def put() -> None:
            self._active = active

        ask.after(put)

    def _take(
        self,
        conn: Connection,
        rule: Rule,
        before: DetectionRule | None,
        *,
        origin: str,
        text: str,
        at: datetime,
        old: Rule | None = None,
    ) -> None:
        """Take a file as it is now; `old` is the rule that was in force before it."""
        ways: list[str] = []
        if before is None:
            after = new_row(rule, origin, SYSTEM, at)
        else:
            after = changed(described(as_tuned(rule, before), before), SYSTEM, at)
            state = RuleState.ON if after.enabled else RuleState.OFF
            after = msgspec.structs.replace(
                after, sha256=rule.revision, error="", state=state.value, origin=origin
            )
            if old is not None and before.enabled:
                ways = weaker(as_tuned(old, before), as_tuned(rule, after))
        _keep(conn, rule.id, text, after)
        if before is not None or origin == "own":
            action = "rule.add" if before is None else "rule.change"
            why = "its file is new"
            _record(conn, action, after, SYSTEM, at, why, before=before, weaker=ways)

    def _note_broken(
        self,
        conn: Connection,
        name: str,
        error: str,
        *,
        before: DetectionRule | None,
        text: str,
        at: datetime,
    ) -> None:
        if name in self._shipped:
            return  # told by `broken`: the rule that ships goes on
        if before is not None and before.error == error:
            return
        if before is None:
            after = DetectionRule(
                id=name, created_at=at, created_by=SYSTEM, updated_at=at, updated_by=SYSTEM,
                title="", kind="", reads="", severity="", threshold=0, window_seconds=0,
                origin="own", state=RuleState.BROKEN.value, error=error,
            )  # fmt: skip
        else:
            after = changed(before, SYSTEM, at, state=RuleState.BROKEN.value, error=error)
        _keep(conn, name, text, after)
        _record(conn, "rule.break", after, SYSTEM, at, error, before=before, outcome="failure")

    def _rule(self, row: Row[Any]) -> Rule | None:
        plain = self._plain(row)
        return None if plain is None else as_tuned(plain, row.body)

    def _plain(self, row: Row[Any]) -> Rule | None:
        """Return the rule as its file has it, or last had it; None where it never was good."""
        if row.body.origin == "shipped":
            return self._shipped.get(row.id)
        with suppress(PilotError):
            return read_rule(self.folder / f"{row.id}.toml", row.text.encode())
        return None

    def _with(self, conn: Connection, member: str, wanted: str) -> list[str]:
        rows = conn.execute(select(RULES)).all()
        return [row.id for row in rows if getattr(row.body, member) == wanted]

    def _no_rule(self, conn: Connection, name: str) -> PilotError:
        known = list(conn.execute(select(RULES.c.id).order_by(RULES.c.id)).scalars())
        near = suggest(name, known)
        hint = f"did you mean {near}?" if near else "`pilotctl rule list` has them"
        return refusal("not-found", f"there is no rule {name[:80]!a}", mend=hint)


def _keep(conn: Connection, name: str, text: str, body: DetectionRule) -> None:
    row = {"id": name, "text": text, "body": body}
    insert_or_update(conn, RULES, row, changed=("text", "body"))


def _body(row: Row[Any]) -> DetectionRule:
    found: DetectionRule = row.body
    return found


def _record(  # noqa: PLR0917 - what an event says
    conn: Connection,
    action: str,
    rule: DetectionRule,
    actor: str,
    at: datetime,
    reason: str,
    *,
    before: DetectionRule | None = None,
    ask: Ask | None = None,
    outcome: str = "success",
    weaker: Sequence[str] = (),
) -> None:
    emit(
        conn,
        event(
            action,
            service="audit",
            actor=actor,
            kind="rule",
            target=rule.id,
            name=rule.title or rule.id,
            outcome=outcome,
            reason=reason,
            request_id=ask.request_id if ask else "",
            before=before,
            after=rule,
            facts={"weakened": list(weaker)} if weaker else None,
            at=at,
        ),
    )
