"""`pilotctl wait` refuses at once what can never become so, for every noun."""

from __future__ import annotations

import random

import pytest
from pilot_rig import GRANT_ID, grant

from console.operations.index import NOUNS, load

WAITED = [
    noun for noun in NOUNS if noun != "audit" and {op.verb for op in load(noun)} & {"show", "list"}
]


@pytest.mark.parametrize("noun", WAITED)
def test_a_field_that_a_noun_never_has_is_refused_before_anything_is_asked(rig, noun):
    ended = rig("wait", noun, "some-id", "--for", "bogus=active", "--timeout", "60s")
    assert ended.exit == 2
    assert "no field 'bogus'" in ended.err
    assert rig.api.asked == []


@pytest.mark.parametrize("noun", ["grant", "key", "partner", "point", "alert", "silence"])
def test_a_state_that_a_noun_never_has_is_refused_with_those_that_it_has(rig, noun):
    ended = rig("wait", noun, "some-id", "--for", "actve", "--timeout", "60s")
    assert ended.exit == 2
    assert "no state 'actve'" in ended.err
    assert rig.api.asked == []


def test_fields_that_are_there_are_waited_for_inside_others_too(rig):
    rig.api.on(f"GET /v1/grants/{GRANT_ID}", grant(labels={"team": "blue"}))
    chance = random.Random(7)
    told = ["state=active|expired", "tier=1", "labels.team=blue", "partner=acme"]
    words = [word for each in chance.sample(told, len(told)) for word in ("--for", each)]
    assert rig("wait", "grant", GRANT_ID, *words, "--timeout", "5s").exit == 0
