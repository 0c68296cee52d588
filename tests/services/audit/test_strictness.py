"""A rule that is said to be as strict as before alerts on every history that alerted before."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.model.audit import SEVERITY_ID, Severity
from console.services.audit.rules import rule_book
from console.services.audit.rules.replay import evaluate
from console.services.audit.rules.rule import Condition, Rule
from console.services.audit.rules.rule_file import read_rule
from console.services.audit.rules.strictness import weaker
from tests.services.audit import audit_rig
from tests.services.audit.audit_rig import START, call, running, short_folder, until
from tests.services.audit.judging import RULES

WHY = {"reason": "the night shift asked"}
MODELS = ["aurora-1", "aurora-2", "beta-1"]
CODES = ["", "locked", "key_revoked", "model_out_of_scope"]

conditions = st.one_of(
    st.builds(
        lambda operator, values: Condition("model", operator, tuple(values)),
        st.sampled_from(["any", "not"]),
        st.lists(st.sampled_from(MODELS), min_size=1, unique=True),
    ),
    st.builds(
        lambda start: Condition("model", "starts", (start,)),
        st.sampled_from(["a", "aurora", "aurora-1", "b"]),
    ),
    st.builds(
        lambda operator, least: Condition("status", operator, (least,)),
        st.sampled_from(["any", "not", "at_least", "at_most"]),
        st.sampled_from([200, 403, 429]),
    ),
    st.builds(
        lambda operator, values: Condition("code", operator, tuple(values)),
        st.sampled_from(["any", "not"]),
        st.lists(st.sampled_from(CODES), min_size=1, unique=True),
    ),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind = draw(st.sampled_from(["count", "distinct"]))
    match = {each.field: each for each in draw(st.lists(conditions, min_size=1, max_size=3))}
    return RULES["denial-burst"]._replace(
        kind=kind,
        field="address" if kind == "distinct" else "",
        match=tuple(match.values()),
        window=timedelta(seconds=draw(st.sampled_from([1, 10, 60, 600]))),
        threshold=draw(st.integers(1, 6)),
        group_by=draw(st.sampled_from([("partner",), ("partner", "model")])),
        severity=draw(st.sampled_from(list(Severity))),
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[Rule, Rule]:
    """A rule, and it with some of its parts exchanged for another's."""
    one, other = draw(rules()), draw(rules())
    parts = ["match", "window", "threshold", "severity", "group_by"]
    taken = draw(st.sets(st.sampled_from(parts)))
    return one, one._replace(**{name: getattr(other, name) for name in taken})


def history(rng: random.Random) -> list[Any]:
    at, made = START, []
    for _ in range(rng.randint(1, 60)):
        at += timedelta(seconds=rng.choice([0.2, 3, 3, 40]))
        refused = rng.random() < 0.6
        made.append(
            call(
                started_at=at,
                partner=rng.choice(["acme", "zenith"]),
                model=rng.choice(MODELS),
                address=f"203.0.113.{rng.randint(1, 9)}",
                outcome="denied" if refused else "allowed",
                status=rng.choice([403, 429]) if refused else 200,
                code=rng.choice(CODES[1:]) if refused else "",
            )
        )
    return made


@given(change=changes(), rng=st.randoms(use_true_random=False))
@settings(max_examples=250)
def test_what_is_not_weaker_alerts_on_every_history_that_alerted(
    change: tuple[Rule, Rule], rng: random.Random
) -> None:
    before, after = change
    if weaker(before, after):
        return
    assert SEVERITY_ID[after.severity] >= SEVERITY_ID[before.severity]
    calls = history(rng)
    alerted = {tuple(found.about.values()) for _, found in evaluate([before], calls)}
    assert alerted <= {tuple(found.about.values()) for _, found in evaluate([after], calls)}


BASE = RULES["denial-burst"]


@pytest.mark.parametrize(
    ("rule", "change", "is_weaker"),
    [
        (BASE, {"threshold": 19}, False),
        (BASE, {"threshold": 21}, True),
        (BASE, {"window": timedelta(seconds=61)}, False),
        (BASE, {"window": timedelta(seconds=59)}, True),
        (BASE, {"severity": Severity.CRITICAL}, False),
        (BASE, {"severity": Severity.LOW}, True),
        (BASE, {"match": ()}, False),
        (BASE, {"match": (*BASE.match, Condition("model", "any", ("aurora-1",)))}, True),
        (BASE, {"group_by": ("partner",)}, True),
        (BASE, {"title": "other words", "runbook": "do nothing"}, False),
        (RULES["volume-spike"], {"factor": 2.0}, True),
        (RULES["volume-spike"], {"severity": Severity.CRITICAL}, False),
        (RULES["refusal-jump"], {"factor": 1.5}, False),
        (RULES["refusal-jump"], {"window": timedelta(hours=12)}, True),
        (RULES["off-hours-use"], {"threshold": 1}, False),
        (RULES["break-glass-used"], {"required": False}, True),
        (RULES["opening-without-approval"], {"backing": ()}, True),
    ],
)
def test_each_change_is_weaker_or_is_not(
    rule: Rule, change: dict[str, Any], is_weaker: bool
) -> None:
    assert bool(weaker(rule, rule._replace(**change))) is is_weaker
    assert not weaker(rule, rule)


def test_required_rules_are_only_made_stricter_and_break_glass_is_told_all_the_same() -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                required = [each.id for each in RULES.values() if each.required]
                assert "break-glass-used" in required
                for name in required:
                    for path, body in (
                        ("disabling", {}),
                        ("tuning", {"threshold": 1000, "window_seconds": 1}),
                        ("tuning", {"severity": "low"}),
                    ):
                        with pytest.raises(PilotError) as refused:
                            await rig.post(f"/v1/rules/{name}/{path}", {**body, **WHY})
                        assert refused.value.code == "refused"
                longer = {"window_seconds": 90_000, **WHY}
                tuned = await rig.post("/v1/rules/break-glass-used/tuning", longer)
                assert (tuned["window_seconds"], tuned.get("weaker", [])) == (90_000, [])
                with pytest.raises(PilotError) as refused:
                    await rig.post("/v1/rules/break-glass-used/tuning", WHY)
                assert "window 86400 s, not 90000 s" in refused.value.message
                rig.gateway.record(1, "break-glass.use", kind="operator", target="break-glass-1")
                await rig.until_alerts(1, rule="break-glass-used")
                assert await rig.alerts(rule="rule-weakened") == []

    asyncio.run(run())


def test_weakening_any_other_rule_raises_an_alert_that_names_it_and_making_it_stricter_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rule_book, "LOOK_SECONDS", 0.05)
    own = (
        'id = "mine"\ntitle = "Mine"\nseverity = "low"\nreads = "calls"\nwindow_seconds = 60\n'
        'threshold = {}\ngroup_by = ["partner"]\ndescription = "x"\nrunbook = "x"\n'
        '[match]\nmodel = "aurora-9"\n'
    )

    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                file = home / "rules" / "mine.toml"
                await rig.post("/v1/rules", {"text": own.format(3), **WHY})
                await rig.post("/v1/rules/denial-burst/tuning", {"threshold": 5, **WHY})
                await rig.post("/v1/rules/refusal-jump/disabling", WHY)
                back = await rig.post("/v1/rules/denial-burst/tuning", WHY)
                assert back["weaker"] == ["threshold 20, not 5"]
                file.write_text(own.format(2))
                found = await rig.until_alerts(2, rule="rule-weakened")
                assert {each["about"]["target"] for each in found} == {
                    "denial-burst",
                    "refusal-jump",
                }
                file.write_text(own.format(30))
                await rig.until_alerts(3, rule="rule-weakened")
                file.unlink()

                async def counted() -> bool:
                    told = await rig.alerts(rule="rule-weakened")
                    counts = {each["about"]["target"]: each["count"] for each in told}
                    return counts.get("mine") == 2

                await until(counted)

    asyncio.run(run())


def test_a_required_rule_that_was_off_or_weaker_is_put_back_as_the_service_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        with short_folder() as home:
            with monkeypatch.context() as before:
                before.setattr(audit_rig, "load_rules", _as_nothing_was_required)
                async with running(home) as rig:
                    await rig.post("/v1/rules/break-glass-used/disabling", WHY)
                    weak = {"threshold": 1000, "window_seconds": 1, **WHY}
                    await rig.post("/v1/rules/admitted-after-revoke/tuning", weak)
            async with running(home) as rig:
                there = {each["id"]: each for each in (await rig.get("/v1/rules"))["items"]}
                assert there["break-glass-used"]["state"] == "on"
                assert there["admitted-after-revoke"]["threshold"] == 1

                async def told() -> bool:
                    events = await rig.events(action="rule.restore", after=-1)
                    return len(events) == 2

                await until(told)

    asyncio.run(run())


def _as_nothing_was_required() -> tuple[Rule, ...]:
    return tuple(
        read_rule(Path(f"{each.id}.toml"), _text(each.id).replace("required = true\n", "").encode())
        for each in RULES.values()
    )


def _text(name: str) -> str:
    return (Path(rule_book.__file__).parent / "shipped" / f"{name}.toml").read_text()
