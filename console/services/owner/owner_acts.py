"""What the owner does at the machine, with the services up or down.

Each service is asked at its socket; one that does not answer is down, and its store is
written here by the very function that it would have run. SQLite keeps the two apart.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, select

from console.api.route import Api
from console.errors import ExitCode, PilotError
from console.model.account import OperatorAccount, OperatorCut, ServiceCut
from console.model.ids import new_id
from console.model.text import now
from console.services import settings
from console.services.audit.migrations import STEPS as AUDIT_STEPS
from console.services.client import Client
from console.services.gateway.control.migrations import STEPS as GATEWAY_STEPS
from console.services.operators import accounts, owner, roster_store
from console.services.operators.cutoff import CUT, FREEZE, ROSTER_PATH, Learn, Restrictions
from console.services.operators.identities import Identities
from console.services.operators.roster import Mark, Roster
from console.services.operators.roster_push import whole
from console.services.operators.tables import ACCOUNTS
from console.services.policy.migrations import STEPS as POLICY_STEPS
from console.services.settings import Home, Settings
from console.services.store import Step, Store
from console.services.web import Ask

T = TypeVar("T")

ASK_SECONDS = 5.0
"""How long a service may take before its store is written without it."""


class _Place(NamedTuple):
    api: Api
    steps: Sequence[Step]
    learn: Learn


_PLACES = (
    _Place("gateway", GATEWAY_STEPS, roster_store.add_all),
    _Place("policy", POLICY_STEPS, accounts.learn),
    _Place("audit", AUDIT_STEPS, roster_store.add_all),
)
_POLICY = _PLACES[1]


_KINDS = {CUT.mark, FREEZE.mark}


def _key(mark: Mark) -> tuple[str, str, int]:
    return mark.kind, mark.name, mark.generation


class Owner:
    """The owner of one pilot, at its machine. Raises `PilotError` for anybody else."""

    def __init__(self, home: Home) -> None:
        _refuse_others(home)
        self._settings: Settings = settings.load(home.path)
        self._home = self._settings.home

    async def cut(self, name: str, reason: str) -> OperatorCut:
        """Cut an operator off at every service."""
        said = []
        for place in _PLACES:
            try:
                said.append(await self._act(place, "cut", name, reason, ServiceCut))
            except PilotError as error:
                if error.code == "not-found" and place is _POLICY:
                    raise
                why = error.message
                said.append(ServiceCut(service=place.api, state="unknown", why=why))
        state = "cut" if all(each.state == "cut" for each in said) else "partial"
        return OperatorCut(operator=name, state=state, services=said)

    async def thaw(self, name: str, reason: str) -> OperatorAccount:
        """Let an operator who was frozen do everything again."""
        return await self._open("thaw", name, reason)

    async def restore(self, name: str, reason: str) -> OperatorAccount:
        """Let an operator in again who was cut off."""
        return await self._open("restore", name, reason)

    def accounts(self) -> list[OperatorAccount]:
        """Return every account, by name."""
        query = select(ACCOUNTS.c.body).order_by(ACCOUNTS.c.name)
        with _Opened(self._home, _POLICY) as store:
            return store.read_now(lambda conn: list(conn.execute(query).scalars()))

    async def _open(self, verb: str, name: str, reason: str) -> OperatorAccount:
        """Change the account at policy, then tell the others what policy keeps now."""
        self._learn()
        account = await self._act(_POLICY, verb, name, reason, OperatorAccount)
        with _Opened(self._home, _POLICY) as store:
            told = store.read_now(whole)
        for place in _PLACES:
            if place is not _POLICY:
                await self._tell(place, told)
        return account

    def _learn(self) -> None:
        """Let policy know of restrictions that another service took while policy was down."""
        found: set[Mark] = set()
        for place in _PLACES:
            if place is not _POLICY and self._home.store(place.api).exists():
                with _Opened(self._home, place) as store:
                    found |= set(store.read_now(roster_store.marks))
        with _Opened(self._home, _POLICY) as store:
            known = {_key(each) for each in store.read_now(roster_store.marks)}
            new = [each for each in found if each.kind in _KINDS and _key(each) not in known]
            if new:
                store.write_now(lambda conn: accounts.learn(conn, new))

    async def _act(self, place: _Place, verb: str, name: str, reason: str, answer: type[T]) -> T:
        order = owner.OwnerOrder(reason=reason)
        path = owner.path_of(verb, name)

        def directly() -> T:
            identities = Identities(place.api, self._settings.operators)
            restrictions = Restrictions(identities, place.learn, lambda: None)
            changes: dict[str, Callable[[Connection, Ask], Any]] = {
                "cut": restrictions.cut, "restore": accounts.restore, "thaw": accounts.thaw,
            }  # fmt: skip
            asked = _asked(place.api, name, order)
            return cast("T", self._write(place, lambda conn: changes[verb](conn, asked)))

        return await self._at(place, path, order, answer, directly)

    async def _tell(self, place: _Place, told: Roster) -> None:
        await self._at(
            place, ROSTER_PATH, told, Roster,
            lambda: self._write(place, lambda conn: roster_store.keep(conn, told)),
        )  # fmt: skip

    async def _at(
        self, place: _Place, path: str, body: Any, answer: type[T], directly: Callable[[], Any]
    ) -> T:
        """Ask a service, or do it in its store where nobody answers."""
        try:
            async with Client(socket=self._home.socket(place.api)) as client:
                return await client.send("PUT", path, body, answer, timeout=ASK_SECONDS)
        except PilotError as error:
            if error.exit is not ExitCode.UNAVAILABLE:
                raise
        return cast("T", directly())

    def _write(self, place: _Place, change: Callable[[Connection], T]) -> T:
        with _Opened(self._home, place) as store:
            return store.write_now(change)


class _Opened:
    """A service's store, opened beside the service where that still runs."""

    def __init__(self, home: Home, place: _Place) -> None:
        self._path, self._steps = home.store(place.api), place.steps

    def __enter__(self) -> Store:
        self._store = Store.open(self._path, self._steps, readers=1)
        return self._store

    def __exit__(self, *_error: object) -> None:
        self._store.close()


def _asked(api: Api, name: str, order: owner.OwnerOrder) -> Ask:
    """Return the request that the owner makes, for a service's own functions."""
    by = owner.operator()
    return Ask(
        service=api,
        route=None,
        operator=by,
        uid=by.uid,
        path={"operator": name},
        query={},
        body=order,
        raw=b"",
        revision=None,
        request_id=new_id("request"),
        validate_only=False,
        now=now(),
        request=cast("Any", None),
    )


def _refuse_others(home: Home) -> None:
    """Refuse whoever does not own the folder, and a folder that holds no pilot."""
    try:
        uid = home.path.stat().st_uid
        there = home.store("policy").exists()
    except OSError:
        uid, there = os.geteuid(), False
    if uid != os.geteuid():
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"the user id {uid}"
        raise PilotError(
            "not-the-owner",
            f"{home.path} belongs to {name}: only they may do this",
            exit=ExitCode.REFUSED,
            hint=f"sudo -u {name} pilotctl owner ...",
        )
    if not there:
        raise PilotError(
            "no-pilot",
            f"there is no pilot in {home.path}",
            exit=ExitCode.NOT_FOUND,
            hint="name its state folder with --home, or PILOTCTL_HOME",
        )
