"""Rule files: read strictly, and meaning exactly what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.model.audit import Evidence
from console.services.audit.rules.counting import CountState, count
from console.services.audit.rules.replay import evaluate
from console.services.audit.rules.rule import Rule, Seen
from console.services.audit.rules.rule_file import SHIPPED, load_rule, load_rules
from console.services.audit.rules.weekly_hours import schedule
from tests.services.audit.judging import one_after_another

WHOLE = """
id = "sample"
title = "A sample"
severity = "low"
reads = "calls"
window_seconds = 10
threshold = 3
group_by = ["partner"]
description = "what it is"
runbook = "what to do"

[match]
outcome = "denied"
code = { starts = "key_" }
input_tokens = { at_least = 5 }
"""

AT = datetime(2026, 3, 1, tzinfo=UTC)


def rule(folder: Path, text: str = WHOLE, name: str = "sample.toml") -> Rule:
    (folder / name).write_text(text)
    return load_rule(folder / name)


def test_the_shipped_rules_are_whole() -> None:
    rules = {each.id: each for each in load_rules()}
    assert set(rules) >= {
        "denial-burst",
        "egress-undeclared",
        "revoked-key-used",
        "admitted-after-revoke",
    }
    for each in rules.values():
        assert each.description
        assert each.runbook
        assert len(each.revision) == 64


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("threshold = 3", "treshold = 3", 7, "did you mean 'threshold'"),
        ("threshold = 3", "threshold = 0", 7, "between 1 and 1000"),
        ("threshold = 3", 'threshold = "3"', 7, "must be a whole number"),
        ('outcome = "denied"', 'outcom = "denied"', 13, "did you mean 'outcome'"),
        ('outcome = "denied"', "outcome = 3", 13, "is a text, not 3"),
        ('outcome = "denied"', "outcome = []", 13, "would never match"),
        ('{ starts = "key_" }', '{ start = "key_" }', 14, "did you mean 'starts'"),
        ("{ at_least = 5 }", '{ starts = "5" }', 15, "does not apply"),
        ('["partner"]', '["partnr"]', 8, "did you mean 'partner'"),
        ('severity = "low"', 'severity = "lowest"', 4, "'lowest' is not known"),
        ('reads = "calls"', 'reads = "cals"', 5, "did you mean 'calls'"),
        ('id = "sample"', 'id = "other"', 2, "the file's name"),
        ('title = "A sample"', "", 0, "title is missing"),
        ("[match]", "[match", 0, "line 12"),
        ("threshold = 3", 'threshold = 3\nkind = "cuont"', 8, "did you mean 'count'"),
        ("threshold = 3", "threshold = 3\nfactor = 3", 8, "means nothing to a rule of the kind"),
        ("threshold = 3", 'threshold = 3\nkind = "norm"', 8, "needs factor"),
        ("threshold = 3", 'threshold = 3\nkind = "distinct"\nfield = "nework"', 9, "'network'"),
    ],
)
def test_what_is_not_understood_is_refused_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in WHOLE
    with pytest.raises(PilotError) as refused:
        rule(tmp_path, WHOLE.replace(old, new))
    assert refused.value.code == "rule-invalid"
    assert refused.value.exit == ExitCode.USAGE
    assert says in refused.value.message
    where = f"{tmp_path}/sample.toml:{line}:" if line else f"{tmp_path}/sample.toml"
    assert refused.value.message.startswith(where)


def test_the_threshold_of_spend_is_an_amount_and_kept_in_micro_units(tmp_path: Path) -> None:
    text = (SHIPPED / "spend-spike.toml").read_text()
    assert 'threshold = "5.00"' in text
    assert load_rule(SHIPPED / "spend-spike.toml").threshold == 5_000_000
    less = text.replace('"5.00"', '"0.25"')
    assert rule(tmp_path, less, "spend-spike.toml").threshold == 250_000
    for wrong in ("5000000", "5.0", '"5,00"', '"-1"', '"1e3"', '"0.0000001"', '"0"'):
        with pytest.raises(PilotError) as caught:
            rule(tmp_path, text.replace('"5.00"', wrong), "spend-spike.toml")
        assert caught.value.exit is ExitCode.USAGE
        assert "spend-spike.toml:9: threshold" in caught.value.message, wrong


def test_a_rule_matches_only_where_every_condition_holds(tmp_path: Path) -> None:
    sample = rule(tmp_path)
    fits = {"outcome": "denied", "code": "key_revoked", "input_tokens": 5, "partner": "acme"}
    assert sample.matches(fits)
    for name, other in (("outcome", "allowed"), ("code", "locked"), ("input_tokens", 4)):
        assert not sample.matches(fits | {name: other})
    assert sample.fingerprint(sample.group(fits)) != sample.fingerprint(("zenith",))


@given(st.lists(st.integers(0, 120), max_size=60), st.integers(1, 7), st.integers(1, 30), st.data())
@bounded(max_examples=150)
def test_a_match_counts_exactly_once_however_the_batches_fall(
    tmp_path_factory: pytest.TempPathFactory,
    seconds: list[int],
    threshold: int,
    window: int,
    data: st.DataObject,
) -> None:
    """In order of time, batches change nothing; and the count is what the definition gives."""
    text = WHOLE.replace("threshold = 3", f"threshold = {threshold}")
    text = text.replace("window_seconds = 10", f"window_seconds = {window}")
    sample = rule(tmp_path_factory.mktemp("r"), text)
    times = [AT + timedelta(seconds=each) for each in sorted(seconds)]
    seen = [
        Seen(time, {}, partial(Evidence, kind="call", id=str(at), at=time, summary=""))
        for at, time in enumerate(times)
    ]

    counted: set[int] = set()
    for last in range(threshold - 1, len(times)):
        run = range(last - threshold + 1, last + 1)
        if times[last] - times[run[0]] <= timedelta(seconds=window):
            counted |= set(run)

    state, total, left = CountState(), 0, seen
    while left:
        size = data.draw(st.integers(1, len(left)))
        state, fired = count(sample, state, left[:size])
        total += fired.matches if fired else 0
        left = left[size:]
    assert total == len(counted)


NORM = """
id = "sample"
title = "A sample"
severity = "low"
reads = "calls"
kind = "norm"
measure = "tokens"
window_seconds = 3600
threshold = 50
factor = 2.5
history = 6
group_by = ["partner"]
description = "what it is"
runbook = "what to do"

[match]
partner = { not = "" }
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"tokens"', '"token"', 7, "did you mean 'tokens'"),
        ("factor = 2.5", "factor = 1", 10, "above 1"),
        ("history = 6", "history = 0", 11, "between 1 and 1000"),
        ("window_seconds = 3600", "window_seconds = 60", 8, "between 600 and 86400"),
        ('reads = "calls"', 'reads = "events"', 5, "reads calls"),
    ],
)
def test_a_norm_is_checked_too(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert rule(tmp_path, NORM).factor == 2.5
    text = NORM.replace(old, new)
    with pytest.raises(PilotError) as refused:
        rule(tmp_path, text)
    assert says in refused.value.message
    assert f"sample.toml:{line}:" in refused.value.message


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", "2026-03-02T08:00:00Z", "2026-03-01T12:00:00Z"),
        ("08:00-18:00", "2026-03-01T17:59:00Z", "2026-03-01T18:00:00Z"),
        ("22:00-06:00", "2026-03-01T05:59:00Z", "2026-03-01T06:00:00Z"),
        ("fri 22:00-06:00", "2026-03-07T03:00:00Z", "2026-03-06T03:00:00Z"),
        ("fri-mon 09:00-10:00", "2026-03-01T09:30:00Z", "2026-03-04T09:30:00Z"),
        (
            "mon-fri 09:00-17:00 America/New_York",
            "2026-03-02T20:00:00Z",
            "2026-03-02T10:00:00Z",
        ),
        ("mon 09:00-10:00; tue 11:00-12:00", "2026-03-03T11:30:00Z", "2026-03-03T09:30:00Z"),
    ],
)
def test_hours_are_read_as_people_write_them(text: str, inside: str, outside: str) -> None:
    hours = schedule(text)
    assert hours.holds(datetime.fromisoformat(inside))
    assert not hours.holds(datetime.fromisoformat(outside))


@pytest.mark.parametrize(
    "text", ["8-18", "mo 08:00-18:00", "08:00-08:00", "08:60-09:00", "08:00-18:00 Mars/Base", "x"]
)
def test_hours_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        schedule(text)


def test_declared_hours_win_over_learned_ones(tmp_path: Path) -> None:
    text = (SHIPPED / "off-hours-use.toml").read_text().replace("off-hours-use", "sample")
    text += '\n[hours]\nacme = "mon-fri 08:00-18:00 America/New_York"\n'
    sample = rule(tmp_path, text)
    tokyo_noon = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
    office = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
    for at, fires in ((tokyo_noon, True), (office, False)):
        alerts = evaluate([sample], one_after_another(12, at))
        assert bool(alerts) == fires
