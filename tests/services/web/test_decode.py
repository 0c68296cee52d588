"""Strict decoding never does anything but decode, or refuse in printable words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from console.api import audit, gateway, policy
from console.errors import PilotError
from console.services.web.strict_decoding import strictly

BODIES = sorted(
    {
        route.body
        for module in (policy, gateway, audit)
        for route in module.ROUTES
        if route.body is not None
    },
    key=lambda body: body.__name__,
)
MEMBERS = sorted({name for body in BODIES for name in body.__struct_fields__})

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
odd_objects = st.dictionaries(st.sampled_from(MEMBERS) | st.text(), anything, max_size=6)


def refused(body: bytes, wanted: Any) -> PilotError | None:
    try:
        strictly(body, wanted)
    except PilotError as error:
        return error
    return None


@given(odd_objects)
@example({"labels": {"\x1b": "\x1b"}})
@example({"stage": {"\x1b]0;": 1}})
def test_odd_objects_are_refused_in_printable_words(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    for wanted in BODIES:
        error = refused(body, wanted)
        if error is not None:
            assert error.code in {"malformed", "unknown-member", "invalid"}, wanted
            assert error.message.isprintable(), (wanted, error.message)
            assert len(error.message) < 1500, wanted


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(body: bytes) -> None:
    error = refused(body, policy.PARTNER_CREATE.body)
    assert error is not None
    assert error.message.isprintable()


@pytest.mark.parametrize("wanted", BODIES, ids=lambda body: str(body.__name__))
def test_a_mistyped_member_is_named_with_the_nearest(wanted: Any) -> None:
    for field in msgspec.structs.fields(wanted):
        mistyped = field.encode_name[:-1] + "x" + field.encode_name[-1]
        error = refused(json.dumps({mistyped: 1}).encode(), wanted)
        assert error is not None
        assert error.code == "unknown-member"
        assert f"did you mean {field.encode_name}?" in error.message or "id" in mistyped
