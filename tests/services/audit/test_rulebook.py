"""Rules in operators' hands: switched, tuned, tried on the history, added, broken, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.model.text import now
from console.services.audit.rules import rule_book
from console.services.audit.rules.trial import period
from tests.services.audit.audit_rig import (
    START,
    Rig,
    call,
    denials,
    running,
    short_folder,
    until,
)
from tests.services.audit.judging import RULES

ZONES = (UTC, timezone(timedelta(hours=-23)), timezone(timedelta(hours=23)))

OWN = """
id = "{name}"
title = "Too many calls to one model"
severity = "low"
reads = "calls"
window_seconds = 60
threshold = 3
group_by = ["partner", "model"]
description = "what it is"
runbook = "what to do"

[match]
model = "aurora-9"
"""
WHY = {"reason": "the night shift asked"}


def check_in_rig(
    check: Callable[[Rig], Awaitable[None]], prepare: Callable[[Path], None] = lambda home: None
) -> None:
    async def run() -> None:
        with short_folder() as home:
            prepare(home)
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


async def rules(rig: Rig, **query: Any) -> dict[str, dict[str, Any]]:
    items = (await rig.get("/v1/rules", limit=500, **query))["items"]
    return {each["id"]: each for each in items}


async def events(rig: Rig, count: int) -> list[tuple[str, str, str]]:
    async def there() -> bool:
        return len(await rig.events(action="rule.", after=-1)) >= count

    await until(there)
    found = await rig.events(action="rule.", after=-1)
    return [(each["action"], each["target"], each["outcome"]) for each in found]


async def quiet(rig: Rig) -> None:
    """Wait until every call was judged."""
    await rig.counted(len(rig.gateway.calls))


def test_a_rule_is_switched_off_and_on_and_each_is_an_event() -> None:
    async def check(rig: Rig) -> None:
        off = await rig.post("/v1/rules/denial-burst/disabling", WHY)
        assert (off["state"], off["enabled"]) == ("off", False)
        again = await rig.post("/v1/rules/denial-burst/disabling", WHY)
        assert again["revision"] == off["revision"]
        rig.gateway.calls += denials(30)
        await quiet(rig)
        assert await rig.alerts(rule="denial-burst") == []
        await rig.post("/v1/rules/denial-burst/enabling", WHY)
        rig.gateway.calls += denials(30)
        await rig.until_alerts(1, rule="denial-burst")
        assert await events(rig, 2) == [
            ("rule.disable", "denial-burst", "success"),
            ("rule.enable", "denial-burst", "success"),
        ]
        assert set(await rules(rig, state="off")) == set()
        with pytest.raises(PilotError) as refused:
            await rig.post("/v1/rules/admitted-after-revoke/disabling", WHY)
        assert refused.value.code == "refused"
        with pytest.raises(PilotError) as unknown:
            await rig.post("/v1/rules/denial-brust/disabling", WHY)
        assert "denial-burst" in unknown.value.hint

    check_in_rig(check)


def test_a_rule_is_tuned_and_goes_back_to_its_file() -> None:
    async def check(rig: Rig) -> None:
        path = "/v1/rules/denial-burst/tuning"
        tuned = await rig.post(
            path, {"threshold": 5, "window_seconds": 30, "severity": "low", **WHY}
        )
        assert (tuned["threshold"], tuned["window_seconds"], tuned["severity"]) == (5, 30, "low")
        rig.gateway.calls += denials(5)
        (alert,) = await rig.until_alerts(1, rule="denial-burst")
        assert (alert["count"], alert["severity"]) == (5, "low")
        back = await rig.post(path, WHY)
        assert (back["threshold"], back["window_seconds"], back["severity"]) == (20, 60, "high")
        assert back.get("tuning", {}) == {}
        for rule, body, says in (
            ("denial-burst", {"factor": 3}, "no factor"),
            ("denial-burst", {"threshold": 5000}, "at most 1000"),
            ("off-hours-use", {"window_seconds": 60}, "the hour"),
            ("volume-spike", {"window_seconds": 60}, "between 600 and"),
        ):
            with pytest.raises(PilotError) as refused:
                await rig.post(f"/v1/rules/{rule}/tuning", {**body, **WHY})
            assert refused.value.code == "invalid"
            assert says in refused.value.message
        body = {"severity": "low", **WHY}
        with pytest.raises(PilotError) as refused:
            await rig.post("/v1/rules/opening-without-approval/tuning", body)
        assert refused.value.code == "refused"

    check_in_rig(check)


def test_what_was_set_outlives_a_restart() -> None:
    async def check() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await rig.post("/v1/rules/denial-burst/tuning", {"threshold": 2, **WHY})
                await rig.post("/v1/rules/egress-undeclared/disabling", WHY)
                body = {"text": OWN.format(name="mine"), **WHY}
                await rig.post("/v1/rules", body)
            (home / "rules" / "mine.toml").unlink()
            async with running(home) as rig:
                rig.gateway.calls += [call(declared=False), *denials(2)]
                rig.gateway.calls += [call(model="aurora-9") for _ in range(3)]
                await rig.until_alerts(3)
                assert {each["rule"] for each in await rig.alerts()} == {
                    "denial-burst",
                    "mine",
                    "rule-weakened",
                }
                assert (await events(rig, 4))[3:] == [("rule.restore", "mine", "success")]
                assert (home / "rules" / "mine.toml").exists()

    asyncio.run(check())


def test_a_rule_is_added_tried_switched_on_and_removed() -> None:
    async def check(rig: Rig) -> None:
        body = {"text": OWN.format(name="mine"), "enabled": False, **WHY}
        made = await rig.post("/v1/rules", body)
        assert (made["state"], made["origin"]) == ("off", "own")
        file = rig.home.path / "rules" / "mine.toml"
        assert file.read_text() == body["text"]
        recent = now() - timedelta(hours=2)
        rig.gateway.calls += [call(model="aurora-9", started_at=recent) for _ in range(4)]
        rig.gateway.calls += [call(model="aurora-9", partner="zenith", started_at=recent)] * 2
        await quiet(rig)
        trial = await rig.get("/v1/rules/mine/trial")
        assert (trial["read"], trial["alerts"], trial["matches"]) == (6, 1, 4)
        assert trial["found"][0]["about"] == {"partner": "acme", "model": "aurora-9"}
        looser = await rig.get("/v1/rules/mine/trial", threshold=1)
        assert (looser["alerts"], looser["matches"]) == (2, 6)
        assert await rig.alerts() == [], "a trial alerts nobody"
        await rig.post("/v1/rules/mine/enabling", WHY)
        rig.gateway.calls += [call(model="aurora-9") for _ in range(3)]
        await rig.until_alerts(1, rule="mine")
        gone = await rig.post("/v1/rules/mine/removal", WHY)
        assert gone["id"] == "mine"
        assert not file.exists()
        assert "mine" not in await rules(rig)
        assert await events(rig, 3) == [
            ("rule.add", "mine", "success"),
            ("rule.enable", "mine", "success"),
            ("rule.remove", "mine", "success"),
        ]
        with pytest.raises(PilotError) as refused:
            await rig.post("/v1/rules/denial-burst/removal", WHY)
        assert "rule disable" in refused.value.hint

    check_in_rig(check)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (
            OWN.format(name="mine").replace("threshold", "treshold"),
            "invalid",
            "mine.toml:7: the key",
        ),
        (OWN.format(name="mine").replace("aurora", "au\\"), "invalid", "line 13"),
        (OWN.format(name="../mine"), "invalid", "lower-case"),
        (OWN.format(name="denial-burst"), "exists", "ships"),
        (OWN.format(name="mine").replace('"model"]', '["x"]]'), "invalid", "mine.toml:8:"),
        (OWN.format(name="mine").replace("Too", "\\u001b[2J"), "invalid", "one line"),
        ("", "invalid", "must not be empty"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_leaves_nothing_behind(
    text: str, code: str, says: str
) -> None:
    async def check(rig: Rig) -> None:
        with pytest.raises(PilotError) as refused:
            await rig.post("/v1/rules", {"text": text, **WHY})
        assert refused.value.code == code
        assert says in refused.value.message
        assert not (rig.home.path / "rules").exists()

    check_in_rig(check)


def test_a_broken_file_is_named_and_takes_no_other_rule_down() -> None:
    def prepare(home: Path) -> None:
        folder = home / "rules"
        folder.mkdir(parents=True)
        (folder / "good.toml").write_text(OWN.format(name="good"))
        text = OWN.format(name="bad").replace('"calls"', '"cals"')
        (folder / "bad.toml").write_text(text)
        (folder / "noise.toml").write_bytes(b"\xff\xfe\x00")
        (folder / "denial-burst.toml").write_text(OWN.format(name="denial-burst"))

    async def check(rig: Rig) -> None:
        found = await rules(rig)
        assert (found["good"]["state"], found["bad"]["state"]) == ("on", "broken")
        assert "bad.toml:5: what it reads, 'cals' is not known" in found["bad"]["error"]
        assert "did you mean 'calls'" in found["bad"]["error"]
        assert (found["denial-burst"]["origin"], found["denial-burst"]["state"]) == (
            "shipped",
            "on",
        )
        notes = "\n".join((await rig.get("/v1/status"))["notes"])
        for name in ("bad.toml:5", "noise.toml", "denial-burst.toml"):
            assert name in notes
        rig.gateway.calls += [*denials(20), *(call(model="aurora-9") for _ in range(3))]
        await rig.until_alerts(2)
        assert {each["rule"] for each in await rig.alerts()} == {"denial-burst", "good"}
        told = await events(rig, 3)
        assert ("rule.break", "bad", "failure") in told
        assert ("rule.add", "good", "success") in told

    check_in_rig(check, prepare)


def test_a_file_that_is_changed_by_hand_is_taken_and_told_and_a_mistake_keeps_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rule_book, "LOOK_SECONDS", 0.1)

    async def check(rig: Rig) -> None:
        await rig.post("/v1/rules", {"text": OWN.format(name="mine"), **WHY})
        await rig.post("/v1/rules/mine/tuning", {"severity": "high", **WHY})
        file = rig.home.path / "rules" / "mine.toml"

        def save(text: str) -> None:
            """Replace the file, as an editor does: one that is half written is a broken rule."""
            half = file.with_suffix(".half")
            half.write_text(text)
            half.replace(file)

        async def is_(state: str, threshold: int) -> None:
            async def there() -> bool:
                rule = (await rules(rig)).get("mine", {"state": "", "threshold": 0})
                return (rule["state"], rule["threshold"]) == (state, threshold)

            await until(there)

        text = OWN.format(name="mine").replace("threshold = 3", "threshold = 2")
        save(text)
        await is_("on", 2)
        assert (await rules(rig))["mine"]["severity"] == "high"
        save(text.replace("[match]", "[mach]"))
        await is_("broken", 2)
        rig.gateway.calls += [call(model="aurora-9") for _ in range(2)]
        await rig.until_alerts(1, rule="mine")
        save(text.replace("threshold = 2", "threshold = 9"))
        await is_("on", 9)
        file.unlink()

        async def gone() -> bool:
            return "mine" not in await rules(rig)

        await until(gone)
        assert [action for action, _, _ in await events(rig, 6)] == [
            "rule.add", "rule.tune", "rule.change", "rule.break", "rule.change", "rule.remove",
        ]  # fmt: skip

    check_in_rig(check)


def test_a_rule_over_events_is_tried_on_the_log_from_a_time_on() -> None:
    async def check(rig: Rig) -> None:
        for day in (40, 20, 5):
            facts = {"code": "terms_lapsed", "lapse_at": "2026-04-01T00:00:00Z", "days": 7}
            rig.policy.record(
                1, "grant.warn", kind="grant", target=f"grt_{day}", partner="acme",
                facts=facts, at=now() - timedelta(days=day),
            )  # fmt: skip
        await rig.logged(3)
        since = (now() - timedelta(days=30)).isoformat()
        trial = await rig.get("/v1/rules/expiring-soon/trial", since=since)
        assert {each["about"]["target"] for each in trial["found"]} == {"grt_20", "grt_5"}
        week = await rig.get("/v1/rules/expiring-soon/trial")
        assert week["alerts"] == 1
        for query, code in (
            ({"since": "yesterday"}, "malformed"),
            ({"since": "0001-01-01T00:00:00Z"}, "malformed"),
            ({"since": "2026-01-01T00:00:00"}, "malformed"),
            ({"window_seconds": 0}, "invalid"),
            ({"threshold": "many"}, "invalid"),
            ({"threshold": 10**30}, "invalid"),
            ({"factor": 3}, "invalid"),
        ):
            with pytest.raises(PilotError) as refused:
                await rig.get("/v1/rules/expiring-soon/trial", **query)
            assert refused.value.code == code, query

    check_in_rig(check)


@given(
    st.datetimes(timezones=st.sampled_from(ZONES)),
    st.sampled_from(["since", "until"]),
    st.sampled_from(["volume-spike", "off-hours-use", "expiring-soon"]),
)
@example(datetime(1, 1, 1, tzinfo=UTC), "since", "volume-spike")
@example(datetime(1, 1, 1, tzinfo=ZONES[2]), "until", "off-hours-use")
@example(datetime(1991, 1, 1, tzinfo=ZONES[2]), "until", "off-hours-use")
@example(datetime(8999, 12, 31, tzinfo=ZONES[1]), "since", "volume-spike")
@example(datetime(9999, 12, 31, tzinfo=ZONES[1]), "since", "expiring-soon")
@settings(max_examples=100)
def test_a_trial_of_any_period_is_led_up_to_or_refused_with_its_reason(
    moment: datetime, name: str, rule: str
) -> None:
    week = timedelta(days=7)
    longest = RULES[rule]._replace(window=week)
    if not 1990 < moment.year < 9000:
        with pytest.raises(PilotError, match=name) as refused:
            period({name: moment.isoformat()}, longest, START)
        assert refused.value.code == "malformed"
        return
    led, since, until = period({name: moment.isoformat()}, longest, START)
    assert {"since": since, "until": until}[name] == moment
    assert led <= since - week
    for each in (led, since, until + week):
        each.astimezone(UTC).timestamp()


def test_a_trial_of_calls_begins_where_the_time_says_and_learns_the_norm_before_it() -> None:
    async def check(rig: Rig) -> None:
        for day in range(9):
            for hour in range(8, 18):
                at = START + timedelta(days=day, hours=hour - 12)
                rig.gateway.calls += [
                    call(started_at=at + timedelta(minutes=5 * nth)) for nth in range(10)
                ]
        spike = START + timedelta(days=9, hours=-2)
        rig.gateway.calls += [call(started_at=spike + timedelta(seconds=nth)) for nth in range(300)]
        query = {
            "since": (spike - timedelta(hours=1)).isoformat(),
            "until": (spike + timedelta(hours=1)).isoformat(),
        }
        trial = await rig.get("/v1/rules/volume-spike/trial", **query)
        assert (trial["alerts"], trial["matches"]) == (1, 300)
        none = await rig.get("/v1/rules/volume-spike/trial", **query, threshold=1000)
        assert none["alerts"] == 0

    check_in_rig(check)
