"""`key rotate`: where the new key goes, one or several, and what is said of the old one."""

import json
import stat

import pytest
from pilot_rig import AT, GRANT_ID, receipt, stored

OLD = "crd_01J9ZK00000000000000000000"
OTHER = "crd_01J9ZK00000000000000000001"
ROTATE = ["key", "rotate", OLD, "--reason", "yearly"]
SECRET = "sk-pilot-swordfish-9xyz"


def credential(id, **more):
    plain = {
        "grant_id": GRANT_ID, "partner": "acme", "holder": "acme", "hint": "9xyz", "version": 1,
        "state": "in_use", "last_used_at": AT, "last_network": "203.0.113.7",
    }  # fmt: skip
    return stored(id, **{**plain, **more})


def rotated(old, **more):
    replaced = credential(old, state="rotating", replaced_by="crd_new", ends_at=AT, rotated_at=AT)
    new = credential(f"{old[:-3]}NEW", version=2, state="issued", replaces=old)
    return {"credential": new, "secret": SECRET, "base_urls": [], "replaced": replaced, **more}


@pytest.fixture
def api(rig):
    for each in (OLD, OTHER):
        rig.api.on(f"GET /v1/credentials/{each}", credential(each))
        rig.api.on(f"POST /v1/credentials/{each}/rotation", rotated(each), status=201)
    return rig.api


def test_the_plan_says_when_the_old_version_ends_and_who_uses_it(rig, api):
    out = rig(*ROTATE, "--dry-run").out
    assert "works for 1d more" in out
    assert "from 203.0.113.7" in out
    assert "ends at once" in rig(*ROTATE, "--grace", "0s", "--dry-run").out
    assert rig(*ROTATE, "--grace", "31d", "--dry-run").exit == 2
    assert api.writes() == []


def test_the_new_key_goes_to_a_new_file_and_is_never_printed(rig, api, tmp_path):
    path = tmp_path / "key"
    ended = rig(*ROTATE, "--grace", "12h", "--yes", "--secret-file", str(path))
    assert ended.exit == 0, ended.err
    assert path.read_text() == SECRET + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET not in ended.out + ended.err
    sent = api.writes()[-1]
    assert sent.body == {"grace_seconds": 43200, "reason": "yearly"}
    assert sent.headers["if-match"] == '"1"'


def test_on_a_terminal_it_is_shown_on_the_alternate_screen_only(rig, api):
    shown = rig.terminal(*ROTATE, "--yes")
    shown.expect(SECRET)
    shown.type("\n")
    assert shown.ended() == 0
    before, _, after = shown.seen.partition("\x1b[?1049h")
    assert SECRET not in before
    assert SECRET not in after.partition("\x1b[?1049l")[2]


def test_without_grace_the_old_version_is_followed_and_what_is_not_proven_is_exit_9(
    rig, api, tmp_path
):
    made = receipt(action="key.retire", kind="credential", target=OLD)
    api.on(f"POST /v1/credentials/{OLD}/rotation", rotated(OLD, receipt_id=made["id"]), status=201)
    api.on(f"GET /v1/receipts/{made['id']}", made)
    path = tmp_path / "key"
    ended = rig(*ROTATE, "--grace", "0s", "--yes", "--secret-file", str(path), "--timeout", "1s")
    assert ended.exit == 9
    assert path.read_text() == SECRET + "\n"
    assert "the old version: unverified: gw-1 did not answer" in ended.err
    path.unlink()
    api.on(f"GET /v1/receipts/{made['id']}", {}, status=500)
    ended = rig(*ROTATE, "--grace", "0s", "--yes", "--secret-file", str(path), "-o", "json")
    assert ended.exit == 9
    assert path.read_text() == SECRET + "\n"
    assert ended.json["secret"] is None


def test_several_go_into_a_folder_of_files_and_nowhere_else(rig, api, tmp_path):
    folder = tmp_path / "keys"
    words = ["key", "rotate", "--ids-from", "-", "--reason", "leak", "--yes"]
    ids = f"{OLD}\n{OTHER}\n"
    refused = rig.process(*words, stdin=ids)
    assert refused.exit == 2
    assert "several keys cannot be shown at once" in refused.err
    assert "--secret-file DIR" in refused.err
    assert api.writes() == []
    ended = rig.process(*words, "--secret-file", str(folder), "-o", "json", stdin=ids)
    assert ended.exit == 0, ended.err
    files = sorted(folder.iterdir())
    assert [each.name for each in files] == [f"{OLD}.key", f"{OTHER}.key"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert SECRET not in ended.out + ended.err
    assert [each["replaced"]["id"] for each in json.loads(ended.out)["items"]] == [OLD, OTHER]


def test_one_of_several_that_fails_leaves_no_file_and_stops_no_other(rig, api, tmp_path):
    problem = {"type": "urn:pilotctl:problem:state", "title": "state", "detail": "was replaced"}
    api.on(f"POST /v1/credentials/{OLD}/rotation", problem, status=409)
    ids = tmp_path / "ids"
    ids.write_text(f"{OLD}\n{OTHER}\n")
    words = ["key", "rotate", "--ids-from", str(ids), "--reason", "leak", "--yes"]
    ended = rig(*words, "--secret-file", str(tmp_path / "keys"))
    assert ended.exit == 9
    assert [each.name for each in (tmp_path / "keys").iterdir()] == [f"{OTHER}.key"]
    assert f"{OLD}: " in ended.err


def test_the_list_tells_who_still_uses_the_old_version(rig, api):
    used = credential(OLD, state="rotating", rotated_at=AT, ends_at=AT, calls_since_rotation=14)
    unused = credential(OTHER, state="rotating", rotated_at=AT, ends_at=AT)
    page = {"as_of": AT, "source": "gateway", "items": [used, unused]}
    api.on("GET /v1/credentials", page)
    out = rig("key", "list").out
    assert "14 calls since, last from 203.0.113.7" in out
    assert "no calls since" in out
