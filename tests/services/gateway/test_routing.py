"""A model goes where `[models]` says, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from console.services.gateway.point.upstream.upstream import UpstreamSpec
from console.services.gateway.point.upstream.upstream_routing import Routing
from tests.sdks import anthropic, openai
from tests.services.gateway.dataplane import key_for_all_routes
from tests.services.gateway.rig import Rig

ASK: Any = [{"role": "user", "content": "hello"}]
LAB, OTHER = UpstreamSpec("lab", "openai"), UpstreamSpec("other", "openai")


def test_a_model_that_is_not_mapped_has_an_upstream_only_where_there_is_one_and_no_mapping() -> (
    None
):
    both = {"lab": LAB, "other": OTHER}
    mapped = Routing(both, {"aurora-1": "other", "aurora-2": "lab:big-model:2"})
    assert mapped.upstream_of("aurora-1") == (OTHER, "aurora-1")
    assert mapped.upstream_of("aurora-2") == (LAB, "big-model:2")
    assert mapped.upstream_of("aurora-3") is None
    assert Routing(both, {}).upstream_of("aurora-1") is None
    assert Routing({"lab": LAB}, {"aurora-1": "lab"}).upstream_of("aurora-2") is None
    assert Routing({"lab": LAB}, {}).upstream_of("aurora-2") == (LAB, "aurora-2")


def test_a_granted_model_that_is_not_mapped_is_refused_in_the_sdks_shape_and_not_listed(
    gateway: Rig,
) -> None:
    models = ["aurora-1", "stray-1"]
    key = key_for_all_routes(gateway, partner="stray", models=models)
    with openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["aurora-1"]
        with pytest.raises(openai.NotFoundError) as first:
            client.responses.create(model="stray-1", input="hello")
        with pytest.raises(openai.NotFoundError) as refused:
            client.chat.completions.create(model="stray-1", messages=ASK)
        assert (first.value.code, refused.value.code) == ("model_unmapped", "model_unmapped")
        record = gateway.record(str(refused.value.request_id))
        assert (record["outcome"], record["code"], record["upstream"]) == (
            "error", "model_unmapped", "",
        )  # fmt: skip
    with (
        anthropic.Anthropic(api_key=key, base_url=gateway.url, max_retries=0) as other,
        pytest.raises(anthropic.NotFoundError) as told,
    ):
        other.messages.create(model="stray-1", max_tokens=5, messages=ASK)
    body: Any = told.value.body
    assert body["error"]["code"] == "model_unmapped"
