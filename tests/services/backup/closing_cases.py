"""Every closing operation, as a case: what is set up before a backup, closed after it, and so.

A case is a generator. It sets its objects up and yields; is resumed after the backup, closes,
and yields the look that tells whether it is still closed. It is never resumed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from console.config.profile import load_profile
from console.errors import ExitCode, PilotError
from console.model.text import now
from console.operations.index import find
from console.operations.values import build
from console.session.session import Session
from tests.thread.pilot_rig import CAPABILITY, Rig, assessed, capability, granted, key_of

Look = Callable[[], bool]
Case = Callable[[Rig], Iterator[Look | None]]

WHY = "it ends"
LONG_WHY = "it ends " * 400
"""A reason that is a digest in the event's objects."""

CASES: dict[str, Case] = {}


def closes(operation: str) -> Callable[[Case], Case]:
    """Register the case of an operation."""

    def register(case: Case) -> Case:
        CASES[operation] = case
        return case

    return register


def refused(rig: Rig, key: str) -> bool:
    """Whether every point that serves refuses a key."""
    serving = [each.url for each in rig.do("point.list").items if each.state == "serving"]
    codes = [rig.call(key, base=base).status_code for base in serving]
    return bool(codes) and all(code in {401, 403} for code in codes)


def signs_in(rig: Rig, token: str, operation: str) -> bool:
    """Whether a token is let in by the service that answers an operation."""
    environ = {**rig.env, "PILOTCTL_TOKEN": token}
    session = Session(load_profile(environ), environ)
    op = find(operation)
    try:
        session.run(op.run(build(op, {}, now=now()), None))
    except PilotError as error:
        if error.exit != ExitCode.SIGN_IN:
            raise
        return False
    else:
        return True
    finally:
        session.close()


def shut_out(rig: Rig, token: str) -> bool:
    """Whether all three services refuse a token."""
    return not any(signs_in(rig, token, each) for each in ("lock.list", "pilot.list", "rule.list"))


@closes("grant.revoke")
def _(rig: Rig) -> Iterator[Look | None]:
    grant, renewed = granted(rig).id, granted(rig, expires_at="20d").id
    (_, key), (_, moved) = key_of(rig, grant), key_of(rig, renewed)
    yield None
    rig.do("grant.revoke", grant=grant, reason=LONG_WHY)
    # A grant that the backup does not know took the key over before it was revoked.
    successor = rig.do("grant.renew", grant=renewed, expires_at="40d", reason=WHY).id
    rig.until(lambda: rig.do("grant.show", grant=renewed).state == "expired")
    rig.do("grant.revoke", grant=successor, reason=WHY)

    def look() -> bool:
        states = [rig.do("grant.show", grant=each).state for each in (grant, renewed)]
        return (
            refused(rig, key)
            and refused(rig, moved)
            and states in (["revoked", "expired"], ["revoked", "revoked"])
        )

    yield look


@closes("key.revoke")
def _(rig: Rig) -> Iterator[Look | None]:
    credential, key = key_of(rig, granted(rig).id)
    yield None
    rig.do("key.revoke", credential=credential, reason=LONG_WHY)
    yield lambda: refused(rig, key) and rig.do("key.show", credential=credential).state == "revoked"


@closes("key.rotate")
def _(rig: Rig) -> Iterator[Look | None]:
    grant = granted(rig).id
    credential, key = key_of(rig, grant)
    in_grace, _ = key_of(rig, grant)
    yield None
    rig.do("key.rotate", credential=credential, grace="0s", reason=WHY)
    rig.do("key.rotate", credential=in_grace, grace="20d", reason=WHY)
    yield lambda: refused(rig, key) and rig.do("key.show", credential=in_grace).ends_at is not None


@closes("partner.offboard")
def _(rig: Rig) -> Iterator[Look | None]:
    _, key = key_of(rig, granted(rig, "initech").id)
    yield None
    rig.do("partner.offboard", partner="initech", reason=WHY)

    def look() -> bool:
        state = rig.do("partner.show", partner="initech").state
        return refused(rig, key) and state == "offboarded"

    yield look


@closes("grant.suspend")
def _(rig: Rig) -> Iterator[Look | None]:
    grant = granted(rig).id
    _, key = key_of(rig, grant)
    yield None
    rig.do("grant.suspend", grant=grant, reason=WHY)

    def look() -> bool:
        state = rig.do("grant.show", grant=grant).state
        return refused(rig, key) and state == "suspended"

    yield look


@closes("partner.suspend")
def _(rig: Rig) -> Iterator[Look | None]:
    _, key = key_of(rig, granted(rig, "globex").id)
    yield None
    rig.do("partner.suspend", partner="globex", reason=WHY)

    def look() -> bool:
        return refused(rig, key) and rig.do("partner.show", partner="globex").state == "suspended"

    yield look


@closes("partner.restrict")
def _(rig: Rig) -> Iterator[Look | None]:
    yield None
    rig.do("partner.restrict", partner="hooli", reason=WHY)
    yield lambda: rig.do("partner.show", partner="hooli").state == "restricted"


@closes("lock.add")
def _(rig: Rig) -> Iterator[Look | None]:
    credential, key = key_of(rig, granted(rig).id)
    yield None
    rig.do("lock.add", kind="credential", target=credential, reason=LONG_WHY)
    yield lambda: refused(rig, key)


@closes("grant.narrow")
def _(rig: Rig) -> Iterator[Look | None]:
    grant = granted(rig, limits="requests=60,parallel=4").id
    yield None
    rig.do("grant.narrow", grant=grant, limits="requests=5,parallel=1", reason=WHY)

    def look() -> bool:
        found = rig.do("grant.show", grant=grant).limits
        return (found.requests_per_minute, found.parallel) == (5, 1)

    yield look


@closes("grant.amend")
def _(rig: Rig) -> Iterator[Look | None]:
    grant = granted(rig, networks=["127.0.0.0/16"]).id
    yield None
    rig.do("grant.amend", grant=grant, networks=["127.0.9.0/24"], reason=WHY)
    yield lambda: rig.do("grant.show", grant=grant).networks == ["127.0.9.0/24"]


@closes("partner.remove-network")
def _(rig: Rig) -> Iterator[Look | None]:
    rig.do("partner.add-network", partner="acme", network="192.0.2.0/24", reason=WHY)
    yield None
    rig.do("partner.remove-network", partner="acme", network="192.0.2.0/24", reason=WHY)
    yield lambda: "192.0.2.0/24" not in rig.do("partner.show", partner="acme").egress


@closes("partner.remove-subprocessor")
def _(rig: Rig) -> Iterator[Look | None]:
    rig.do("partner.add-subprocessor", partner="acme", subprocessor="cloudbarn", reason=WHY)
    yield None
    rig.do("partner.remove-subprocessor", partner="acme", subprocessor="cloudbarn", reason=WHY)
    yield lambda: "cloudbarn" not in rig.do("partner.show", partner="acme").subprocessors


@closes("partner.declare")
def _(rig: Rig) -> Iterator[Look | None]:
    yield None
    rig.do("partner.declare", partner="hooli", egress=["127.0.7.0/24"], reason=WHY)
    yield lambda: rig.do("partner.show", partner="hooli").egress == ["127.0.7.0/24"]


@closes("principal.retire")
def _(rig: Rig) -> Iterator[Look | None]:
    made = rig.do("principal.create", partner="acme", identifier="user-1", reason=WHY)
    yield None
    rig.do("principal.retire", principal=made.id, reason=WHY)
    yield lambda: rig.do("principal.show", principal=made.id).state == "retired"


@closes("assessment.reject")
def _(rig: Rig) -> Iterator[Look | None]:
    made = _assessment(rig, "hooli")
    yield None
    rig.do("assessment.reject", assessment=made, reason=WHY)
    yield lambda: rig.do("assessment.show", assessment=made).state == "rejected"


@closes("assessment.withdraw")
def _(rig: Rig) -> Iterator[Look | None]:
    held = rig.do("assessment.list", partner="umbrella").items[0].id
    _, key = key_of(rig, granted(rig, "umbrella").id)
    yield None
    rig.do("assessment.withdraw", assessment=held, reason=WHY)

    def look() -> bool:
        state = rig.do("assessment.show", assessment=held).state
        return refused(rig, key) and state == "withdrawn"

    yield look


def _assessment(rig: Rig, partner: str) -> str:
    made = rig.do(
        "assessment.create", partner=partner, capability=CAPABILITY, assessor="risk desk",
        summary="residual risk is low", valid_until="180d", reason=WHY,
    )  # fmt: skip
    return str(made.id)


@closes("terms.publish")
def _(rig: Rig) -> Iterator[Look | None]:
    grant = granted(rig, "vandelay", "text.review", pilot="borealis").id
    _, key = key_of(rig, grant)
    file = rig.home.parent / "terms.txt"
    yield None
    rig.do(
        "terms.publish", pilot="borealis", title="Terms", text=str(file), reaccept_by="1s",
        reason=WHY,
    )  # fmt: skip
    rig.until(lambda: rig.do("grant.show", grant=grant).state == "suspended", what="terms lapse")
    yield lambda: refused(rig, key)


@closes("call.redact")
def _(rig: Rig) -> Iterator[Look | None]:
    _, key = key_of(rig, granted(rig, "vandelay", "text.review", pilot="borealis").id)
    call = rig.call(key, words="what was said").headers["x-request-id"]
    shown = rig.until(lambda: _content(rig, call), what="the content is kept")
    assert shown.state == "kept"
    yield None
    rig.do("call.redact", call=call, reason=WHY)
    yield lambda: _content(rig, call).state == "redacted"


def _content(rig: Rig, call: str) -> Any:
    try:
        return rig.do("call.content", call=call, reason=WHY)
    except PilotError:
        return None


def _operator(rig: Rig, name: str, *roles: str) -> str:
    rig.do("operator.add", operator=name, roles=list(roles), reason=WHY)
    return str(rig.do("operator.token", operator=name, reason=WHY).secret)


@closes("operator.cut")
def _(rig: Rig) -> Iterator[Look | None]:
    token = _operator(rig, "mallory", "admin")
    yield None
    rig.do("operator.cut", operator="mallory", reason=WHY)
    yield lambda: shut_out(rig, token) and _account(rig, "mallory").state == "cut"


@closes("operator.set")
def _(rig: Rig) -> Iterator[Look | None]:
    _operator(rig, "demoted", "admin")
    yield None
    rig.do("operator.set", operator="demoted", roles=["viewer"], reason=WHY)
    yield (
        lambda: (
            _account(rig, "demoted").roles == ["viewer"] or _account(rig, "demoted").state == "cut"
        )
    )


@closes("operator.token")
def _(rig: Rig) -> Iterator[Look | None]:
    token = _operator(rig, "leaky", "operator")
    yield None
    rig.do("operator.token", operator="leaky", replace=True, reason=WHY)
    yield lambda: shut_out(rig, token)


@closes("break-glass.seal")
def _(rig: Rig) -> Iterator[Look | None]:
    token = str(rig.do("break-glass.seal", reason=WHY).secret)
    yield None
    rig.do("break-glass.seal", replace=True, reason=WHY)
    yield lambda: shut_out(rig, token)


def _account(rig: Rig, name: str) -> Any:
    return rig.do("operator.show", operator=name)


@closes("point.deregister")
def _(rig: Rig) -> Iterator[Look | None]:
    yield None
    rig.do("point.deregister", point="gw-2", serving=True, reason=WHY)
    settings = rig.home / "pilot.toml"
    settings.write_text(settings.read_text().replace("ports = [0, 0]", "ports = [0]"))
    yield (
        lambda: (
            {"gw-2": "gone"}.items()
            <= {each.name: each.state for each in rig.do("point.list").items}.items()
        )
    )


@closes("pilot.close")
def _(rig: Rig) -> Iterator[Look | None]:
    rig.do(
        "pilot.create", slug="calypso", title="Calypso", models=["aurora-1"],
        stages=["limited:most-partners=1000,longest=90d"], reason=WHY,
    )  # fmt: skip
    capability(rig, "sea.charts", 1, pilot="calypso")
    file = str(rig.home.parent / "terms.txt")
    rig.do("terms.publish", pilot="calypso", title="Terms", text=file, reason=WHY)
    rig.do(
        "terms.accept", pilot="calypso", partner="acme", signatory="counsel",
        evidence="signed copy", reason=WHY,
    )  # fmt: skip
    assessed(rig, "acme", "sea.charts")
    _, key = key_of(rig, granted(rig, "acme", "sea.charts", pilot="calypso").id)
    yield None
    rig.do("pilot.close", pilot="calypso", reason=WHY)

    def look() -> bool:
        return refused(rig, key) and rig.do("pilot.show", pilot="calypso").state == "closed"

    yield look


@closes("operator.freeze")
def _(rig: Rig) -> Iterator[Look | None]:
    rig.do("operator.add", operator="hasty", roles=["admin"], reason=WHY)
    rig.do("operator.freeze", operator="hasty", reason=WHY)
    rig.do("operator.thaw", operator="hasty", reason=WHY)
    yield None
    rig.do("operator.freeze", operator="hasty", reason=WHY)
    yield lambda: _account(rig, "hasty").state in {"frozen", "cut"}
