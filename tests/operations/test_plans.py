import pytest

from console.errors import ExitCode, PilotError
from console.model.access import Partner, Pilot
from console.model.audit import Alert, AlertState, Verdict
from console.model.enforcement import Blast, Credential
from console.model.evidence import Assessment
from console.model.grant import Gap, GrantPlan
from console.operations.index import find
from console.operations.lock import FAR
from console.operations.outcome import outcome
from tests.operations.replay import (
    AT,
    GRANT,
    KEY,
    SANDBOX,
    a_blast,
    a_decision,
    a_grant,
    a_lock,
    absent,
    play,
    stored,
    unavailable,
)

PARTNER = Partner(
    **stored(
        id="ptn_1", revision=5, slug="acme", name="Acme", sponsor="root", state="active",
        verified_until=None, verification="", egress=["203.0.113.0/24"], subprocessors=[],
    )
)  # fmt: skip
PILOT = Pilot(
    **stored(
        id="plt_1", revision=3, slug="aurora", title="Aurora", models=["aurora-1"],
        stages=[SANDBOX], grace_seconds=60,
    )
)  # fmt: skip
ASSESSMENT = Assessment(
    **stored(
        id="rsk_1", revision=4, partner="acme", capability="c", assessor="x", summary="fine",
        valid_until=AT, state="in_review",
    )
)  # fmt: skip
CREDENTIAL = Credential(
    **stored(
        id=KEY, revision=2, grant_id=GRANT, partner="acme", holder="beta", hint="9xyz",
        version=1, state="in_use",
    )
)  # fmt: skip
PLAN = GrantPlan(
    grant=a_grant(state="draft"),
    becomes="draft",
    gaps=[
        Gap(
            code="terms_not_accepted",
            message="acme has not accepted version 2",
            mend="pilotctl terms accept aurora acme",
        )
    ],
    holders={"cyber.vuln-discovery": 3},
    overlaps=["grt_other"],
    decision=a_decision(),
)


def params(op, **given):
    return op.params(**given)


def planned(op, p, answers):
    return play(op.plan(p), answers).result


def lines(plan):
    return "\n".join(line for section in plan.sections for line in section.lines)


@pytest.mark.parametrize(
    ("id", "given", "answers", "write", "revision"),
    [
        ("grant.activate", {"grant": GRANT}, {"grant.show": a_grant(), "grant.decide": PLAN},
         "grant.activate", 7),
        ("pilot.stage", {"pilot": "aurora", "stage": SANDBOX}, {"pilot.show": PILOT},
         "pilot.stage", 3),
        ("partner.verify", {"partner": "acme", "until": AT, "evidence": "file 7"},
         {"partner.show": PARTNER}, "partner.verify", 5),
        ("partner.declare", {"partner": "acme", "egress": []}, {"partner.show": PARTNER},
         "partner.declare", 5),
        ("assessment.accept", {"assessment": "rsk_1"}, {"assessment.show": ASSESSMENT},
         "assessment.accept", 4),
        ("lock.release", {"lock": "lck_1"}, {"lock.show": a_lock(), "lock.blast": a_blast()},
         "lock.release", 2),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_what_opens_is_sent_on_the_revision_that_was_planned_on(
    id, given, answers, write, revision
):
    op = find(id)
    p = params(op, reason="planned", **given)
    plan = planned(op, p, answers)
    assert plan.revision == revision
    assert plan.subject is not None, "a conflict can show the difference"
    stale = plan.__class__(title="", revision=revision - 1)
    for used, sent in ((plan, revision), (stale, revision - 1), (None, revision)):
        played = play(op.run(p, used), {**answers, write: a_grant()})
        assert played.call(write).if_match == sent
        assert played.call(write).body.reason == "planned"


def test_the_plan_of_a_grant_says_what_is_missing_and_how_to_mend_it():
    op = find("grant.create")
    p = params(
        op, partner="acme", pilot="aurora", stage="sandbox", capabilities=["c"],
        purpose="research", expires_at=AT, reason="asked for",
    )  # fmt: skip
    played = play(op.plan(p), {"grant.plan": PLAN})
    assert [call.route.id for call in played.calls] == ["grant.plan"], "nothing is created"
    plan = played.result
    assert plan.gaps == PLAN.gaps
    assert "networks: declared egress" in lines(plan)
    assert "held by 3 other partners" in lines(plan)
    assert "grt_other goes on" in lines(plan)
    created = play(op.run(p, plan), {"grant.create": a_grant(state="draft")})
    assert created.call("grant.create").body.purpose == "research"
    assert outcome(op, created.result).exit is ExitCode.PENDING


def test_a_grant_on_its_way_is_followed_until_the_gateway_has_it():
    op = find("grant.activate")
    plan = planned(
        op,
        params(op, grant=GRANT, reason="mended"),
        {"grant.show": a_grant(), "grant.decide": PLAN},
    )
    going = a_grant(state="provisioning")
    p = params(op, grant=GRANT, reason="mended")
    answers = {"grant.activate": going, "grant.show": [going, unavailable(), a_grant()]}
    assert play(op.run(p, plan), answers).result.state == "active"
    late = play(op.run(p, plan), {**answers, "grant.show": going}, seconds=1).result
    assert outcome(op, late).exit is ExitCode.UNVERIFIED
    at_once = play(op.run(p, plan), answers, seconds=0).result
    assert outcome(op, at_once, waited=False).exit is ExitCode.PENDING
    waiting = a_grant(state="pending_approval")
    assert outcome(op, waiting).exit is ExitCode.PENDING


@pytest.mark.parametrize(
    ("id", "given"),
    [("grant.revoke", {"grant": GRANT}), ("key.revoke", {"credential": KEY})],
)
def test_a_revoke_wants_the_partners_name_and_says_what_ends_and_stays(id, given):
    op = find(id)
    p = params(op, reason="leaked", **given)
    answers = {"lock.blast": a_blast(), "grant.show": a_grant(), "key.show": CREDENTIAL}
    plan = planned(op, p, answers)
    assert plan.name == "acme"
    assert plan.irreversible
    assert [section.title for section in plan.sections] == [
        "What it does", "What ends", "What stays",
    ]  # fmt: skip
    assert "2 keys" in lines(plan)
    assert "1 stream in flight" in lines(plan)
    assert "acme keeps one other grant" in lines(plan)


def test_a_revoke_needs_the_gateway_alone():
    op = find("grant.revoke")
    p = params(op, grant=GRANT, reason="leaked")
    played = play(op.plan(p), {"lock.blast": a_blast()})
    assert [call.route.api for call in played.calls] == ["gateway"]
    assert played.result.name == "acme"
    draft = planned(op, p, {"lock.blast": a_blast(()), "grant.show": a_grant(state="draft")})
    assert draft.name == "acme"
    unknown = planned(op, p, {"lock.blast": a_blast(()), "grant.show": unavailable()})
    assert unknown.name == GRANT, "there is always something to type"


def test_a_grant_that_nobody_knows_is_not_found():
    op = find("grant.revoke")
    with pytest.raises(PilotError) as caught:
        planned(
            op,
            params(op, grant="grt_x", reason="r"),
            {"lock.blast": Blast(), "grant.show": absent()},
        )
    assert caught.value.exit is ExitCode.NOT_FOUND


@pytest.mark.parametrize("count", range(FAR + 3))
def test_a_lock_that_reaches_far_wants_its_target_typed(count):
    op = find("lock.add")
    blast = a_blast([f"partner-{at}" for at in range(count)])
    everything = planned(op, params(op, kind="everything", reason="r"), {"lock.blast": blast})
    assert everything.name == ("everything" if count > FAR else "")
    assert everything.partners == count
    one = params(op, kind="model", target="aurora-1", reason="r")
    assert planned(op, one, {"lock.blast": blast}).name == ("aurora-1" if count > FAR else "")


def test_a_lock_says_what_it_is_on():
    op = find("lock.add")
    for given in ({"kind": "partner"}, {"kind": "everything", "target": "acme"}):
        with pytest.raises(PilotError) as caught:
            planned(op, params(op, reason="r", **given), {})
        assert caught.value.exit is ExitCode.USAGE
    played = play(op.plan(params(op, kind="everything", reason="r")), {"lock.blast": a_blast()})
    assert played.call("lock.blast").body.id == "*"


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("subprocessor", "datawharf", "no call with a key that datawharf holds, for any partner,"),
        ("subprocessor", "datawharf", "2 keys, refused from the next call on\n"),
        ("network", "203.0.113.0/24", "no call from 203.0.113.0/24 gets through"),
        ("network", "203.0.113.0/24", "for calls from it: elsewhere the same keys go on"),
        ("model", "aurora-1", "for calls of it: what else these keys open goes on"),
        ("partner", "acme", "no call matching partner acme gets through"),
        ("everything", "", "no call of anybody gets through"),
    ],
)
def test_the_plan_of_a_lock_says_which_calls_it_will_refuse(kind, target, says):
    op = find("lock.add")
    plan = planned(op, params(op, kind=kind, target=target, reason="r"), {"lock.blast": a_blast()})
    assert says in lines(plan)


def test_releasing_is_planned_even_when_its_reach_cannot_be_counted():
    op = find("lock.release")
    p = params(op, lock="lck_1", reason="over")
    plan = planned(op, p, {"lock.show": a_lock(), "lock.blast": unavailable()})
    assert "cannot be counted" in lines(plan)
    assert plan.revision == 2


@pytest.mark.parametrize(
    ("id", "given", "route", "answer"),
    [
        ("partner.create", {"slug": "acme", "name": "Acme", "sponsor": "root", "reason": "r"},
         "partner.create", PARTNER),
        ("pilot.create",
         {"slug": "aurora", "title": "A", "models": ["aurora-1"], "stages": [SANDBOX],
          "reason": "r"},
         "pilot.create", PILOT),
        ("assessment.create",
         {"partner": "acme", "capability": "c", "assessor": "x", "summary": "s",
          "valid_until": AT, "reason": "r"}, "assessment.create", ASSESSMENT),
    ],
)  # fmt: skip
def test_planning_a_creation_only_validates_it(id, given, route, answer):
    op = find(id)
    p = params(op, **given)
    planning = play(op.plan(p), {route: answer})
    assert [call.validate_only for call in planning.calls] == [True]
    doing = play(op.run(p, planning.result), {route: answer})
    assert [call.validate_only for call in doing.calls] == [False]
    assert planning.calls[0].body == doing.calls[0].body


def test_an_alert_closed_as_true_positive_is_told_what_it_needs():
    alert = Alert(
        **stored(
            id="alr_1", rule="burst", rule_revision="", title="Burst", severity="high",
            fingerprint="f", count=3, first_seen_at=AT, last_seen_at=AT, state=AlertState.NEW,
        )
    )  # fmt: skip
    op = find("alert.close")
    p = params(op, alert="alr_1", verdict=Verdict.TRUE_POSITIVE, reason="it was")
    assert "needs a lock or a revocation" in lines(planned(op, p, {"alert.show": alert}))
