"""What is shown of an operator is what every service enforces, whatever was done to them."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from console.errors import PilotError
from console.model.account import FreezeOperator
from console.model.operator import Operator
from console.model.text import now
from console.services.audit import migrations as audit
from console.services.gateway.control import migrations as gateway
from console.services.operators import accounts, cutoff, roster_push, roster_store
from console.services.operators.configured import sync_configured_operators
from console.services.operators.identities import Identities
from console.services.policy import migrations as policy
from console.services.store import Store
from console.services.web import Ask

ME = pwd.getpwuid(os.geteuid()).pw_name
EVE = next(each.pw_name for each in pwd.getpwall() if each.pw_name != ME)
STEPS = {"policy": policy.STEPS, "gateway": gateway.STEPS, "audit": audit.STEPS}
ADMIN = Operator(name=ME, uid=os.geteuid(), roles=["admin"])
NAMED = Operator(name=EVE, uid=pwd.getpwnam(EVE).pw_uid, roles=["operator"])

ACTS = st.one_of(
    st.sampled_from(["name", "remove", "restore", "thaw"]),
    st.tuples(st.sampled_from(["freeze", "cut"]), st.sampled_from(list(STEPS))),
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stores of the three services, as they are made."""
    folder = tmp_path_factory.mktemp("empty")
    for name, steps in STEPS.items():
        Store.open(folder / f"{name}.db", steps).close()
    return folder


class Pilot:
    """The stores of the three services, copied from `empty`, and what each decides by."""

    def __init__(self, empty: Path, folder: Path, stack: ExitStack) -> None:
        shutil.copytree(empty, folder, dirs_exist_ok=True)
        self.stores = {
            name: Store.open(folder / f"{name}.db", steps, durable=False)
            for name, steps in STEPS.items()
        }
        for store in self.stores.values():
            stack.callback(store.close)
        self.start(NAMED)

    def start(self, *more: Operator) -> None:
        """Start with these operators in `pilot.toml` beside the admin."""
        self.identities = {name: Identities(name, [ADMIN, *more]) for name in STEPS}
        self.stores["policy"].write_now(
            lambda conn: sync_configured_operators(conn, [ADMIN, *more], now())
        )
        assert self.enforced("policy") == self.shown()
        self.spread()

    def spread(self) -> None:
        """Let policy tell the other services its roster, and learn their marks."""
        home = self.stores["policy"]
        for _ in range(2):
            told = home.read_now(roster_push.whole)
            for name, store in self.stores.items():
                store.write_now(partial(roster_store.keep, told=told))
                marks = store.read_now(roster_store.marks)
                home.write_now(partial(accounts.learn, marks=marks))
                store.read_now(self.identities[name].refresh)

    def do(self, act: str | tuple[str, str]) -> None:
        """Do it as an admin, and let every service hear of it. A refusal is one."""
        if act in {"name", "remove"}:
            self.start(*([NAMED] if act == "name" else []))
            return
        name, service = act if isinstance(act, tuple) else (act, "policy")
        if name in {"freeze", "cut"}:
            learn = accounts.learn if service == "policy" else roster_store.add_all
            restrictions = cutoff.Restrictions(self.identities[service], learn, lambda: None)
            handler = getattr(restrictions, name)
        else:
            handler = getattr(accounts, name)
        ask = Ask(
            service=service, route=None, operator=ADMIN, uid=0, path={"operator": EVE}, query={},
            body=FreezeOperator(reason="tests"), raw=b"", revision=None, request_id="rid",
            validate_only=False, now=now(), request=cast("Any", None),
        )  # fmt: skip
        try:
            self.stores[service].write_now(lambda conn: handler(conn, ask))
        except PilotError as error:
            assert error.code in {"state", "not-found"}  # noqa: PT017 - any other is a failure
        self.spread()

    def shown(self) -> str:
        found = self.stores["policy"].read_now(lambda conn: accounts.find(conn, EVE))
        assert found is not None
        return found.state

    def enforced(self, service: str) -> str:
        """Return what a service makes of her in the transaction of a request."""
        directory = self.stores[service].read_now(self.identities[service].directory_in)
        entry = directory.entry(EVE)
        if entry is None or directory.is_cut(entry):
            return "cut"
        return "frozen" if directory.is_frozen(entry) else "active"


def test_a_thaw_ends_the_freeze_of_one_who_was_stored_as_active_meanwhile(
    empty: Path,
) -> None:
    with ExitStack() as stack:
        pilot = Pilot(empty, Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)
        pilot.do(("freeze", "gateway"))

        def store_as_active(conn: Connection) -> None:
            account = accounts.find(conn, EVE)
            assert account is not None
            accounts.save(conn, msgspec.structs.replace(account, state="active"))

        pilot.stores["policy"].write_now(store_as_active)
        pilot.do("thaw")
        assert pilot.shown() == "active"
        assert {pilot.enforced(name) for name in STEPS} == {"active"}


@settings(max_examples=15)
@given(st.lists(ACTS, max_size=12))
@example([("freeze", "policy"), "remove", "name", "thaw"])
@example([("freeze", "gateway"), ("cut", "audit"), "restore", "thaw"])
def test_what_is_shown_of_an_operator_is_enforced_at_every_service_and_a_thaw_ends_a_freeze(
    empty: Path, acts: list[str | tuple[str, str]]
) -> None:
    with ExitStack() as stack:
        pilot = Pilot(empty, Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)
        for act in [*acts, "thaw"]:
            pilot.do(act)
            shown = pilot.shown()
            assert {name: pilot.enforced(name) for name in STEPS} == dict.fromkeys(STEPS, shown)
            assert act != "thaw" or shown != "frozen"
