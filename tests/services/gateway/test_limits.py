"""Limits over real points: what 50 clients get of one limit, and what survives a kill."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from console.model.grant import GrantProjection
from console.model.limits import Limits
from tests.services.gateway.rig import Rig, projection

CONFIG = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 2\n'


class Said:
    """One answer of the data plane."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def code(self) -> str:
        return self.headers.get("x-pilotctl-code", "")


def call(url: str, key: str, words: int = 3, **members: Any) -> Said:
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        said = {
            "model": "aurora-1",
            "messages": [{"role": "user", "content": f"{words} words"}],
            **members,
        }
        conn.request("POST", "/v1/chat/completions", json.dumps(said), {"x-api-key": key})
        answer = conn.getresponse()
        body = answer.read()
        return Said(answer.status, body, {k.lower(): v for k, v in answer.headers.items()})
    finally:
        conn.close()


def crowd(rig: Rig, key: str, clients: int, seconds: float, **members: Any) -> list[Said]:
    """Let many clients call both points for a time, without pause."""
    end = time.monotonic() + seconds
    out: list[Said] = []

    def client(at: int) -> None:
        url = rig.urls[f"gw-{1 + at % rig.points}"]
        while time.monotonic() < end:
            said = call(url, key, **members)
            out.append(said)
            if said.status != 200:
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(at,)) for at in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("l"), CONFIG, points=2) as rig:
        rig.call(
            "POST",
            "/v1/prices",
            {
                "model": "aurora-1",
                "input_micros": 1_000_000,
                "output_micros": 10_000_000,
                "max_output_tokens": 50,
                "reason": "test",
            },
        )
        yield rig


def limited(rig: Rig, **limits: Any) -> tuple[GrantProjection, str]:
    grant = projection(limits=Limits(**limits))
    rig.project(grant)
    return grant, rig.issue(grant)[1]


def test_fifty_clients_on_two_points_never_pass_a_limit_of_requests(two: Rig) -> None:
    _, key = limited(two, requests_per_minute=60)
    said = crowd(two, key, 50, 2.0)
    served = [each for each in said if each.status == 200]
    assert len(served) == 60
    refused = [each for each in said if each.status != 200]
    assert {each.code for each in refused} == {"rate_limited"}
    assert {each.status for each in refused} == {429}
    assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)
    assert refused[0].headers["ratelimit-policy"] == '"requests";q=60;w=60'
    assert refused[-1].headers["ratelimit"].startswith('"requests";r=0;t=')
