"""A dead upstream, a key that cannot be used and a stopped service are told, each as its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import nursery
from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder
from tests.thread.screen import Screen

WHOLE = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


class Lab(BaseHTTPRequestHandler):
    """A model API that answers, or says 502."""

    protocol_version = "HTTP/1.1"
    well = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(WHOLE if Lab.well else {"error": {"message": "bad gateway"}}).encode()
        self.send_response(200 if Lab.well else 502)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lab)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def rig(lab: str) -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch, short_folder() as folder:
        stale = {"console.services.gateway.decision.decide:STALE_SECONDS": 3.0}
        patch.setenv(nursery.SETS, json.dumps(stale))
        home = folder / "home"
        (home / "keys").mkdir(parents=True)
        home.chmod(0o711)
        write_key(home, "the-first-key", 0o600)
        more = f'[upstreams.lab]\nkind = "openai"\nbase_url = "{lab}"\nkey_file = "keys/lab.key"\n'
        with running(home, more=more, upstream="lab") as rig:
            programme(rig)
            yield rig


def write_key(home: Path, text: str, mode: int) -> None:
    new = home / "keys" / "lab.new"
    new.touch(0o600)
    new.write_text(text)
    new.chmod(mode)
    new.rename(home / "keys" / "lab.key")


def health(rig: Rig) -> Any:
    (point,) = rig.json("point", "list")["items"]
    return next(each for each in point["upstreams"] if each["name"] == "lab")


def alerts(rig: Rig, rule: str) -> list[Any]:
    found: list[Any] = rig.json("alert", "list", "--rule", rule)["items"]
    return found


def told(rig: Rig) -> dict[str, list[tuple[str, str]]]:
    """Return what `doctor` says, by what it looked at."""
    done = rig.process("doctor", "-o", "json")
    out: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.out)["items"]:
        out.setdefault(each["check"], []).append((each["state"], each["found"]))
    return out


def test_an_upstream_that_answers_nothing_is_told_everywhere_and_raises_an_alert(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    assert rig.call(key).status_code == 200
    rig.until(lambda: health(rig)["state"] == "serving", what="it serves")
    Lab.well = False
    try:
        assert {rig.call(key).status_code for _ in range(8)} == {502}
        rig.until(lambda: health(rig)["failures"] == 8, what="each failure is counted")
        found = health(rig)
        assert found["state"] == "dead"
        assert "502" in found["why"]
        assert found["last_success_at"] < found["since"]
        assert "lab dead (answers 502)" in rig.ok("point", "list")
        assert ("bad", "dead") in {(s, f[:4]) for s, f in told(rig)["upstream lab"]}
        (alert,) = rig.until(lambda: alerts(rig, "upstream-dead"), what="an alert")
        assert alert["severity"] == "high"
        assert "answers 502" in alert["evidence"][-1]["summary"]
        row = next(line for line in status(rig).splitlines() if line.startswith("upstream lab"))
        assert "dead" in row
    finally:
        Lab.well = True
    assert rig.call(key).status_code == 200
    rig.until(lambda: health(rig)["state"] == "serving", what="it serves again")
    rig.until(lambda: "upstream.recover" in rig.actions(), what="and the log has it")
    assert rig.actions().count("upstream.fail") == 1


def status(rig: Rig) -> str:
    return rig.ok("status", "--home", str(rig.home))


def test_a_new_key_that_others_can_read_is_told_everywhere_and_raises_an_alert(rig: Rig) -> None:
    write_key(rig.home, "the-second-key", 0o644)
    try:
        rig.until(lambda: health(rig)["state"] == "key_fault", what="the key's fault is seen")
        assert "chmod 600" in health(rig)["why"]
        assert "key fault" in rig.ok("point", "list")
        assert "chmod 600" in status(rig)
        assert any(state == "bad" and "chmod 600" in found
                   for state, found in told(rig)["upstream lab"])  # fmt: skip
        assert rig.until(lambda: alerts(rig, "upstream-key-fault"), what="an alert")
        done = rig.process("status", "--home", str(rig.home), "--exit-status")
        assert done.exit == 1
    finally:
        (rig.home / "keys" / "lab.key").chmod(0o600)
    rig.until(lambda: health(rig)["state"] != "key_fault", what="it is mended")


def test_a_service_that_is_stopped_makes_no_other_sick(rig: Rig) -> None:
    for away in ("policy", "audit", "gateway"):
        rig.stop(away)
        try:
            for other in {"policy", "audit", "gateway"} - {away}:
                lacks = {"policy": {"gateway"}, "gateway": {"policy"},
                         "audit": {"gateway", "policy"}}[other]  # fmt: skip
                if away in lacks:
                    rig.until(partial(lacking, rig, other), what=f"{other} lacks {away}")
                said = api_status(rig, other)
                assert said["healthy"], said
                assert not said["notes"]
        finally:
            rig.start(away)


def test_a_console_opened_while_a_service_is_stopped_says_what_is_unknown(rig: Rig) -> None:
    for away, unknown in (("audit", "alerts unknown"), ("policy", "partners unknown")):
        rig.stop(away)
        try:
            with Screen(rig.env) as screen:
                screen.see(f"{away} does not answer", "DOWN", unknown)
                assert "SICK" not in screen.text
        finally:
            rig.start(away)


def lacking(rig: Rig, api: str) -> Any:
    return api_status(rig, api)["dependency_notes"]


def api_status(rig: Rig, api: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.json("api", "GET", f"{api}/v1/status")
    return found
