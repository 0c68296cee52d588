"""The accounts, as policy keeps them: added, given roles and tokens, cut off, let in again."""

from __future__ import annotations

import pwd
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select

from console.api import operators as routes
from console.api.problems import refusal
from console.errors import PilotError
from console.model.account import (
    BREAK_GLASS_NAME,
    AccountKind,
    AccountState,
    IssuedToken,
    NewOperator,
    OperatorAccount,
    OperatorToken,
    SetOperator,
    is_reserved,
)
from console.model.ids import new_id
from console.model.operator import Role, may
from console.model.stored import Page
from console.parsing.suggest import suggest
from console.services.events import event
from console.services.operators import owner, roster_store
from console.services.operators.identities import Identities
from console.services.operators.roster import (
    Entry,
    Mark,
    Roster,
    RosterToken,
    roles_of_break_glass,
)
from console.services.operators.tables import ACCOUNTS, TOKENS
from console.services.secret_shapes import BREAK_GLASS_PREFIX, TOKEN_PREFIX
from console.services.store import emit
from console.services.store.upsert import insert_or_update
from console.services.web import Ask, Web, fresh, page
from console.services.web.callers import hash_of

USED_EVERY = timedelta(minutes=1)
"""An account that is used all the time is written this often, and not at each call."""


Tell = Callable[[], Awaitable[list[str]]]
"""Make every service decide by what is kept now; return the names of those that do not yet."""


Handler = Callable[[Connection, Ask], OperatorAccount | IssuedToken]


async def alone() -> list[str]:
    """Tell nobody: there is no other service."""
    return []


def mount(web: Web, identities: Identities, tell: Tell = alone) -> None:
    """Serve the routes that policy alone has. A change is answered once it was told."""
    web.mount(routes.OPERATOR_LIST, listing)
    web.mount(routes.OPERATOR_SHOW, show)
    for route, handler in (
        (routes.OPERATOR_ADD, partial(add, identities)),
        (routes.OPERATOR_SET, change),
        (routes.OPERATOR_RESTORE, restore),
        (routes.OPERATOR_THAW, thaw),
        (routes.OPERATOR_TOKEN, issue),
        (routes.BREAK_GLASS_SEAL, seal),
    ):
        web.mount(route, partial(_and_tell, handler, tell))


def of_owner(tell: Tell = alone) -> Mapping[str, owner.Change]:
    """Return the verbs that the pilot's owner has at policy."""
    return {
        "restore": partial(_and_tell, restore, tell),
        "thaw": partial(_and_tell, thaw, tell),
    }


def _and_tell(
    handler: Handler, tell: Tell, conn: Connection, ask: Ask
) -> OperatorAccount | IssuedToken:
    async def told(answer: OperatorAccount | IssuedToken) -> OperatorAccount | IssuedToken:
        unaware = await tell()
        if isinstance(answer, OperatorAccount):
            return msgspec.structs.replace(answer, unaware=unaware)
        account = msgspec.structs.replace(answer.account, unaware=unaware)
        return msgspec.structs.replace(answer, account=account)

    ask.complete(told)
    return handler(conn, ask)


def listing(conn: Connection, ask: Ask) -> Page[OperatorAccount]:
    """Answer `operator list`, the newest first."""
    query = select(ACCOUNTS)
    for name in ("kind", "state"):
        if wanted := ask.query.get(name):
            query = query.where(ACCOUNTS.c[name] == wanted)
    found = page(
        conn, query, ask, keys=[ACCOUNTS.c.created_at.desc(), ACCOUNTS.c.name],
        decode=lambda row: row.body,
    )  # fmt: skip
    if role := ask.query.get("role"):
        found = msgspec.structs.replace(
            found, items=[each for each in found.items if role in each.roles]
        )
    return found


def show(conn: Connection, ask: Ask) -> OperatorAccount:
    """Answer `operator show`."""
    return _account(conn, ask.path["operator"])


def add(identities: Identities, conn: Connection, ask: Ask) -> OperatorAccount:
    """Answer `operator add`."""
    body: NewOperator = ask.body
    if is_reserved(body.name):
        raise refusal("invalid", f"name: {body.name} is a name that pilotctl itself acts by",
                      mend="choose another name")  # fmt: skip
    if find(conn, body.name) or identities.entry(body.name):
        raise refusal("exists", f"there is an operator {body.name} already")
    if body.kind is AccountKind.BREAK_GLASS:
        raise refusal(
            "refused", "a break-glass account is sealed, not added",
            mend="pilotctl break-glass seal",
        )  # fmt: skip
    uid = _uid(body.user)
    if uid is not None and any(
        each.user and _uid(each.user) == uid and each.state != AccountState.CUT
        for each in conn.execute(select(ACCOUNTS.c.body)).scalars()
    ):
        raise refusal("exists", f"the OS user {body.user} is another operator already")
    account = OperatorAccount(
        id=new_id("operator"), created_at=ask.now, created_by=ask.operator.name,
        updated_at=ask.now, updated_by=ask.operator.name, slug=body.name, kind=body.kind.value,
        user=body.user, roles=sorted({each.value for each in body.roles}),
        groups=sorted(set(body.groups)), state=AccountState.ACTIVE.value,
    )  # fmt: skip
    save(conn, account)
    _record(conn, ask, "operator.add", account)
    publish(conn)
    return account


def change(conn: Connection, ask: Ask) -> OperatorAccount:
    """Answer `operator set`: other roles, or other groups."""
    body: SetOperator = ask.body
    before = _living(conn, ask)
    if before.standing:
        raise refusal(
            "refused", f"{before.slug} is named in pilot.toml: its roles are changed there",
            mend="edit [[operators]] in pilot.toml, then pilotctl down and up",
        )  # fmt: skip
    if before.kind == AccountKind.BREAK_GLASS:
        raise refusal("refused", "a break-glass account can only close; that cannot be changed")
    roles = before.roles if body.roles is None else sorted({each.value for each in body.roles})
    groups = before.groups if body.groups is None else sorted(set(body.groups))
    after = _changed(before, ask, roles=roles, groups=groups)
    save(conn, after)
    _record(conn, ask, "operator.set", after, before)
    publish(conn)
    return after


def restore(conn: Connection, ask: Ask) -> OperatorAccount:
    """Answer `operator restore`: a new generation of the account, without its old tokens."""
    before = _account(conn, ask.path["operator"])
    fresh(ask, before)
    if before.kind == AccountKind.BREAK_GLASS:
        raise refusal("refused", "a spent break-glass account stays so",
                      mend="pilotctl break-glass seal")  # fmt: skip
    if before.state == AccountState.ACTIVE:
        return before
    if before.state == AccountState.FROZEN:
        raise refusal("state", f"{before.slug} is frozen, not cut off",
                      mend=f"pilotctl operator thaw {before.slug}")  # fmt: skip
    after = _changed(
        before, ask, state=state_let_in(conn, before).value, state_reason="", tokens=[],
        generation=before.generation + 1,
    )  # fmt: skip
    save(conn, after)
    _record(conn, ask, "operator.restore", after, before)
    publish(conn)
    return after


def thaw(conn: Connection, ask: Ask) -> OperatorAccount:
    """Answer `operator thaw`: the account may do everything again, with its tokens."""
    before = _account(conn, ask.path["operator"])
    fresh(ask, before)
    if before.state == AccountState.ACTIVE and not _is_marked_frozen(conn, before):
        return before
    if before.state == AccountState.CUT:
        raise refusal("state", f"{before.slug} was cut off, not frozen",
                      mend=f"pilotctl operator restore {before.slug}")  # fmt: skip
    after = _changed(
        before, ask, state=AccountState.ACTIVE.value, state_reason="", thaws=before.thaws + 1
    )
    save(conn, after)
    _record(conn, ask, "operator.thaw", after, before)
    publish(conn)
    return after


def state_let_in(conn: Connection, account: OperatorAccount) -> AccountState:
    """Return the state of an account that is let in again: a freeze outlives a cut.

    The services keep the mark of a freeze until a thaw, which is a verb of its own.
    """
    return AccountState.FROZEN if _is_marked_frozen(conn, account) else AccountState.ACTIVE


def _is_marked_frozen(conn: Connection, account: OperatorAccount) -> bool:
    return roster_store.has(conn, "frozen", account.slug, account.thaws)


def issue(conn: Connection, ask: Ask) -> IssuedToken:
    """Answer `operator token`. The token exists in this answer and nowhere else."""
    before = _living(conn, ask)
    if before.kind == AccountKind.BREAK_GLASS:
        raise refusal("refused", "a break-glass account has its one token",
                      mend="pilotctl break-glass seal --replace")  # fmt: skip
    after, token, raw = _with_token(conn, ask, before, TOKEN_PREFIX, replace=ask.body.replace)
    _record(conn, ask, "operator.token", after, before)
    publish(conn)
    return IssuedToken(account=after, token=token, secret=raw)


def seal(conn: Connection, ask: Ask) -> IssuedToken:
    """Answer `break-glass seal`: an account that can only close, for the worst night."""
    replaced = []
    if ask.body.replace:
        for each in conn.execute(select(ACCOUNTS.c.body)).scalars().all():
            if each.kind == AccountKind.BREAK_GLASS and each.state != AccountState.CUT:
                mark = _mark(each, ask.operator.name, "replaced", ask)
                roster_store.add(conn, [mark])
                learn(conn, [mark])
                replaced.append(each.slug)
    count = len(conn.execute(select(ACCOUNTS.c.name).where(
        ACCOUNTS.c.kind == AccountKind.BREAK_GLASS.value)).all())  # fmt: skip
    plain = OperatorAccount(
        id=new_id("operator"), created_at=ask.now, created_by=ask.operator.name,
        updated_at=ask.now, updated_by=ask.operator.name, slug=f"{BREAK_GLASS_NAME}{count + 1}",
        kind=AccountKind.BREAK_GLASS.value, user="", roles=roles_of_break_glass(), groups=[],
        state=AccountState.ACTIVE.value,
    )  # fmt: skip
    account, token, raw = _with_token(conn, ask, plain, BREAK_GLASS_PREFIX, replace=False)
    _record(conn, ask, "break-glass.seal", account, facts={"replaced": replaced})
    publish(conn)
    return IssuedToken(account=account, token=token, secret=raw)


def learn(conn: Connection, marks: Iterable[Mark]) -> None:
    """Take over what any service says for ever of an account: that it was cut, or used."""
    changed = False
    for mark in marks:
        account = find(conn, mark.name)
        if account is None:
            continue
        if mark.kind == "frozen":
            if account.thaws == mark.generation:
                roster_store.add(conn, [mark])
                changed |= _frozen(conn, account, mark)
        elif account.generation != mark.generation:
            continue
        elif mark.kind == "used":
            _used(conn, account, mark)
        else:
            roster_store.add(conn, [mark])
            changed |= _cut(conn, account, mark)
    if changed:
        publish(conn)


def _cut(conn: Connection, account: OperatorAccount, mark: Mark) -> bool:
    """Take over that an account was cut off; tell whether that is new."""
    if account.state == AccountState.CUT:
        return False
    conn.execute(delete(TOKENS).where(TOKENS.c.name == account.slug))
    save(conn, _marked(account, AccountState.CUT, mark, tokens=[]))
    return True


def _frozen(conn: Connection, account: OperatorAccount, mark: Mark) -> bool:
    """Take over that an account was frozen; tell whether that is new."""
    if account.state != AccountState.ACTIVE:
        return False
    save(conn, _marked(account, AccountState.FROZEN, mark))
    return True


def _marked(
    account: OperatorAccount, state: AccountState, mark: Mark, **members: Any
) -> OperatorAccount:
    return msgspec.structs.replace(
        account, state=state.value, updated_at=mark.at, updated_by=mark.by,
        revision=account.revision + 1, state_reason=mark.reason[:200], **members,
    )  # fmt: skip


def _used(conn: Connection, account: OperatorAccount, mark: Mark) -> None:
    """Take over when an account was used: a break-glass account's first use holds for ever."""
    at = account.used_at
    if account.kind == AccountKind.BREAK_GLASS:
        roster_store.add(conn, [mark])
        new = at is None
    else:
        new = at is None or mark.at - at >= USED_EVERY
    if new:
        save(conn, msgspec.structs.replace(account, used_at=mark.at))


def _with_token(
    conn: Connection, ask: Ask, account: OperatorAccount, prefix: str, *, replace: bool
) -> tuple[OperatorAccount, OperatorToken, str]:
    raw = prefix + secrets.token_urlsafe(32)
    ends_at = ask.body.ends_at
    if ends_at is not None and ends_at <= ask.now:
        raise refusal("invalid", "the token would have ended already")
    token = OperatorToken(
        id=new_id("token"), hint=raw[-4:], created_at=ask.now, created_by=ask.operator.name,
        ends_at=ends_at,
    )  # fmt: skip
    if replace:
        conn.execute(delete(TOKENS).where(TOKENS.c.name == account.slug))
    row = {"id": token.id, "name": account.slug, "sha256": hash_of(raw), "ends_at": ends_at}
    conn.execute(TOKENS.insert().values(row))
    after = _changed(account, ask, tokens=[*([] if replace else account.tokens), token])
    save(conn, after)
    return after, token, raw


def _account(conn: Connection, name: str) -> OperatorAccount:
    found = find(conn, name)
    if found is None:
        names = list(conn.execute(select(ACCOUNTS.c.name)).scalars())
        near = suggest(name, names)
        hint = f": did you mean {near}?" if near else ""
        raise refusal("not-found", f"there is no operator {name}{hint}",
                      mend="pilotctl operator list")  # fmt: skip
    return found


def _living(conn: Connection, ask: Ask) -> OperatorAccount:
    account = _account(conn, ask.path["operator"])
    fresh(ask, account)
    if account.state == AccountState.CUT:
        raise refusal("state", f"{account.slug} was cut off",
                      mend=f"pilotctl operator restore {account.slug}")  # fmt: skip
    return account


def people(conn: Connection, role: Role) -> list[OperatorAccount]:
    """Return the people whose account has what asks for `role`, by name.

    Not who was cut off; who is frozen is one of them, since a thaw lets them act again.
    """
    query = (
        select(ACCOUNTS.c.body)
        .where(
            ACCOUNTS.c.state != AccountState.CUT.value,
            ACCOUNTS.c.kind == AccountKind.PERSON.value,
        )
        .order_by(ACCOUNTS.c.name)
    )
    return [each for each in conn.execute(query).scalars() if may(each.roles, role)]


def find(conn: Connection, name: str) -> OperatorAccount | None:
    """Return an account by its name, None where there is none."""
    body: OperatorAccount | None = conn.execute(
        select(ACCOUNTS.c.body).where(ACCOUNTS.c.name == name)
    ).scalar_one_or_none()
    return body


def _changed(account: OperatorAccount, ask: Ask, **members: Any) -> OperatorAccount:
    return msgspec.structs.replace(
        account, revision=account.revision + 1, updated_at=ask.now, updated_by=ask.operator.name,
        **members,
    )  # fmt: skip


def save(conn: Connection, account: OperatorAccount) -> None:
    """Keep an account as it is now. `publish` makes the services decide by it."""
    row = {
        "name": account.slug, "kind": account.kind, "state": account.state,
        "created_at": account.created_at, "body": account,
    }  # fmt: skip
    insert_or_update(conn, ACCOUNTS, row, changed=("kind", "state", "body"))


def publish(conn: Connection, *, after: int = 0) -> None:
    """Make the next roster of what is kept now: every service decides by it from then on.

    It is newer than number `after` too. Nothing is made where it would say nothing new.
    """
    before, now = roster_store.roster(conn), entries(conn)
    newest = max(after, before.sequence)
    if now != before.entries or newest > before.sequence:
        roster_store.keep(conn, Roster(sequence=newest + 1, entries=now))


def entries(conn: Connection) -> list[Entry]:
    """Return every account as the services are to know it, by name."""
    tokens: dict[str, list[RosterToken]] = {}
    for row in conn.execute(select(TOKENS)):
        held = RosterToken(id=row.id, hint="", sha256=row.sha256, ends_at=row.ends_at)
        tokens.setdefault(row.name, []).append(held)
    found = []
    for each in conn.execute(select(ACCOUNTS.c.body).order_by(ACCOUNTS.c.name)).scalars():
        hints = {token.id: token.hint for token in each.tokens}
        mine = [
            msgspec.structs.replace(token, hint=hints.get(token.id, ""))
            for token in tokens.get(each.slug, [])
        ]
        found.append(
            Entry(
                name=each.slug, kind=each.kind, uid=_uid_or_none(each), roles=each.roles,
                groups=each.groups, generation=each.generation, tokens=mine,
                thaws=each.thaws, standing=each.standing,
            )
        )  # fmt: skip
    return found


def _mark(account: OperatorAccount, by: str, reason: str, ask: Ask) -> Mark:
    return Mark(
        name=account.slug, generation=account.generation, kind="cut", at=ask.now, by=by,
        reason=reason,
    )  # fmt: skip


def _uid(user: str) -> int | None:
    """Return the id of an OS user; None for no name. Raises the problem `invalid`."""
    if not user:
        return None
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise refusal("invalid", f"there is no user {user!r} on this machine") from None


def _uid_or_none(account: OperatorAccount) -> int | None:
    if account.state == AccountState.CUT:
        return None
    try:
        return _uid(account.user)
    except PilotError:
        return None


def _record(
    conn: Connection,
    ask: Ask,
    action: str,
    account: OperatorAccount,
    before: OperatorAccount | None = None,
    *,
    facts: dict[str, Any] | None = None,
) -> None:
    told = owner.told(ask.operator)
    emit(
        conn,
        event(
            action, service="policy", actor=ask.operator.name, kind="operator",
            target=account.slug, name=account.slug, reason=ask.body.reason,
            request_id=ask.request_id, at=ask.now, before=before, after=account,
            severity=told["severity"], facts={**(told["facts"] or {}), **(facts or {})} or None,
        ),
    )  # fmt: skip


def take(conn: Connection, account: OperatorAccount) -> None:
    """Store an account as it is given: of its tokens only those that it lists stay."""
    ids = [each.id for each in account.tokens]
    conn.execute(delete(TOKENS).where(TOKENS.c.name == account.slug, TOKENS.c.id.not_in(ids)))
    save(conn, account)
