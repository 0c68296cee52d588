"""Several at once: each that can be acted on is, each that cannot is reported, none is nothing."""

from __future__ import annotations

import json
import random

import pytest
from pilot_rig import GRANT_ID, blast, grant, receipt
from tiny_api import Told

OTHER = "grt_01J9ZK11111111111111111111"
MISSING = "grt_01J9ZK22222222222222222222"
WHY = ("--reason", "r", "--timeout", "1s")


@pytest.fixture
def api(rig):
    """Two grants, and a third that nobody knows."""

    def found(asked):
        if MISSING in (asked.body or {}).get("id", asked.path):
            problem = {"type": "urn:pilotctl:problem:not-found", "title": "x", "status": 404}
            return Told({**problem, "detail": "no such grant"}, 404)
        return Told(blast("acme"))

    rig.api.on("POST /v1/locks:blast", found)
    for each in (GRANT_ID, OTHER):
        rig.api.on(f"GET /v1/grants/{each}", grant() | {"id": each})
    rig.api.on("POST /v1/tombstones", lambda asked: Told(receipt(target=asked.body["id"]), 201))
    return rig.api


def revoked(api):
    return [each.body["id"] for each in api.writes() if each.path == "/v1/tombstones"]


def test_one_that_cannot_be_planned_stops_no_other(rig, api, tmp_path):
    ids = [GRANT_ID, MISSING, OTHER]
    random.shuffle(ids)
    (tmp_path / "ids").write_text("\n".join(ids))
    words = ("grant", "revoke", "--ids-from", str(tmp_path / "ids"), *WHY)
    ended = rig(*words, "--confirm", "3 grants", "-o", "json")
    assert ended.exit == 9
    assert revoked(api) == [each for each in ids if each != MISSING]
    assert [each["target"] for each in ended.json["items"]] == revoked(api)
    (failed,) = ended.error["detail"]["failed"]
    said = {"id": MISSING, "code": "not-found", "message": "no such grant", "exit": 3}
    assert failed.items() > said.items()
    assert failed["request_id"].startswith("rid_"), "by which the API's own record is found"
    assert failed["source"].startswith("gateway ")
    dry = rig(*words, "--dry-run", "-o", "json")
    assert len(json.loads(dry.out)) == 2
    assert dry.exit == 3  # nothing was to be done, and this is what was found
    assert len(revoked(api)) == 2


def test_when_none_can_be_acted_on_the_code_is_theirs(rig, api, tmp_path):
    (tmp_path / "ids").write_text(MISSING)
    ended = rig("grant", "revoke", "--ids-from", str(tmp_path / "ids"), *WHY)
    assert ended.exit == 3
    assert f"{MISSING}: no such grant" in ended.err
    assert revoked(api) == []


def test_an_id_that_can_be_none_is_reported_and_stops_no_other(rig, api, tmp_path):
    rig.api.on("POST /v1/partners/acme/suspension", receipt(), status=201)
    (tmp_path / "ids").write_text("Not A Slug\nacme\n")
    ended = rig("partner", "suspend", "--ids-from", str(tmp_path / "ids"), *WHY, "--yes")
    assert "Not A Slug: " in ended.err
    assert "1 of 2 done" in ended.err or "0 of 2 done" in ended.err
    assert any("acme" in str(each.body) + each.path for each in api.writes())


@pytest.mark.parametrize("text", ["", "\n \n"])
@pytest.mark.parametrize("format", ["table", "json", "jsonl"])
def test_an_empty_list_is_done(rig, api, tmp_path, text, format):
    (tmp_path / "ids").write_text(text)
    words = ("grant", "revoke", "--ids-from", str(tmp_path / "ids"))
    ended = rig(*words, *WHY, "-o", format)
    assert ended.exit == 0, ended.err
    if format == "json":
        assert ended.json["items"] == []
    assert rig(*words, *WHY, "--dry-run").exit == 0
    # what would be wrong with every item is wrong with none, too
    assert rig(*words).exit == 2
    assert api.writes() == []


def test_keys_of_an_empty_list_need_no_folder(rig, api, tmp_path):
    (tmp_path / "ids").write_text("")
    words = ("key", "rotate", "--ids-from", str(tmp_path / "ids"), "--reason", "r", "--yes")
    assert rig(*words).exit == 0
