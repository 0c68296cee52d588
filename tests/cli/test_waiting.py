"""`pilotctl wait` refuses at once what can never become so, for every noun."""

from __future__ import annotations

import random
from typing import get_args, get_origin, get_type_hints

import pytest
from pilot_rig import GRANT_ID, grant

from console.model.stored import Page
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


def shown(noun):
    """Return the type of what `wait` looks at."""
    verbs = {op.verb: op.result for op in load(noun)}
    result = verbs.get("show") or verbs["list"]
    return get_args(result)[0] if get_origin(result) is Page else result


WITH_STATE = [noun for noun in WAITED if "state" in shown(noun).__struct_fields__]


@pytest.mark.parametrize("noun", WITH_STATE)
def test_a_state_that_a_noun_never_has_is_refused_with_those_that_it_has(rig, noun):
    ended = rig("wait", noun, "some-id", "--for", "state=zzz", "--timeout", "60s")
    assert ended.exit == 2
    assert "no state 'zzz'" in ended.err
    for each in get_args(get_type_hints(shown(noun), include_extras=True)["state"])[1]:
        assert each.value in ended.err
    assert rig.api.asked == []


def test_fields_that_are_there_are_waited_for_inside_others_too(rig):
    rig.api.on(f"GET /v1/grants/{GRANT_ID}", grant(labels={"team": "blue"}))
    chance = random.Random(7)
    told = ["state=active|expired", "tier=1", "labels.team=blue", "partner=acme"]
    words = [word for each in chance.sample(told, len(told)) for word in ("--for", each)]
    assert rig("wait", "grant", GRANT_ID, *words, "--timeout", "5s").exit == 0
