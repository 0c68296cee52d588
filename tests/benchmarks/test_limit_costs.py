"""What limits cost: a call under them beside one without, on the same gateway."""

from __future__ import annotations

import os

import pytest

from console.model.limits import Limits, Period
from tests.benchmarks.test_gateway import CONNECTIONS, Bench, bench
from tests.services.gateway.rig import projection

__all__ = ["bench"]

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="it takes two cores"),
]

LIMITS = {
    "requests and parallel": Limits(requests_per_minute=10**9, parallel=10**6),
    "tokens": Limits(tokens_per_minute=10**11),
    "budget": Limits(budget_micros=10**12, budget_period=Period.DAY),
    "all": Limits(
        requests_per_minute=10**9, tokens_per_minute=10**11, parallel=10**6, budget_micros=10**12
    ),
}


@pytest.fixture(scope="module")
def keys(bench: Bench) -> dict[str, str]:
    price = {"model": "aurora-1", "input_micros": 10, "output_micros": 10, "reason": "test"}
    bench.rig.call("POST", "/v1/prices", price)
    made = {"none": bench.key}
    for name, limits in LIMITS.items():
        grant = projection(limits=limits)
        bench.rig.project(grant)
        made[name] = bench.rig.issue(grant)[1]
    return made


def test_a_limited_call_costs_a_question_to_control_and_no_more(
    bench: Bench, keys: dict[str, str]
) -> None:
    for connections, rate in ((1, 0.0), (CONNECTIONS, 200.0)):
        for name, key in keys.items():
            bench.key = key
            said = bench.load(bench.through, 4, connections, rate)
            print(
                f"\n{connections:2} connections, limit {name}: {said['rate']:.0f} calls/s, "
                f"p50 {said['p50']:.2f} ms, p99 {said['p99']:.2f} ms",
                end="",
            )
            if name == "none":
                free = said
            assert said["p50"] < 3 * free["p50"] + 25
    print()
