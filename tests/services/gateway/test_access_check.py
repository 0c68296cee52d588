"""The gateway's answer to whether a call would be let through: limits, and points that serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console.model.grant import GrantProjection
from console.model.limits import Limits, Period
from tests.services.gateway.rig import Rig, projection
from tests.services.gateway.test_limits import CONFIG, call


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("c"), CONFIG) as rig:
        price = {
            "model": "aurora-1", "input_micros": 1_000_000, "output_micros": 10_000_000,
            "reason": "test",
        }  # fmt: skip
        rig.call("POST", "/v1/prices", price)
        yield rig


def given(rig: Rig, **facts: Any) -> tuple[GrantProjection, str]:
    grant = projection(**facts)
    rig.project(grant)
    return grant, rig.issue(grant)[1]


def checked(rig: Rig, grant: GrantProjection, **more: str) -> Any:
    facts = "".join(f"&{name}={value}" for name, value in more.items())
    return rig.get(f"/v1/calls:check?grant={grant.id}{facts}")


def refused(rig: Rig, grant: GrantProjection, **more: str) -> str:
    """Return by which code a call would be refused, once it would."""
    return str(rig.wait(lambda: checked(rig, grant, **more)["code"], "a check says no for a limit"))


def test_a_check_says_no_where_the_budget_is_used_up(rig: Rig) -> None:
    limits = Limits(budget_micros=300, budget_period=Period.DAY)
    grant, key = given(rig, limits=limits)
    said = checked(rig, grant)
    assert (said["allow"], said["checks"][-1]["name"]) == (True, "limits")
    assert call(rig.url, key, 25, max_tokens=25).status == 200
    while (last := call(rig.url, key, 1, max_tokens=1)).status == 200:
        pass
    assert last.code == "budget_exhausted"
    rig.project(projection(id=grant.id, revision=2, limits=Limits(budget_micros=200)))
    assert refused(rig, grant) == "budget_exhausted"
    last_check = checked(rig, grant)["checks"][-1]
    assert (last_check["name"], last_check["passed"]) == ("limits", False)
    assert "micros spent" in last_check["found"]


def test_a_check_says_no_while_a_limit_of_a_minute_is_reached_and_takes_none_of_it(
    rig: Rig,
) -> None:
    grant, key = given(rig, limits=Limits(requests_per_minute=3))
    for _ in range(5):
        assert checked(rig, grant)["allow"]
    for _ in range(3):
        assert call(rig.url, key).status == 200
    assert refused(rig, grant) == "rate_limited"


def test_a_check_knows_the_limit_of_the_user_that_it_names(rig: Rig) -> None:
    limits = Limits(requests_per_minute=1)
    grant, key = given(rig, principal_limits=limits)
    assert call(rig.url, key, user="ann").status == 200
    items = rig.wait(lambda: rig.get(f"/v1/calls?grant={grant.id}")["items"], "the call's record")
    ann = items[0]["principal"]
    assert ann
    assert refused(rig, grant, principal=ann) == "rate_limited"
    assert checked(rig, grant, principal="f" * 64)["allow"]


def test_a_check_says_no_under_a_budget_where_the_model_has_no_price(rig: Rig) -> None:
    models = ["aurora-1", "aurora-2"]
    grant, _ = given(rig, models=models, limits=Limits(budget_micros=10**9))
    assert checked(rig, grant, model="aurora-1")["allow"]
    assert refused(rig, grant, model="aurora-2") == "price_missing"


def test_a_check_says_no_where_no_point_is_registered(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "home", CONFIG)
    rig.start("control")
    try:
        rig.wait(lambda: rig.get("/v1/status"), "control answers")
        grant = projection()
        rig.project(grant)
        said = checked(rig, grant)
        assert (said["allow"], said["code"]) == (False, "point_fenced")
    finally:
        rig.stop("control")
