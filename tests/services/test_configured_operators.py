"""The operators of `pilot.toml`: named, changed, removed, named again; never without an admin."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection

from console.errors import ExitCode, PilotError
from console.model.account import REMOVED
from console.model.operator import Operator
from console.model.text import now
from console.services import settings
from console.services.gateway.control.migrations import STEPS as GATEWAY_STEPS
from console.services.operators import accounts, roster_store
from console.services.operators.configured import sync_configured_operators
from console.services.operators.identities import Identities
from console.services.operators.roster import Mark
from console.services.owner.owner_acts import Owner
from console.services.policy.migrations import STEPS
from console.services.store import Store
from console.services.store.outbox import after
from console.services.supervisor import start
from console.services.supervisor.admins import (
    operators_of,
    refuse_without_admin,
    restricted_admins,
)

ME = pwd.getpwuid(os.geteuid()).pw_name
OTHER = next(each.pw_name for each in pwd.getpwall() if each.pw_name != ME)


def named(name: str, *roles: str) -> Operator:
    return Operator(name=name, uid=pwd.getpwnam(name).pw_uid, roles=list(roles))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "policy.db", STEPS, durable=False)
    yield opened
    opened.close()


class File:
    """A pilot.toml that is edited, and what policy makes of it at each start."""

    def __init__(self, store: Store) -> None:
        self.store, self.told = store, 0

    def start(self, *operators: Operator, by_default: bool = False) -> list[tuple[str, str]]:
        """Start with these operators; return the events of it: action and whom."""
        self.identities = Identities("policy", operators)
        self.store.write_now(
            lambda conn: sync_configured_operators(conn, operators, now(), by_default=by_default)
        )
        self.store.read_now(self.identities.refresh)
        page = self.store.read_now(lambda conn: after(conn, self.told, 100))
        self.told = page.head
        return [_action(each.body) for each in page.items]

    def state(self, name: str) -> str:
        found = self.store.read_now(lambda conn: accounts.find(conn, name))
        assert found is not None
        return found.state

    def lets_in(self, name: str) -> bool:
        try:
            self.identities.directory.caller(pwd.getpwnam(name).pw_uid, "", now())
        except PilotError:
            return False
        return True


def _action(body: str) -> tuple[str, str]:
    told = json.loads(body)["unmapped"]
    assert told["actor"] == "system"
    return told["action"], told["target"]


def test_who_is_removed_from_the_file_is_cut_and_let_in_again_when_named_again(
    store: Store,
) -> None:
    file = File(store)
    assert file.start(named(ME, "admin"), by_default=True) == []
    assert file.start(named(ME, "admin"), by_default=True) == []
    assert file.start(named(ME, "admin"), named(OTHER, "admin")) == [("operator.add", OTHER)]
    assert file.start(named(ME, "admin")) == [("operator.cut", OTHER)]
    assert (file.state(OTHER), file.lets_in(OTHER)) == ("cut", False)
    assert file.start(named(ME, "admin"), named(OTHER, "viewer")) == [("operator.restore", OTHER)]
    assert (file.state(OTHER), file.lets_in(OTHER)) == ("active", True)
    assert file.start(named(ME, "admin"), named(OTHER, "auditor")) == [("operator.set", OTHER)]
    assert file.start(named(ME, "admin"), named(OTHER, "auditor")) == []
    assert file.start(named(OTHER, "admin")) == [("operator.set", OTHER), ("operator.cut", ME)]


def test_a_cut_that_a_person_made_outlives_the_file(store: Store) -> None:
    file = File(store)
    both = named(ME, "admin"), named(OTHER, "admin")
    file.start(*both)
    mark = Mark(name=OTHER, generation=0, kind="cut", at=now(), by=ME, reason=REMOVED)
    store.write_now(lambda conn: accounts.learn(conn, [mark]))
    assert file.start(named(ME, "admin")) == [("operator.set", OTHER)]
    assert file.start(*both) == [("operator.set", OTHER)]
    assert (file.state(OTHER), file.lets_in(OTHER)) == ("cut", False)


def test_a_service_lets_nobody_in_who_is_gone_from_the_file_before_policy_says_so(
    store: Store,
) -> None:
    file = File(store)
    file.start(named(ME, "admin"), named(OTHER, "admin"))
    told = store.read_now(roster_store.roster)
    gateway = Identities("gateway", [named(ME, "admin")])
    gateway.take(told, ())
    assert gateway.entry(OTHER) is None


def test_up_refuses_operators_without_an_admin_and_says_who_is_what(tmp_path: Path) -> None:
    home = settings.prepare(tmp_path / "home")
    home.config.write_text(f'[[operators]]\nname = "{OTHER}"\nroles = ["responder"]\n')
    with pytest.raises(PilotError) as caught:
        start(home.path)
    assert (caught.value.code, caught.value.exit) == ("no-admin", ExitCode.USAGE)
    assert f"{OTHER}: responder" in caught.value.message
    assert not home.store("policy").exists()
    with home.config.open("a") as file:
        file.write(f'[[operators]]\nname = "{ME}"\nroles = ["admin"]\n')
    read = settings.load(home.path)
    refuse_without_admin(read)
    assert operators_of(read).endswith(f"{OTHER}: responder; {ME}: admin")


def test_an_admin_who_is_not_in_the_file_is_one(tmp_path: Path) -> None:
    home = settings.prepare(tmp_path / "home")
    home.config.write_text(f'[[operators]]\nname = "{OTHER}"\nroles = ["responder"]\n')
    read = settings.load(home.path)
    store = Store.open(home.store("policy"), STEPS, durable=False)
    File(store).start(named(OTHER, "responder"))
    with pytest.raises(PilotError, match="no admin"):
        refuse_without_admin(read)

    def add(conn: Connection) -> None:
        account = accounts.find(conn, OTHER)
        assert account is not None
        other = msgspec.structs.replace(account, slug="mara", roles=["admin"], standing=False)
        accounts.save(conn, other)

    store.write_now(add)
    store.close()
    refuse_without_admin(read)


@pytest.mark.parametrize(("kind", "verb"), [("cut", "restore"), ("frozen", "thaw")])
@pytest.mark.parametrize("at", ["policy", "gateway"])
def test_up_says_that_the_only_admin_was_restricted_and_what_the_owner_does(
    tmp_path: Path, kind: str, verb: str, at: str
) -> None:
    home = settings.prepare(tmp_path / "home")
    home.config.write_text(
        f'[[operators]]\nname = "{ME}"\nroles = ["admin"]\n'
        f'[[operators]]\nname = "{OTHER}"\nroles = ["responder"]\n'
    )
    steps = {"policy": STEPS, "gateway": GATEWAY_STEPS}
    with ExitStack() as opened:
        stores = {
            name: opened.enter_context(closing(Store.open(home.store(name), each, durable=False)))
            for name, each in steps.items()
        }
        file = File(stores["policy"])
        file.start(*settings.load(home.path).operators)
        assert not restricted_admins(settings.load(home.path))
        mark = Mark(name=ME, generation=0, kind=kind, at=now(), by=OTHER, reason="tests")
        learn = accounts.learn if at == "policy" else roster_store.add_all
        stores[at].write_now(lambda conn: learn(conn, [mark]))
    read = settings.load(home.path)
    refuse_without_admin(read)  # closings must go on: a restart is not kept from anybody
    said = restricted_admins(read)
    assert f"{ME} is {kind}" in said
    assert f"pilotctl owner {verb} {ME} --home {home.path}" in said
    owner = Owner(home)
    asyncio.run((owner.thaw if verb == "thaw" else owner.restore)(ME, "tests"))
    assert not restricted_admins(settings.load(home.path))


def test_an_admin_who_left_the_file_and_is_named_again_is_one(tmp_path: Path) -> None:
    home = settings.prepare(tmp_path / "home")
    home.config.write_text(f'[[operators]]\nname = "{ME}"\nroles = ["admin"]\n')
    with closing(Store.open(home.store("policy"), STEPS, durable=False)) as store:
        file = File(store)
        file.start(named(ME, "admin"), named(OTHER, "admin"))
        file.start(named(OTHER, "admin"))
        assert file.state(ME) == "cut"
    refuse_without_admin(settings.load(home.path))


@pytest.mark.parametrize("name", ["system", "service", "break-glass", "break-glass-1"])
def test_the_file_cannot_give_a_person_a_name_that_pilotctl_acts_by(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.struct_passwd((name, "x", 4242, 4242, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: user)
    settings.prepare(tmp_path).config.write_text(
        f'[[operators]]\nname = "{name}"\nroles = ["admin"]\n'
    )
    with pytest.raises(PilotError, match="pilotctl itself acts by"):
        settings.load(tmp_path)
