"""Commands that change things: the order of plan, dry run, confirmation, run and result."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from pilot_rig import AT, GRANT_ID, ROOT, blast, grant, receipt, stored
from tiny_api import Told

REVOKE = ["grant", "revoke", GRANT_ID, "--reason", "contract ended"]
LOCK = ["lock", "add", "partner", "acme", "--reason", "leak"]
ISSUE = ["key", "issue", GRANT_ID, "--reason", "first key"]
LOCKED = stored(
    "lck_01J9ZK00000000000000000000", kind="partner", target="acme", reason="leak", message="",
    state="active", receipt_id="rcp_01J9ZK00000000000000000000",
)  # fmt: skip
CREDENTIAL = stored(
    "crd_01J9ZK00000000000000000000", grant_id=GRANT_ID, partner="acme", holder="acme",
    hint="9xyz", version=1, state="issued",
)  # fmt: skip
SECRET = "plt-swordfish-9xyz"


@pytest.fixture
def api(rig):
    rig.api.on("POST /v1/locks:blast", blast("acme"))
    rig.api.on(f"GET /v1/grants/{GRANT_ID}", grant())
    rig.api.on("POST /v1/tombstones", receipt(), status=201)
    rig.api.on("POST /v1/locks", LOCKED, status=201)
    rig.api.on("GET /v1/receipts/rcp_01J9ZK00000000000000000000", receipt(action="lock.add"))
    issued = {"credential": CREDENTIAL, "secret": SECRET, "base_urls": ["http://127.0.0.1:1/v1"]}
    rig.api.on("POST /v1/credentials", issued, status=201)
    return rig.api


def changes(api):
    """Return the requests that changed something."""
    return [each for each in api.writes() if not each.path.endswith((":blast", ":plan"))]


def test_a_dry_run_shows_the_plan_and_changes_nothing(rig, api):
    ended = rig(*REVOKE, "--dry-run")
    assert ended.exit == 0
    assert f"Revoke {GRANT_ID} of acme" in ended.out
    assert "Cannot be undone" in ended.out
    assert rig(*REVOKE, "--dry-run", "-o", "json").json["name"] == "acme"
    assert changes(api) == []


def test_without_a_terminal_and_without_the_flag_nothing_is_done_and_the_line_is_given(rig, api):
    ended = rig(*LOCK)
    assert ended.exit == 10
    assert "pilotctl lock add partner acme --reason leak --yes" in ended.err
    ended = rig(*REVOKE, "--yes")
    assert ended.exit == 10
    assert f"pilotctl grant revoke {GRANT_ID} --reason 'contract ended' --confirm acme" in ended.err
    assert rig(*REVOKE, "--confirm", "acmee").exit == 10
    assert changes(api) == []


def test_the_line_that_is_given_does_it(rig, api):
    import shlex

    hint = rig(*REVOKE, "-o", "json").error["hint"]
    words = shlex.split(hint)
    assert words[0] == "pilotctl"
    assert rig(*words[1:]).exit == 9
    assert len(changes(api)) == 1


def test_what_is_not_verified_is_exit_9_with_the_reason_and_the_receipt_is_data(rig, api):
    ended = rig(*REVOKE, "--confirm", "acme", "-o", "json", "--timeout", "1s")
    assert ended.exit == 9
    assert ended.json["state"] == "unverified"
    assert ended.error["code"] == "unverified"
    assert "gw-1 did not answer" in ended.error["message"]
    assert api.writes()[-1].body["reason"] == "contract ended"


def test_progress_is_told_on_standard_error_and_the_receipt_is_readable(rig, api):
    ended = rig(*REVOKE, "--confirm", "acme", "--timeout", "1s")
    assert "… unverified: 0 of 1 points (waiting for gw-1 waiting)" in ended.err
    assert ended.out.startswith(f"grant.revoke  grant {GRANT_ID} of acme: unverified, not logged")


def test_not_waiting_says_that_it_goes_on(rig, api):
    api.on("POST /v1/tombstones", receipt(state="verifying", why=""), status=201)
    ended = rig(*REVOKE, "--confirm", "acme", "--no-wait")
    assert ended.exit == 8
    assert "pilotctl receipt show rcp_" in ended.err


def test_a_lock_that_reaches_many_partners_wants_its_name(rig, api):
    api.on("POST /v1/locks:blast", blast("a", "b", "c", "d"))
    ended = rig(*LOCK, "--yes")
    assert ended.exit == 10
    assert "--confirm acme" in ended.err
    assert rig(*LOCK, "--confirm", "acme", "--timeout", "1s").exit == 9
    assert len(changes(api)) == 1


def test_a_read_only_profile_refuses_what_opens_and_never_what_closes(rig, api):
    ended = rig(*ISSUE, "--yes", "--read-only")
    assert ended.exit == 5
    assert "flag --read-only" in ended.err
    assert rig(*ISSUE, "--dry-run", "--read-only").exit == 0
    assert changes(api) == []
    assert rig(*LOCK, "--yes", "--read-only", "--timeout", "1s").exit == 9
    assert rig(*REVOKE, "--confirm", "acme", "--timeout", "1s", PILOTCTL_READ_ONLY="1").exit == 9
    assert len(changes(api)) == 2


def test_a_script_must_name_a_production_profile_to_open_access(rig, api, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("default_profile = 'live'\n[profiles.live]\ntier = 'production'\n")
    words = ["--config", str(config), *ISSUE, "--yes", "--secret-file", str(tmp_path / "k")]
    ended = rig(*words)
    assert ended.exit == 5
    assert "--profile live" in ended.err
    assert changes(api) == []
    assert rig(*LOCK, "--yes", "--config", str(config), "--timeout", "1s").exit == 9
    assert rig(*words, "--profile", "live").exit == 0


def test_a_conflict_is_exit_6_and_shows_the_difference(rig, api):
    show = f"GET /v1/locks/{LOCKED['id']}"
    api.on(show, LOCKED)
    current = {**LOCKED, "revision": 2, "reason": "another\x1b[2J"}
    api.problem(
        f"POST /v1/locks/{LOCKED['id']}/release", "stale", 412, "it has changed", current=current
    )
    words = ["lock", "release", LOCKED["id"], "--reason", "r", "--yes"]
    ended = rig(*words)
    assert ended.exit == 6
    assert "  revision: 1 -> 2" in ended.err
    assert r'  reason: "leak" -> "another\u001b[2J"' in ended.err
    assert api.writes()[-1].headers["if-match"] == '"1"'
    detail = rig(*words, "-o", "json").error["detail"]
    assert detail["current"]["revision"] == 2
    assert len(detail["difference"]) == 2


def test_a_named_revision_that_has_passed_is_refused_before_anything_is_sent(rig, api):
    api.on(f"GET /v1/locks/{LOCKED['id']}", LOCKED)
    ended = rig("lock", "release", LOCKED["id"], "--reason", "r", "--yes", "--revision", "4")
    assert ended.exit == 6
    assert "at revision 1 now, not 4" in ended.err
    assert changes(api) == []


def test_a_pending_grant_is_exit_8_and_its_gaps_are_in_the_plan(rig, api):
    gap = {"code": "terms_not_accepted", "message": "no terms", "mend": "pilotctl terms accept"}
    decision = {"id": "dec_1", "allow": True, "bundle_revision": "ab", "at": AT}
    plan = {
        "grant": grant(state="draft"), "becomes": "draft", "gaps": [gap],
        "holders": {"cyber.read": 2}, "overlaps": [], "decision": decision,
    }  # fmt: skip
    api.on("POST /v1/grants:plan", plan)
    api.on("POST /v1/grants", grant(state="draft", gaps=[gap]), status=201)
    words = [
        "grant", "create", "acme", "--pilot", "aurora", "--stage", "sandbox", "--capability",
        "cyber.read", "--purpose", "tests", "--expires", "30d", "--reason", "r",
    ]  # fmt: skip
    dry = rig(*words, "--dry-run").out
    assert "no terms (terms_not_accepted)" in dry
    assert "mend: pilotctl terms accept" in dry
    ended = rig(*words, "--yes")
    assert ended.exit == 8
    assert "a draft: 1 missing" in ended.err
    assert changes(api)[-1].body["expires_at"].endswith("Z")


def test_the_same_key_is_sent_as_it_was_given(rig, api):
    rig(*LOCK, "--yes", "--idempotency-key", "mine", "--timeout", "1s")
    assert changes(api)[-1].headers["idempotency-key"] == "mine"
    assert rig(*LOCK, "--yes", "--idempotency-key", "two words").exit == 2


def test_a_lost_answer_is_unknown_and_says_how_to_find_out(rig, api):
    api.on("POST /v1/tombstones", Told(raw=b""))
    ended = rig(*REVOKE, "--confirm", "acme", "-o", "json")
    assert ended.exit == 9
    assert ended.error["code"] == "unknown-outcome"
    assert ended.out == ""
    key = ended.error["detail"]["idempotency_key"]
    assert {each.headers["idempotency-key"] for each in changes(api)} == {key}


def test_what_closes_is_sent_although_its_plan_cannot_be_made(rig, api):
    api.problem("POST /v1/locks:blast", "internal", 500, "counting is broken")
    ended = rig(*LOCK, "--yes", "--timeout", "1s")
    assert ended.exit == 9
    assert "blast radius cannot be counted" in ended.err
    assert len(changes(api)) == 1


def test_many_ids_are_confirmed_once_and_a_part_is_not_a_success(rig, api, tmp_path):
    other = "grt_01J9ZK11111111111111111111"
    api.on(f"GET /v1/grants/{other}", grant() | {"id": other})
    ids = tmp_path / "ids"
    ids.write_text(f"{GRANT_ID}\n{other}\n\n{GRANT_ID}\n")

    def revoke(asked):
        if asked.body["id"] == other:
            problem = {"type": "urn:pilotctl:problem:not-found", "title": "x", "status": 404}
            return Told({**problem, "detail": "no such grant"}, 404)
        return Told(receipt(), 201)

    api.on("POST /v1/tombstones", revoke)
    words = ["grant", "revoke", "--ids-from", str(ids), "--reason", "r", "--timeout", "1s"]
    refused = rig(*words)
    assert refused.exit == 10
    assert "--confirm '2 grants'" in refused.err
    ended = rig(*words, "--confirm", "2 grants", "-o", "json")
    assert ended.exit == 9
    assert len(ended.json["items"]) == 1
    assert ended.json["partial"] is True
    assert f"{other}: no such grant" in ended.error["message"]
    assert len(changes(api)) == 2


def test_a_person_on_a_terminal_sees_the_plan_and_types_the_name(rig, api):
    terminal = rig.terminal(*REVOKE, "--timeout", "1s")
    terminal.expect("Cannot be undone")
    terminal.expect("Type acme to go on:")
    assert changes(api) == []
    terminal.type("acme\n")
    assert terminal.ended() == 9
    assert "unverified" in terminal.seen
    assert len(changes(api)) == 1


@pytest.mark.parametrize(
    ("words", "question", "answer"),
    [(REVOKE, "Type acme", "acm"), (LOCK, "Go on? [y/N]", ""), (LOCK, "Go on? [y/N]", "\x04")],
)
def test_anything_else_is_declined_and_changes_nothing(rig, api, words, question, answer):
    terminal = rig.terminal(*words)
    terminal.expect(question)
    terminal.type(answer if answer == "\x04" else f"{answer}\n")
    assert terminal.ended() == 10
    assert "nothing was changed" in terminal.seen
    assert changes(api) == []


def test_interrupted_after_it_was_sent_names_the_key_and_what_is_known(rig, api):
    arrived, release = threading.Event(), threading.Event()

    def slow(_):
        arrived.set()
        release.wait(60)
        return Told(receipt(), 201)

    api.on("POST /v1/tombstones", slow)
    process = subprocess.Popen(
        [sys.executable, "-m", "console", *REVOKE, "--confirm", "acme", "-o", "json"],
        stderr=subprocess.PIPE, cwd=ROOT, env=rig.environ, text=True,
    )  # fmt: skip
    assert arrived.wait(60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    release.set()
    assert process.returncode == 9
    error = json.loads(err)["error"]
    assert error["code"] == "unknown-outcome"
    assert error["detail"]["idempotency_key"] == changes(api)[0].headers["idempotency-key"]


def test_a_key_goes_to_a_new_private_file_and_nowhere_else(rig, api, tmp_path):
    file = tmp_path / "key"
    ended = rig(*ISSUE, "--yes", "--secret-file", str(file), "-o", "json")
    assert ended.exit == 0
    assert file.read_text() == SECRET + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ended.json["secret"] is None
    assert SECRET not in ended.err
    again = rig(*ISSUE, "--yes", "--secret-file", str(file))
    assert again.exit == 2
    assert len(changes(api)) == 1


def test_a_key_that_was_not_made_leaves_no_file(rig, api, tmp_path):
    api.problem("POST /v1/credentials", "role-missing", 403, "not you")
    assert rig(*ISSUE, "--yes", "--secret-file", str(tmp_path / "key")).exit == 5
    assert not (tmp_path / "key").exists()


def test_a_key_goes_through_a_pipe_and_not_into_a_file_that_others_can_read(rig, api, tmp_path):
    piped = rig.process(*ISSUE, "--yes", "-o", "json")
    assert json.loads(piped.out)["secret"] == SECRET
    for written in ("name", "csv"):
        assert rig.process(*ISSUE, "--yes", "-o", written).exit == 2
    before = len(changes(api))
    for mode, code in ((0o644, 2), (0o600, 0)):
        out = os.open(tmp_path / f"out{mode}", os.O_CREAT | os.O_WRONLY, mode)
        done = subprocess.run(
            [sys.executable, "-m", "console", *ISSUE, "--yes", "-o", "json"],
            stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT, env=rig.environ, check=False,
        )  # fmt: skip
        os.close(out)
        assert done.returncode == code
    assert len(changes(api)) == before + 1


def test_on_a_terminal_a_key_is_shown_on_the_alternate_screen_and_is_gone(rig, api):
    import pyte

    terminal = rig.terminal(*ISSUE, "--yes")
    shown = terminal.expect("press Enter")
    enter, leave = "\x1b[?1049h", "\x1b[?1049l"
    assert enter in shown.split(SECRET)[0]
    terminal.type("\n")
    assert terminal.ended() == 0
    inside = terminal.seen.split(enter)[1].split(leave)[0]
    assert terminal.seen.count(SECRET) == inside.count(SECRET) == 1
    screen = pyte.Screen(80, 24)
    pyte.Stream(screen).feed(terminal.seen.split(enter)[0] + terminal.seen.split(leave)[1])
    assert SECRET not in "\n".join(screen.display)
    assert "the key was shown once" in terminal.seen


def test_a_replayed_answer_has_no_key_and_says_so(rig, api, tmp_path):
    api.on("POST /v1/credentials", {"credential": CREDENTIAL, "secret": None, "replayed": True})
    file = tmp_path / "key"
    ended = rig(*ISSUE, "--yes", "--secret-file", str(file), "--idempotency-key", "k")
    assert ended.exit == 0
    assert "issued before" in ended.err
    assert not file.exists()


def test_a_log_that_does_not_hold_is_never_called_logged(rig, api):
    verified = receipt(
        state="verified", why="", enforced_at=AT,
        points=[{"point": "gw-1", "state": "refused", "method": "probe", "at": AT, "sequence": 7,
                 "codes": ["grant_revoked"], "probes": 1}],
    )  # fmt: skip
    proof = {
        "index": 0, "tree_size": 1, "leaf": base64.b64encode(b"{}").decode(), "hashes": [],
        "checkpoint": "forged\n1\nAAAA\n\n— forged AAAA\n",
    }  # fmt: skip
    event = verified["event_id"]
    api.on("POST /v1/tombstones", verified, status=201)
    api.on(f"GET /v1/log/proofs/{event}", {"event_id": event, "proof": proof})
    key = "log.example+7b7f3f0e+AQ=="
    head = {
        "origin": "log.example",
        "key": key,
        "tree_size": 1,
        "checkpoint": "",
        "checkpointed_at": AT,
    }
    api.on("GET /v1/log/head", head)
    ended = rig(*REVOKE, "--confirm", "acme", "--timeout", "2s", "-o", "json")
    assert ended.exit == 9
    assert ended.json["log"] is None
    assert "not proven to be in the log" in ended.error["message"]
