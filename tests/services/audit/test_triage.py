"""Alerts in operators' hands: whose, how urgent, put off, silenced, judged, looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from console.errors import PilotError
from console.model.text import now, rfc3339
from tests.ocsf import faults
from tests.services.audit.audit_rig import Clock, Rig, call, denials, running, short_folder, until
from tests.services.audit.judging import RULES

REFUSALS = {"outcome": "denied", "status": 403}


def check_in_rig(check: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def ahead(**told: float) -> str:
    return rfc3339(now() + timedelta(**told))


async def refused(asked: Awaitable[Any], code: str, says: str = "") -> PilotError:
    with pytest.raises(PilotError) as error:
        await asked
    assert error.value.code == code
    assert says in error.value.message + error.value.hint
    return error.value


async def one_alert(rig: Rig, **told: Any) -> tuple[dict[str, Any], str]:
    rig.gateway.calls.append(call(declared=False, **told))
    (alert,) = await rig.until_alerts(1, rule="egress-undeclared")
    return alert, f"/v1/alerts/{alert['id']}"


def test_an_alert_is_handed_over_commented_on_and_reopened() -> None:
    async def check(rig: Rig) -> None:
        assert rig.audit is not None
        me = (await rig.get("/v1/status"))["operator"]["name"]
        alert, path = await one_alert(rig)
        await refused(rig.post(path + "/assignment", {"assignee": "nobody-here"}), "invalid")
        given = await rig.post(path + "/assignment", {"assignee": me, "reason": "yours"})
        assert (given["assignee"], given["state"], given["note"]) == (me, "new", "yours")
        again = await rig.post(path + "/assignment", {"assignee": me})
        assert again["revision"] == given["revision"]
        assert [each["id"] for each in await rig.alerts(assignee=me)] == [alert["id"]]
        assert await rig.alerts(assignee="other") == []
        taken = await rig.post(path + "/acknowledgement", {})
        assert taken["state"] == "in_progress"
        said = await rig.post(path + "/comments", {"text": "asked their contact"})
        assert [each["text"] for each in said["comments"]] == ["asked their contact"]
        assert said["comments"][0]["by"] == me
        await refused(rig.post(path + "/reopening", {"reason": "no"}), "state", "was not closed")
        await rig.post(path + "/closure", {"verdict": "benign", "reason": "theirs"})
        late = await rig.post(path + "/comments", {"text": "it was not"})
        assert (late["state"], len(late["comments"])) == ("resolved", 2)
        back = await rig.post(path + "/reopening", {"reason": "it was not theirs"})
        assert (back["state"], back["verdict"]) == ("reopened", "")

        async def told() -> bool:
            actions = [each["action"] for each in await rig.events(action="alert.", after=-1)]
            return actions == [
                "alert.create", "alert.assign", "alert.acknowledge", "alert.comment",
                "alert.close", "alert.comment", "alert.reopen",
            ]  # fmt: skip

        await until(told)
        for each in await rig.events():
            assert faults(msgspec.json.decode(each["body"])) == []

    check_in_rig(check)


def test_a_snoozed_alert_wakes_in_time_and_when_it_has_doubled(clock: Clock) -> None:
    async def check(rig: Rig) -> None:
        alert, path = await one_alert(rig)
        for far, says in ((ahead(days=8), "seven days"), (ahead(minutes=-1), "past")):
            body = {"until": far, "reason": "later"}
            await refused(rig.post(path + "/snooze", body), "invalid", says)
        body = {"until": ahead(hours=1), "reason": "a known job"}
        asleep = await rig.post(path + "/snooze", body)
        assert (asleep["state"], asleep["snoozed_at_count"]) == ("snoozed", 1)
        rig.gateway.calls.append(call(declared=False))
        (awake,) = await rig.until_alerts(1, state="new")
        assert (awake["id"], awake["count"]) == (alert["id"], 2)
        assert awake.get("snoozed_until") is None
        await rig.post(path + "/acknowledgement", {})
        await rig.post(path + "/snooze", body)
        rig.gateway.calls.append(call(declared=False))

        async def counted() -> bool:
            return (await rig.get(path))["count"] == 3

        await until(counted)
        assert (await rig.get(path))["state"] == "snoozed"
        await rig.post(path + "/snooze", {"until": ahead(hours=1), "reason": "short"})
        clock.ahead = timedelta(hours=2)
        (woken,) = await rig.until_alerts(1, state="in_progress")
        assert woken["id"] == alert["id"]

        async def told() -> bool:
            events = await rig.events(action="alert.wake", after=-1)
            reasons = [each["reason"] for each in events]
            return reasons == ["its count doubled", "its snooze is over"]

        await until(told)

    check_in_rig(check)


def test_a_severity_is_only_raised_and_stays_raised_while_the_alert_is_open() -> None:
    async def check(rig: Rig) -> None:
        _, path = await one_alert(rig)
        body = {"severity": "low", "reason": "no"}
        await refused(rig.post(path + "/escalation", body), "state", "medium already")
        await refused(rig.post(path + "/escalation", {"reason": "up"}), "state", "oncall add")
        raised = await rig.post(path + "/escalation", {"severity": "critical", "reason": "bad"})
        assert raised["severity"] == "critical"
        rig.gateway.calls.append(call(declared=False))

        async def counted() -> bool:
            return (await rig.get(path))["count"] == 2

        await until(counted)
        assert (await rig.get(path))["severity"] == "critical"
        assert (await rig.alerts(severity="critical"))[0]["count"] == 2

    check_in_rig(check)


def silence(*matchers: tuple[str, str], **told: Any) -> dict[str, Any]:
    listed = [{"field": field, "pattern": pattern} for field, pattern in matchers]
    return {"matchers": listed, "ends_at": ahead(hours=1), "reason": "maintenance", **told}


def test_a_silence_mutes_what_matches_counts_its_hits_and_ends_with_the_alert() -> None:
    async def check(rig: Rig) -> None:
        alert, path = await one_alert(rig)
        made = await rig.post("/v1/silences", silence(("rule", "egress-*"), ("partner", "acme")))
        assert (made["alerts"], made["hits"], made["state"]) == (1, 0, "active")
        muted = await rig.get(path)
        assert muted["silenced_by"] == [made["id"]]
        rig.gateway.calls += [call(declared=False) for _ in range(3)]
        rig.gateway.calls.append(call(declared=False, credential_id="crd_other"))
        rig.gateway.calls.append(call(declared=False, partner="zenith", credential_id="crd_z"))
        await rig.until_alerts(3)
        held = await rig.get(f"/v1/silences/{made['id']}")
        assert (held["hits"], held["alerts"]) == (4, 2)
        assert {each["partner"] for each in await rig.alerts(silenced="no")} == {"zenith"}
        assert len(await rig.alerts(silenced="yes")) == 2
        assert (await rig.alerts())[0]["partner"] == "zenith", "what is muted ranks lower"
        verdict = {"verdict": "benign", "reason": "theirs"}
        await rig.post(path + "/closure", verdict)
        assert (await rig.get(f"/v1/silences/{made['id']}"))["state"] == "active"
        (last,) = await rig.alerts(silenced="yes", state="open")
        await rig.post(f"/v1/alerts/{last['id']}/closure", verdict)
        ended = await rig.get(f"/v1/silences/{made['id']}")
        assert (ended["state"], ended["ended_by"]) == ("ended", "system")
        assert ended["ended_why"] == "its alerts are resolved"
        assert alert["id"]

    check_in_rig(check)


def test_a_silence_ends_in_time_and_by_hand_and_is_heard_again(clock: Clock) -> None:
    async def check(rig: Rig) -> None:
        _, path = await one_alert(rig)
        made = await rig.post("/v1/silences", silence(("partner", "acme")))
        clock.ahead = timedelta(hours=2)

        async def ended() -> bool:
            return (await rig.get(f"/v1/silences/{made['id']}"))["state"] == "ended"

        await until(ended)
        clock.ahead = timedelta()
        assert (await rig.get(path)).get("silenced_by", []) == []
        other = await rig.post("/v1/silences", silence(("network", "*"), ("severity", "medium")))
        done = await rig.post(f"/v1/silences/{other['id']}/end", {"reason": "over"})
        assert (done["state"], done["ended_why"]) == ("ended", "over")
        again = await rig.post(f"/v1/silences/{other['id']}/end", {"reason": "over"})
        assert again["revision"] == done["revision"]
        assert len((await rig.get("/v1/silences"))["items"]) == 2
        assert (await rig.get("/v1/silences", state="active"))["items"] == []

    check_in_rig(check)


def test_a_critical_alert_is_never_silenced_not_even_one_that_becomes_critical() -> None:
    async def check(rig: Rig) -> None:
        _, path = await one_alert(rig)
        made = await rig.post("/v1/silences", silence(("partner", "acme"), ("severity", "*")))
        assert (await rig.get(path))["silenced_by"] == [made["id"]]
        raised = await rig.post(path + "/escalation", {"severity": "critical", "reason": "bad"})
        assert raised.get("silenced_by", []) == []
        told = {"kind": "grant", "target": "grt_dead", "enforced_at": "2026-03-01T11:00:00Z"}
        rig.gateway.record(1, "receipt.verify", kind="receipt", target="rcp_1", after=told)
        await rig.logged(1)
        await asyncio.sleep(0.2)
        rig.gateway.calls.append(call(grant_id="grt_dead", credential_id="crd_d"))
        (worst,) = await rig.until_alerts(1, rule="admitted-after-revoke")
        assert worst.get("silenced_by", []) == []
        rig.gateway.calls.append(call(declared=False))
        await asyncio.sleep(0.3)
        assert (await rig.get(path)).get("silenced_by", []) == []

    check_in_rig(check)


def test_an_alert_of_a_rule_that_guards_an_invariant_is_never_silenced() -> None:
    async def check(rig: Rig) -> None:
        required = [name for name, each in RULES.items() if each.required]
        assert "rule-weakened" in required
        for pattern in (*required, "rule-*", "rule-weakene?"):
            body = silence(("rule", pattern))
            await refused(rig.post("/v1/silences", body), "invalid", "guards an invariant")
        made = await rig.post("/v1/silences", silence(("rule", "r*"), ("severity", "high")))
        wide = await rig.post("/v1/silences", silence(("severity", "h*")))
        await rig.post("/v1/rules/refusal-jump/disabling", {"reason": "noisy"})
        (alert,) = await rig.until_alerts(1, rule="rule-weakened")
        assert (alert["severity"], alert.get("silenced_by", [])) == ("high", [])
        await rig.post("/v1/silences", silence(("target", "refusal-*")))
        (alert,) = await rig.alerts(rule="rule-weakened")
        assert alert.get("silenced_by", []) == []
        for each in (made, wide):
            assert (await rig.get(f"/v1/silences/{each['id']}"))["hits"] == 0

    check_in_rig(check)


def test_a_silence_that_is_too_long_too_wide_or_misspelled_is_refused() -> None:
    async def check(rig: Rig) -> None:
        for body, says in (
            (silence(("rule", "x"), ends_at=ahead(hours=25)), "24 hours"),
            (silence(("rule", "x"), ends_at=ahead(hours=-1)), "past"),
            (silence(("rule", "*"), ("partner", "**")), "mute everything"),
            (silence(("severity", "critical")), "never silenced"),
            (silence(("partnr", "acme")), "did you mean partner"),
            (silence(("rule", "a"), ("rule", "b")), "there twice"),
            (silence(), "nothing to mute"),
        ):
            await refused(rig.post("/v1/silences", body), "invalid", says)

    check_in_rig(check)


def test_a_grouped_flood_under_a_silence_keeps_its_true_count() -> None:
    async def check(rig: Rig) -> None:
        made = await rig.post("/v1/silences", silence(("rule", "denial-burst")))
        rig.gateway.calls += denials(5_000)

        async def whole() -> bool:
            found = await rig.alerts(rule="denial-burst")
            return bool(found) and found[0]["count"] == 5_000

        await until(whole)
        held = await rig.get(f"/v1/silences/{made['id']}")
        assert (held["hits"], held["alerts"]) == (5_000, 1)

    check_in_rig(check)
