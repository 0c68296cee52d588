"""What is asked right after a call knows of the call, or says whose calls may be missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.gateway.rig import Rig, projection
from tests.services.gateway.test_kill_switch import post


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("b"), config, points=2) as rig:
        yield rig


@pytest.fixture(scope="module")
def key(pair: Rig) -> str:
    grant = projection()
    pair.project(grant)
    return str(pair.issue(grant)[1])


def test_a_list_asked_for_right_after_a_call_begins_with_that_call(pair: Rig, key: str) -> None:
    for turn in range(24):
        point = pair.names[turn % 2]
        status, headers, _ = post(pair.urls[point], key if turn % 3 else "plk_nobody")
        assert status == (200 if turn % 3 else 401)
        listed = pair.get("/v1/calls?limit=1")
        assert listed["items"][0]["id"] == headers["x-request-id"]
        assert not listed["partial"]


def test_a_call_is_shown_and_counted_right_after_it(pair: Rig, key: str) -> None:
    before = sum(row["calls"] for row in pair.get("/v1/usage")["items"])
    _, headers, _ = post(pair.url, key)
    assert pair.get(f"/v1/calls/{headers['x-request-id']}")["code"] == ""
    _, headers, _ = post(pair.url, key)
    assert "Served" in pair.get(f"/v1/calls/{headers['x-request-id']}/explanation")["summary"]
    assert sum(row["calls"] for row in pair.get("/v1/usage")["items"]) == before + 2


def test_a_list_says_which_point_it_could_not_ask(pair: Rig, key: str) -> None:
    pair.freeze("gw-2")
    try:
        _, headers, _ = post(pair.urls["gw-1"], key)
        listed = pair.get("/v1/calls?limit=1")
        assert listed["items"][0]["id"] == headers["x-request-id"]
        assert listed["partial"]
        assert [("gw-1" in each, "gw-2" in each) for each in listed["warnings"]] == [(False, True)]
    finally:
        pair.wake("gw-2")
    pair.wait(pair.all_serving, "the point is back")
    assert pair.get("/v1/calls?limit=1")["warnings"] == []
