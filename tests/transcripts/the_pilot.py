"""The pilot that each day is spent on: three partners, some calls, two alerts, four people."""

from __future__ import annotations

from pathlib import Path

from console.api.status import STATUS
from console.config.profile import load_profile
from console.errors import PilotError
from console.session.session import Session
from tests.thread.pilot_rig import CAPABILITY, Rig, granted, programme

ROLES = {
    "operator": ["operator"],
    "owner": ["admin"],
    "auditor": ["auditor"],
    "cron": ["operator"],
}
"""Who spends a day, and their roles."""
ALERTED = 4
"""Calls behind the alerts: three with a dead key, one from an undeclared network."""


def prepare(rig: Rig) -> None:
    """Two partners that call, one that does not, a leaked key in use, an undeclared network."""
    rig.do(
        "price.set",
        model="aurora-1",
        input_micros="2.50",
        output_micros="10",
        reason="price list 1",
    )
    programme(rig, partners=("acme", "halcyon", "northwind"))
    acme = granted(rig, "acme", CAPABILITY, limits="requests=600,parallel=8")
    leaked, old = _key_of(rig, acme.id, holder="datawharf")
    _, key = _key_of(rig, acme.id)
    north = granted(rig, "northwind", CAPABILITY, expires_at="5d", networks=["127.0.0.0/24"])
    _, other = _key_of(rig, north.id)
    granted(rig, "halcyon", CAPABILITY, purpose="triage of reports")
    for raw in (old, key, key):
        assert rig.call(raw, words="find the flaw in this parser").status_code == 200
    before = _decided(rig)
    rig.do(
        "partner.declare", partner="northwind", egress=["192.0.2.0/24"],
        reason="moved to another provider",
    )  # fmt: skip
    rig.until(lambda: _decided(rig) > before, what="the gateway hears of the networks")
    _points_hear(rig)
    assert rig.call(other).status_code == 200
    rig.do("key.revoke", credential=leaked, reason="seen in a paste")
    for _ in range(3):
        assert rig.call(old).status_code == 403
    assert rig.call(key, model="aurora-2").status_code == 403
    rig.until(
        lambda: sum(each.count for each in rig.do("alert.list").items) == ALERTED,
        what="two alerts",
    )  # fmt: skip


def _decided(rig: Rig) -> int:
    """Return how many changes there are of what decides calls."""
    return int(rig.json("api", "GET", "gateway/v1/status")["sequence"])


def _points_hear(rig: Rig) -> None:
    """Wait until the points have applied all of it: a call shows nothing that is older."""
    decided = _decided(rig)
    rig.until(
        lambda: all(each.applied_sequence >= decided for each in rig.do("point.list").items),
        what="the points hear of it",
    )


def _key_of(rig: Rig, grant: str, **more: str) -> tuple[str, str]:
    """A key under the grant: its id, and the raw key, which served its first call."""
    issued = rig.do("key.issue", grant=grant, reason="first key", **more)
    _points_hear(rig)
    assert rig.call(issued.secret).status_code == 200
    return issued.credential.id, issued.secret


def sign_in(rig: Rig, name: str, folder: Path) -> None:
    """Make `name` an operator who signs in by a token, from a profile of their own."""
    kind = "service" if name == "cron" else "person"
    rig.do("operator.add", operator=name, roles=ROLES[name], kind=kind, reason="joins")
    config = folder / "pilotctl"
    config.mkdir(parents=True)
    token = config / "token"
    token.touch(0o600)
    token.write_text(rig.do("operator.token", operator=name, ends_at="1d", reason="joins").secret)
    (config / "config.toml").write_text(
        'default_profile = "day"\n[profiles.day]\ntier = "staging"\n'
        + "".join(
            f'{api} = "unix:{rig.home}/run/{api}.sock"\n' for api in ("policy", "gateway", "audit")
        )
        + f'token = {{ source = "file", path = "{token}" }}\n'
    )
    environ = {**rig.env, "PILOTCTL_TOKEN": token.read_text()}
    session = Session(load_profile(environ), environ)
    try:
        rig.until(lambda: _known(session), what=f"every service knows {name}")
        rig.until(
            lambda: rig.do("operator.show", operator=name).used_at, what="its use is known too"
        )
    finally:
        session.close()


def _known(session: Session) -> bool:
    try:
        for route in STATUS.values():
            session.run(route())
    except PilotError:
        return False
    return True
