"""Each shipped rule against an oracle written apart from it, over the demo's whole history."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import oracle
import pytest
from made_home import MadeHome, made_home

from console.services.demo.incidents import QUIET_WEEK

pytestmark = pytest.mark.long

SHIPPED = Path(sys.modules["console"].__path__[0]) / "services" / "audit" / "rules" / "shipped"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return made_home(tmp_path_factory.mktemp("demo"), day=90)


@pytest.fixture(scope="module")
def history(home: MadeHome) -> oracle.History:
    return oracle.read(home.path)


def test_each_rule_finds_what_the_oracle_finds_and_nothing_else(history: oracle.History) -> None:
    found = oracle.scores(history)
    print("\n" + oracle.table(found))
    assert {each.rule for each in found} == {path.stem for path in SHIPPED.glob("*.toml")}
    for each in found:
        assert each.expected, f"{each.rule} has nothing to find in the history"
        assert (each.precision, each.recall) == (1.0, 1.0), (
            each.rule,
            each.expected ^ each.found,
        )


def test_each_planted_incident_became_its_alert(home: MadeHome, history: oracle.History) -> None:
    assert len(home.made.planted) >= 16
    for planted in home.made.planted:
        wanted = oracle.about(**planted.about)
        assert any(rule == planted.rule and wanted <= group for rule, group in history.alerts), (
            planted
        )


def test_every_alert_but_the_youngest_has_its_verdict(
    home: MadeHome, history: oracle.History
) -> None:
    old = [
        alert
        for alert in history.alerts.values()
        if oracle.moment(alert["last_seen_at"]) < (home.end - timedelta(days=2)).timestamp()
    ]
    assert len(old) > 20
    assert {alert["state"] for alert in old} == {"resolved"}
    assert {alert["verdict"] for alert in old} >= {"true_positive", "benign", "duplicate"}


def test_nothing_fires_in_the_quiet_week(home: MadeHome, history: oracle.History) -> None:
    begin, end = QUIET_WEEK
    since = home.made.first + timedelta(days=begin)
    fired = [
        event["message"]
        for event in history.events
        if event["metadata"]["event_code"] in {"alert.create", "alert.reopen", "alert.update"}
        and oracle.within(event["unmapped"]["at"], since, end - begin)
    ]
    assert fired == []
    calls = [
        call for call in history.calls if oracle.within(call["started_at"], since, end - begin)
    ]
    assert len(calls) > 1500


def test_a_month_without_an_incident_fires_nothing_but_what_expires(tmp_path: Path) -> None:
    calm = oracle.read(made_home(tmp_path, day=30, calm=True).path)
    assert {rule for rule, _ in calm.alerts} <= {"expiring-soon", "expiring-tomorrow"}
