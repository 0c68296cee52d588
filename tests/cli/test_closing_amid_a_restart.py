"""What closes is done in the second in which the gateway starts again, as it was typed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pilot_rig import GRANT_ID, ROOT, blast, grant, page, receipt, stored
from tiny_api import tiny_api

KEY_ID = "crd_01J9ZK00000000000000000000"
KEY = stored(
    KEY_ID, grant_id=GRANT_ID, partner="acme", holder="acme", hint="9xyz", version=1,
    state="issued",
)  # fmt: skip
LOCK = stored(
    "lck_01J9ZK00000000000000000000", kind="credential", target=KEY_ID, reason="leak", message="",
    state="active", receipt_id="rcp_01J9ZK00000000000000000000",
)  # fmt: skip
CLOSES = {
    "key": ("key", "revoke", KEY_ID, "--confirm", "acme"),
    "grant": ("grant", "revoke", GRANT_ID, "--confirm", "acme"),
    "lock": ("lock", "add", "credential", KEY_ID, "--yes"),
}


def closing(api):
    api.on("POST /v1/locks:blast", blast("acme"))
    api.on(f"GET /v1/credentials/{KEY_ID}", KEY)
    api.on(f"GET /v1/grants/{GRANT_ID}", grant())
    api.on("GET /v1/grants", page(grant()))
    api.on("POST /v1/tombstones", receipt(), status=201)
    api.on("POST /v1/locks", LOCK, status=201)
    api.on("GET /v1/receipts/rcp_01J9ZK00000000000000000000", receipt())


@pytest.mark.parametrize("what", CLOSES)
def test_a_closing_verb_waits_for_a_gateway_that_is_starting_again(rig, tmp_path, what):
    socket = tmp_path / "gw.sock"
    typed = subprocess.Popen(
        [sys.executable, "-m", "console", *CLOSES[what], "--reason", "leak", "--timeout", "8s"],
        env={**rig.environ, "PILOTCTL_GATEWAY": f"unix:{socket}"}, cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert typed.stderr is not None
    seen = ""
    for line in typed.stderr:
        seen += line
        if "waiting for it to start" in line:
            break
    with tiny_api(socket) as gateway:
        closing(gateway)
        _, rest = typed.communicate(timeout=60)
        sent = [each for each in gateway.writes() if not each.path.endswith(":blast")]
    # what was typed was taken, and sent once: whether points refuse is not this test's
    assert typed.returncode == 9, seen + rest
    assert len(sent) == 1


@pytest.mark.parametrize("what", ["key", "grant"])
def test_the_word_that_was_typed_is_taken_where_nobody_knows_the_name(rig, what):
    closing(rig.api)
    rig.api.on("POST /v1/locks:blast", blast())
    for each in (f"GET /v1/credentials/{KEY_ID}", f"GET /v1/grants/{GRANT_ID}"):
        rig.api.problem(each, "unavailable", 503, "starting")
    ended = rig(*CLOSES[what], "--reason", "leak", "--timeout", "1s")
    assert ended.exit == 9, ended.err
    assert any(each.path == "/v1/tombstones" for each in rig.api.writes())


def test_what_opens_does_not_wait(rig, tmp_path):
    ended = rig(
        "key", "issue", GRANT_ID, "--reason", "r", "--yes", "-o", "json",
        PILOTCTL_GATEWAY=f"unix:{tmp_path}/none", PILOTCTL_POLICY=f"unix:{tmp_path}/none",
    )  # fmt: skip
    assert ended.exit in {2, 7}
    assert "waiting for it" not in ended.err
