"""What went wrong over the months: one incident or more for each shipped rule.

Each plants the calls or events that it is made of, what people did about it, and how the
alert was judged. No incident lies in the quiet week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from console.api import gateway as gw
from console.api import operators as op
from console.api import policy as po
from console.model.access import ChangeNetwork
from console.model.account import IssuedToken, SealBreakGlass
from console.model.audit import Severity, Verdict
from console.model.enforcement import (
    Credential,
    LockKind,
    Revoke,
    TombstoneKind,
    UpstreamHealth,
    UpstreamState,
)
from console.model.grant import GrantState
from console.services.demo.audit_desk import Judged
from console.services.demo.cast import BY_SLUG, DUTY, NIGHT, OWNER
from console.services.demo.ground_truth import Planted
from console.services.demo.story import Story
from console.services.demo.synthetic_calls import Sent
from console.services.events import event
from console.services.gateway.control.state import upstream_health
from console.services.operators import accounts
from console.services.operators.roster import Mark
from console.services.store import emit

QUIET_WEEK = (45, 52)
"""Days of the history, from and to, in which nothing was planted."""

_TRUE, _BENIGN = Verdict.TRUE_POSITIVE, Verdict.BENIGN
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def plan(story: Story) -> None:
    """Plan every incident of the story."""
    for offset, hour, act in (
        (12, 11.0, _source_stopped),
        (15, 9.0, _owner),
        (18, 14.0, _broken_client),
        (21, 10.0, _upstream),
        (25, 15.0, _leak),
        (29, 3.0, _guessing),
        (33, 13.5, _many_networks),
        (36, 16.0, _admitted),
        (38, 3.2, _at_night),
        (40, 21.0, _break_glass),
        (54, 10.0, _volume),
        (56, 13.0, _rule_off),
        (58, 9.5, _page),
        (61, 12.0, _rotated),
        (63, 14.0, _new_office),
        (66, 15.0, _spend),
        (71, 13.0, _probing),
        (75, 11.0, _refusals),
        (80, 17.0, _unapproved),
    ):
        when = story.workday(offset, hour)
        story.on(when, _begun(story, act))


def _begun(story: Story, act: Callable[[Story, datetime], None]) -> Callable[[datetime], None]:
    return lambda at: act(story, at)


def _sends(story: Story, sent: Iterable[Sent]) -> None:
    for each in sent:
        story.extra[each.at.date()].append(each)


def _of(key: Credential) -> dict[str, str]:
    return {"partner": key.partner, "grant_id": key.grant_id, "credential_id": key.id}


def _plant(  # noqa: PLR0917 - who, what, when, about what, and how it was judged
    story: Story, rule: str, at: datetime, about: dict[str, str], verdict: Verdict, why: str
) -> None:
    story.planted.append(Planted(rule, at, about))
    story.desk.expect(rule, about.get("partner", ""), Judged(verdict, why))


def _foreign(key: Credential, at: datetime, address: str, code: str = "", model: str = "") -> Sent:
    tokens = (0, 0) if code else (900, 600)
    wanted = model or BY_SLUG[key.partner].models[0]
    return Sent(at, address, wanted, key, code, tokens, "", "python-requests/2.31")


def _broken_client(story: Story, at: datetime) -> None:
    """A client that asks for a model which was renamed, and never waits."""
    if key := story.key_of("ember"):
        own = BY_SLUG["ember"].address(5)
        _sends(story, (
            _foreign(key, at + timedelta(seconds=0.8 * n), own, "model_out_of_scope", "aurora-0")
            for n in range(60)
        ))  # fmt: skip
        _plant(story, "denial-burst", at, _of(key), _BENIGN, "their client asked for an old name")


def _leak(story: Story, at: datetime) -> None:
    """A subprocessor's key is used from elsewhere; revoked, it goes on being tried."""
    key = story.key_of("cinder", "quillhost")
    if key is None:
        return
    ended = at + 14 * MINUTE
    _sends(story, (_foreign(key, at + n * MINUTE, "127.0.66.20") for n in range(9)))
    _sends(story, (
        _foreign(key, ended + (5 + 9 * n) * MINUTE, "127.0.66.20", "key_revoked") for n in range(6)
    ))  # fmt: skip
    why = "the subprocessor's key had leaked"
    _plant(story, "egress-undeclared", at, _of(key), _TRUE, why)
    _plant(story, "revoked-key-used", ended, _of(key), _BENIGN, "the same copy, refused since")
    story.desk.expect("revoked-key-used", "cinder", Judged(Verdict.DUPLICATE, why))
    story.on(ended, lambda when: story.revoke_key(key, DUTY, when, why))
    story.on(
        ended + timedelta(days=2),
        lambda when: story.issue(key.grant_id, "cinder", "quillhost", when, "new key, new host"),
    )


def _guessing(story: Story, at: datetime) -> None:
    """Somebody tries keys from a network that nobody knows."""
    _sends(story, (
        Sent(at + timedelta(seconds=3.5 * n), f"127.0.99.{40 + n % 3}", "aurora-1",
             code="key_unknown", agent="curl/8.4.0")
        for n in range(45)
    ))  # fmt: skip
    _plant(
        story, "unknown-key-burst", at, {"network": "127.0.99.0/24"}, _TRUE,
        "guessing from one network, which is locked",
    )  # fmt: skip
    story.on(
        at + 11 * MINUTE,
        lambda when: story.lock(LockKind.NETWORK, "127.0.99.0/24", when, "guesses keys", hours=200),
    )


def _many_networks(story: Story, at: datetime) -> None:
    """A key that was copied into a fleet of runners."""
    key = story.key_of("foxglove", "pagewright")
    if key is None:
        return
    _sends(story, (
        _foreign(key, at + 3 * n * MINUTE, f"127.0.{70 + n % 7}.9") for n in range(14)
    ))  # fmt: skip
    why = "the key was in a shared runner image"
    _plant(story, "key-many-networks", at, _of(key), _TRUE, why)
    _plant(story, "egress-undeclared", at, _of(key), _TRUE, why)
    story.on(at + 49 * MINUTE, lambda when: story.revoke_key(key, DUTY, when, why))
    story.on(
        at + timedelta(days=3),
        lambda when: story.issue(key.grant_id, "foxglove", "pagewright", when, "new runners"),
    )


def _admitted(story: Story, at: datetime) -> None:
    """A point that lagged let one call through after the proof of its key's end."""
    key = story.key_of("hollow")
    if key is None:
        return
    story.revoke_key(key, DUTY, at, "its laptop was stolen")
    own = BY_SLUG["hollow"].address(7)
    late = at + timedelta(seconds=2.2)
    _sends(story, [_foreign(key, late, own)])
    why = "a point served from an old state: it was replaced"
    _plant(story, "admitted-after-revoke", late, _of(key), _TRUE, why)
    story.lock(LockKind.PARTNER, "hollow", at + 6 * MINUTE, "served after a revocation", hours=3)
    story.on(
        at + timedelta(hours=5),
        lambda when: story.issue(key.grant_id, "hollow", "hollow", when, "a key on a new laptop"),
    )


def _at_night(story: Story, at: datetime) -> None:
    """Work at three in the morning by somebody who starts at noon."""
    if key := story.key_of("marlin"):
        own = BY_SLUG["marlin"].address(4)
        _sends(story, (_foreign(key, at + 2 * n * MINUTE, own) for n in range(16)))
        _plant(story, "off-hours-use", at, {"partner": "marlin"}, _BENIGN, "their year-end close")


def _break_glass(story: Story, at: datetime) -> None:
    """The sealed token was used in a drill, and replaced."""
    sealed: IssuedToken = story.do(
        op.BREAK_GLASS_SEAL, OWNER, at, SealBreakGlass(reason="quarterly drill")
    )
    name = sealed.account.slug
    emit(
        story.books.at_gateway,
        event(
            "break-glass.use", service="gateway", actor=name, kind="operator", target=name,
            name=name, at=at + MINUTE, severity="critical",
            facts={"by": "token", "route": "lock.list"},
        ),
    )  # fmt: skip
    mark = Mark(
        name=name, generation=sealed.account.generation, kind="used", at=at + MINUTE, by=name,
        reason="",
    )  # fmt: skip
    accounts.learn(story.books.at_policy, [mark])
    _plant(story, "break-glass-used", at, {"target": name}, _BENIGN, "the quarterly drill")
    story.on(
        at + timedelta(hours=1),
        lambda when: story.do(
            op.BREAK_GLASS_SEAL, OWNER, when,
            SealBreakGlass(replace=True, reason="the one of the drill is spent"),
        ),
    )  # fmt: skip


def _owner(story: Story, at: datetime) -> None:
    """The pilot's owner tried, at the machine, whether they can thaw an operator."""
    emit(
        story.books.at_policy,
        event(
            "operator.thaw", service="policy", actor=OWNER, kind="operator", target=NIGHT,
            name=NIGHT, reason="the yearly drill", severity=Severity.CRITICAL, at=at,
            facts={"by": "owner"},
        ),
    )  # fmt: skip
    about = {"action": "operator.thaw", "target": NIGHT}
    _plant(story, "owner-acted", at, about, _BENIGN, "the yearly drill")


def _upstream(story: Story, at: datetime) -> None:
    """An upstream that stood by got a new key with the wrong mode, then did not answer."""
    name = "standby"

    def becomes(state: UpstreamState, why: str) -> Callable[[datetime], None]:
        def act(when: datetime) -> None:
            health = UpstreamHealth(name=name, kind="openai", state=state, since=when, why=why)
            upstream_health.record(story.books.at_gateway, "gw-1", [health], when)

        return act

    for after, state, why in (
        (0 * HOUR, UpstreamState.KEY_FAULT, "its key file is open to others"),
        (1 * HOUR, UpstreamState.SERVING, ""),
        (2 * HOUR, UpstreamState.DEAD, "it answers no connection"),
        (3 * HOUR, UpstreamState.SERVING, ""),
    ):
        story.on(at + after, becomes(state, why))
    about = {"target": name}
    _plant(story, "upstream-key-fault", at, about, _BENIGN, "the mode of a new file")
    _plant(story, "upstream-dead", at + 2 * HOUR, about, _TRUE, "maintenance that nobody announced")


def _volume(story: Story, at: datetime) -> None:
    """A batch of a whole archive in one hour."""
    if key := story.key_of("granary"):
        own = BY_SLUG["granary"].address(3)
        _sends(story, (_foreign(key, at + timedelta(seconds=18 * n), own) for n in range(170)))
        _plant(story, "volume-spike", at, {"partner": "granary"}, _BENIGN, "announced: a migration")


def _own_event(
    story: Story, action: str, about: tuple[str, str], at: datetime, outcome: str, **more: Any
) -> None:
    kind, target = about
    told = {"actor": "system", **more}
    emit(
        story.desk.conn,
        event(action, service="audit", kind=kind, target=target, at=at, outcome=outcome, **told),
    )


def _rule_off(story: Story, at: datetime) -> None:
    """A rule was switched off while a partner moved an archive, and on again."""
    rule = "volume-spike"
    for when, action, why, facts in (
        (at, "rule.disable", "a partner moves its archive", {"weakened": ["it is off"]}),
        (at + 50 * MINUTE, "rule.enable", "the archive is moved", None),
    ):
        _own_event(
            story, action, ("rule", rule), when, "success", name=rule, actor=DUTY, reason=why,
            facts=facts,
        )  # fmt: skip
    _plant(story, "rule-weakened", at, {"target": rule}, _BENIGN, "agreed with the programme")


def _page(story: Story, at: datetime) -> None:
    """Pages to the night desk's webhook were given up."""
    _own_event(
        story, "page.fail", ("oncall", "night-desk"), at, "failure", name="a test page",
        reason="HTTP 502, after 8 attempts",
    )  # fmt: skip
    _plant(story, "page-undelivered", at, {"target": "night-desk"}, _TRUE, "their proxy was down")


def _source_stopped(story: Story, at: datetime) -> None:
    """A service's outbox could not be followed for some minutes."""
    _own_event(
        story, "source.stop", ("source", "policy"), at, "failure", severity=Severity.CRITICAL,
        reason="it skips from 412 to 414", facts={"last_sequence": 412},
    )  # fmt: skip
    _own_event(
        story, "source.resume", ("source", "policy"), at + 4 * MINUTE, "success",
        reason="it skips from 412 to 414", facts={"last_sequence": 412},
    )  # fmt: skip
    why = "a restart read an old copy; the newer one was put back"
    _plant(story, "log-source-stopped", at, {"target": "policy"}, _BENIGN, why)


def _rotated(story: Story, at: datetime) -> None:
    """Automation that nobody told of a rotation."""
    old = story.rotate("osprey", at)
    if old is None:
        return
    own = BY_SLUG["osprey"].address(8)
    over = at + timedelta(days=2, hours=1)
    _sends(story, (_foreign(old, over + 20 * n * MINUTE, own, "key_rotated") for n in range(7)))
    _plant(story, "revoked-key-used", over, _of(old), _BENIGN, "a nightly job had the old key")


def _new_office(story: Story, at: datetime) -> None:
    """A partner moved, and said so afterwards."""
    key = story.key_of("gannet")
    if key is None:
        return
    _sends(story, (_foreign(key, at + 4 * n * MINUTE, "127.0.207.12") for n in range(4)))
    _plant(story, "egress-undeclared", at, _of(key), _BENIGN, "their new office; now declared")
    story.on(
        at + timedelta(hours=2),
        lambda when: story.do(
            po.PARTNER_ADD_NETWORK, OWNER, when,
            ChangeNetwork(network="127.0.207.0/24", reason="the new office"), partner="gannet",
        ),
    )  # fmt: skip


def _spend(story: Story, at: datetime) -> None:
    """An agent that fed its own answers to itself."""
    key = story.key_of("bramble")
    if key is None:
        return
    own = BY_SLUG["bramble"].address(6)
    _sends(story, (
        Sent(at + 2 * n * MINUTE, own, "polaris-2", key, "", (11_000, 900), "itinerary-agent",
             "bramble-client/2.0")
        for n in range(24)
    ))  # fmt: skip
    why = "an agent in a loop; the partner was locked until it was mended"
    _plant(story, "spend-spike", at, {"partner": "bramble"}, _TRUE, why)
    story.on(
        at + 50 * MINUTE, lambda when: story.lock(LockKind.PARTNER, "bramble", when, why, hours=3)
    )


def _probing(story: Story, at: datetime) -> None:
    """Somebody at a partner tries what it was never given."""
    key = story.key_of("nettle")
    if key is None:
        return
    own = BY_SLUG["nettle"].address(9)
    _sends(story, (
        _foreign(key, at + timedelta(seconds=0.18 * n), own, "model_out_of_scope", "aurora-3")
        for n in range(320)
    ))  # fmt: skip
    why = "one user tried the exploit model; their key was ended"
    _plant(story, "denial-burst", at, _of(key), _TRUE, why)
    story.on(at + 12 * MINUTE, lambda when: story.revoke_key(key, DUTY, when, why))
    story.on(
        at + timedelta(days=1),
        lambda when: story.issue(key.grant_id, "nettle", "nettle", when, "a key for another team"),
    )


def _refusals(story: Story, at: datetime) -> None:
    """A deployment that asks for the wrong route, steadily."""
    if key := story.key_of("quarry"):
        own = BY_SLUG["quarry"].address(5)
        _sends(story, (
            _foreign(key, at + timedelta(seconds=80 * n), own, "route_out_of_scope")
            for n in range(42)
        ))  # fmt: skip
        why = "a release that used a route they lack"
        _plant(story, "refusal-jump", at, {"partner": "quarry"}, _BENIGN, why)


def _unapproved(story: Story, at: datetime) -> None:
    """An event of an opening at tier 3 that no approval stands behind."""
    seat = BY_SLUG["rookery"]
    story.assess("rookery", "cyber.exploit-dev", at)
    grant = story.grant(seat, at, at + timedelta(hours=60), "cyber.exploit-dev")
    assert grant.state == GrantState.PENDING_APPROVAL
    emit(
        story.books.at_policy,
        event(
            "grant.activate", service="policy", actor=NIGHT, kind="grant", target=grant.id,
            partner="rookery", reason="opened by hand", at=at + 5 * MINUTE,
            after={"state": "active", "tier": 3},
        ),
    )  # fmt: skip
    why = "a store was changed by hand; the grant was revoked"
    about = {"partner": "rookery", "target": grant.id}
    _plant(story, "opening-without-approval", at, about, _TRUE, why)
    story.on(
        at + 16 * MINUTE,
        lambda when: story.do(
            gw.REVOKE, DUTY, when, Revoke(kind=TombstoneKind.GRANT, id=grant.id, reason=why)
        ),
    )
