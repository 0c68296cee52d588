"""Nobody takes the pilot from its owner: who may cut whom, freezing, and the owner's own verbs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from console.api.status import STATUS
from console.errors import ExitCode, PilotError
from console.services import supervisor
from tests.services.test_operators import WHY, added, do, known, signed_in
from tests.thread.pilot_rig import Rig, running, short_folder

pytestmark = pytest.mark.filterwarnings(  # httpcore leaves the socket open when nobody listens
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
APIS = ("policy", "gateway", "audit")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


def owner(rig: Rig, *words: str) -> dict[str, object]:
    """Do a verb of the owner's at the command line."""
    done = rig.cli("owner", *words, "--home", str(rig.home), "--reason", WHY, "--yes", "-o", "json")
    assert done.exit == 0, done
    found: dict[str, object] = json.loads(done.out)
    return found


@pytest.mark.parametrize("who", ["responder", "operator", "break-glass"])
def test_an_admin_is_cut_off_by_admins_alone_and_frozen_by_whoever_closes(
    rig: Rig, who: str
) -> None:
    if who == "break-glass":
        token = rig.do("break-glass.seal", reason=WHY).secret
    else:
        token = added(rig, f"by-{who}", who)
    victim = f"admin-{who}"
    theirs = added(rig, victim, "admin")
    plain = f"plain-{who}"
    added(rig, plain, "operator")
    with signed_in(rig, token) as session, signed_in(rig, theirs) as admin:
        rig.until(lambda: all(known(session, api) for api in APIS))
        with pytest.raises(PilotError, match="only an admin cuts an admin off") as caught:
            do(session, "operator.cut", operator=victim, reason=WHY)
        assert caught.value.code == "refused"
        assert all(known(admin, api) for api in APIS)
        frozen = do(session, "operator.freeze", operator=victim, reason="odd grants")
        assert {each.service: each.state for each in frozen.services} == dict.fromkeys(
            APIS, "frozen"
        )
        again = do(session, "operator.freeze", operator=victim, reason="again")
        assert [each.event_id for each in again.services] == [
            each.event_id for each in frozen.services
        ]
        with pytest.raises(PilotError, match="is frozen"):
            do(admin, "operator.add", operator="new", roles=["viewer"], reason=WHY)
        with pytest.raises(PilotError, match="is frozen"):
            do(admin, "operator.thaw", operator=victim, reason="I am innocent")
        with pytest.raises(PilotError, match="is frozen: only an admin cuts"):
            do(admin, "operator.cut", operator=rig.operator, reason="revenge")
        lock = do(admin, "lock.add", kind="model", target="aurora-2", reason="still closes")
        assert lock.state == "verified"
        rig.do("lock.release", lock=lock.lock_id, reason=WHY)
        assert do(session, "operator.cut", operator=plain, reason=WHY).state == "cut"
    assert rig.do("operator.show", operator=victim).state == "frozen"
    assert rig.do("operator.thaw", operator=victim, reason=WHY).state == "active"
    with signed_in(rig, theirs) as admin:
        do(admin, "operator.add", operator=f"new-{who}", roles=["viewer"], reason=WHY)


def test_a_freeze_is_taken_while_policy_is_down_and_a_cut_of_that_time_outlives_a_thaw(
    rig: Rig,
) -> None:
    token = added(rig, "both", "admin")
    supervisor.stop_one(rig.home, "policy")
    try:
        frozen = rig.do("operator.freeze", operator="both", reason=WHY)
        assert frozen.state == "partial"
        with signed_in(rig, token) as session:
            assert session.run(STATUS["gateway"]()).operator.frozen
    finally:
        supervisor.start_one(rig.home, "policy")
    rig.until(lambda: rig.do("operator.show", operator="both").state == "frozen")
    rig.do("operator.cut", operator="both", reason=WHY)
    with pytest.raises(PilotError, match="cut off, not frozen"):
        rig.do("operator.thaw", operator="both", reason=WHY)
    restored = rig.do("operator.restore", operator="both", reason=WHY)
    assert restored.state == "frozen"
    assert rig.do("operator.thaw", operator="both", reason=WHY).state == "active"


def test_the_owner_restores_themselves_after_they_were_cut_off(rig: Rig) -> None:
    token = added(rig, "rogue", "admin")
    with signed_in(rig, token) as session:
        assert do(session, "operator.cut", operator=rig.operator, reason="mine now").state == "cut"
    refused = rig.cli("operator", "list")
    assert refused.exit == ExitCode.SIGN_IN
    assert "owner restore" in refused.err
    assert owner(rig, "cut", "rogue")["state"] == "cut"
    assert owner(rig, "restore", rig.operator)["state"] == "active"
    assert rig.do("operator.show", operator="rogue").state == "cut"
    events = [each for each in rig.logged() if each.action == "operator.restore"]
    assert [each.actor for each in events][-1] == rig.operator
    alert = rig.until(
        lambda: [each for each in rig.do("alert.list").items if each.rule == "owner-acted"],
        what="the owner's act is an alert",
    )
    assert {each.severity for each in alert} == {"critical"}


def test_the_owner_acts_while_every_service_is_down(rig: Rig) -> None:
    token = added(rig, "night", "admin")
    rig.do("operator.freeze", operator="night", reason=WHY)
    old = added(rig, "gone", "admin")
    rig.stop("policy", "gateway", "audit")
    try:
        assert owner(rig, "thaw", "night")["state"] == "active"
        assert owner(rig, "cut", "gone")["state"] == "cut"
        rows = json.loads(rig.ok("owner", "list", "--home", str(rig.home), "-o", "json"))["items"]
        states = {each["slug"]: each["state"] for each in rows}
        assert (states["night"], states["gone"]) == ("active", "cut")
    finally:
        # each decides alone, before any other tells it
        rig.start("gateway")
        with signed_in(rig, token) as session:
            assert not session.run(STATUS["gateway"]()).operator.frozen
        with signed_in(rig, old) as session:
            assert not known(session, "gateway")
        rig.start("audit", "policy")
    rig.until(lambda: rig.do("operator.show", operator="gone").state == "cut")
    cuts = [each for each in rig.logged() if each.action == "operator.cut"]
    assert len([each for each in cuts if each.target == "gone"]) == 3


def test_nobody_but_the_owner_has_the_verbs_of_the_owner(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("owner", "cut", "x", "--home", "/", "--reason", WHY, "--yes")
    assert rig.cli(*words).exit == ExitCode.NOT_FOUND
    unconfirmed = rig.cli("owner", "cut", "x", "--home", str(rig.home), "--reason", WHY)
    assert unconfirmed.exit == ExitCode.NOT_CONFIRMED
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    done = rig.cli("owner", "list", "--home", str(rig.home))
    assert done.exit == ExitCode.REFUSED
    assert "only they may do this" in done.err
