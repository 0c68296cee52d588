"""Rule files: read strictly, and meaning exactly what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.model.audit import Evidence
from console.services.audit.rule import Rule, Window, advance
from console.services.audit.rulefile import load_rule, load_rules

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


def test_a_rule_matches_only_where_every_condition_holds(tmp_path: Path) -> None:
    sample = rule(tmp_path)
    fits = {"outcome": "denied", "code": "key_revoked", "input_tokens": 5, "partner": "acme"}
    assert sample.matches(fits)
    for name, other in (("outcome", "allowed"), ("code", "locked"), ("input_tokens", 4)):
        assert not sample.matches(fits | {name: other})
    assert sample.fingerprint(sample.group(fits)) != sample.fingerprint(("zenith",))


@given(st.lists(st.integers(0, 120), max_size=60), st.integers(1, 7), st.integers(1, 30), st.data())
@bounded(max_examples=150, deadline=None)
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
    seen = [Evidence(kind="call", id=str(at), at=time, summary="") for at, time in enumerate(times)]

    counted: set[int] = set()
    for last in range(threshold - 1, len(times)):
        run = range(last - threshold + 1, last + 1)
        if times[last] - times[run[0]] <= timedelta(seconds=window):
            counted |= set(run)

    state, total, left = Window(), 0, seen
    while left:
        size = data.draw(st.integers(1, len(left)))
        state, fired = advance(sample, state, left[:size], newest=20)
        total += fired.matches if fired else 0
        left = left[size:]
    assert total == len(counted)
