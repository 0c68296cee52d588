"""A gateway made of real processes, and what stands around it in these tests."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from console.model.grant import GrantedCapability, GrantProjection, Lapse
from console.model.ids import new_id
from console.model.principal import PrincipalProjection
from tests import nursery

REPO = Path(__file__).resolve().parents[3]


def projection(partner: str = "acme", **facts: Any) -> GrantProjection:
    """Return an active grant's projection, with `facts` in place of the usual ones."""
    now = datetime.now(UTC)
    usual: dict[str, Any] = {
        "id": new_id("grant"),
        "revision": 1,
        "pilot": "aurora",
        "stage": "limited",
        "partner": partner,
        "capabilities": [
            GrantedCapability(
                slug="text.general",
                tier=1,
                category="general",
                models=["aurora-1", "aurora-2"],
                routes=["chat.completions", "messages"],
            )
        ],
        "models": ["aurora-1"],
        "networks": [],
        "not_before": now - timedelta(hours=1),
        "lapses": [Lapse(at=now + timedelta(days=1), code="grant_expired")],
        "state": "active",
        "tier": 1,
        "grace_seconds": 3600,
        "egress": ["127.0.0.0/8"],
        "subprocessors": ["delta"],
        "partner_state": "active",
    }
    return GrantProjection(**{**usual, **facts})


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class RefusedError(Exception):
    """A problem that the operator API answered."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.name = str(body.get("type", "")).rpartition(":")[2]
        self.body = body


class Rig:
    """Gateway control and its points, as processes, and policy played by the test."""

    def __init__(self, home: Path, config: str = "", points: int = 1) -> None:
        self.home = home
        self.points = points
        self.processes: dict[str, nursery.Born | subprocess.Popen[bytes]] = {}
        self.urls: dict[str, str] = {}
        home.mkdir(parents=True, exist_ok=True)
        ports = ", ".join("0" for _ in range(points))
        (home / "pilot.toml").write_text(f"[data_plane]\nports = [{ports}]\n{config}")
        self._seq = 0
        self._beating = threading.Event()
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Rig:
        self.start("control")
        self.wait(lambda: self.get("/v1/status") is not None, "control answers")
        self.project()
        self._beating.set()
        self._beat = threading.Thread(target=self._beats, daemon=True)
        self._beat.start()
        for each in self.names:
            self.start(each)
        self.wait(self.all_serving, "every point serves")
        self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beating.set()
        if self._beat is not None:
            self._beat.join()
        for name in list(self.processes):
            self.stop(name)

    @property
    def names(self) -> list[str]:
        return [f"gw-{n}" for n in range(1, self.points + 1)]

    @property
    def url(self) -> str:
        return self.urls["gw-1"]

    def start(self, name: str) -> None:
        module = "console.services.gateway." + ("control" if name == "control" else "point")
        args = ["--home", str(self.home)]
        if name != "control":
            args += ["--name", name]
        with (self.home / f"{name}.err").open("ab") as err:
            self.processes[name] = nursery.start(module, *args, out=err.fileno(), err=err.fileno())

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop: {self.said(name)}") from None

    def kill(self, name: str) -> None:
        self.stop(name, signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Kill a process, start it anew, and wait until it does its work."""
        self.kill(name)
        self.start(name)
        if name == "control":
            self.wait(lambda: self.get("/v1/status"), "control answers")
        else:
            # Any free port: another address is another process.
            self.wait(lambda: self._url_of(name) != self.urls[name], f"{name} registers")
        self.wait(self.all_serving, "every point serves")
        self.refresh()

    def _url_of(self, name: str) -> str:
        points = self.get("/v1/points")["items"]
        return next(str(p["url"]) for p in points if p["name"] == name)

    def freeze(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.processes[name].pid}/stat")
        self.wait(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", f"{name} stops")

    def wake(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def said(self, name: str) -> str:
        return (self.home / f"{name}.err").read_text()[-3000:]

    def wait(self, true: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            with suppress(OSError, RefusedError, http.client.HTTPException):
                if found := true():
                    return found
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    raise AssertionError(f"{name} died: {self.said(name)}")
            if time.monotonic() > end:
                logs = {name: self.said(name) for name in self.processes}
                raise AssertionError(f"waited in vain until {what}: {logs}")
            time.sleep(0.02)

    def all_serving(self) -> bool:
        points = self.get("/v1/points")["items"]
        return sorted(p["name"] for p in points if p["state"] == "serving") == sorted(self.names)

    def refresh(self) -> None:
        """Learn where the points listen."""
        self.urls = {p["name"]: p["url"] for p in self.get("/v1/points")["items"]}

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        conn = Unix(self.home / "run" / "gateway.sock")
        try:
            sent = {"Content-Type": "application/json", **(headers or {})}
            if method != "GET" and "internal" not in path:
                sent.setdefault("Idempotency-Key", uuid.uuid4().hex)
            raw = None if body is None else msgspec.json.encode(body)
            conn.request(method, path, raw, sent)
            answer = conn.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None, dict(answer.headers)
        finally:
            conn.close()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, said, _ = self.request(
            method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        if status >= 400:
            raise RefusedError(status, said)
        return said

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def project(self, *grants: GrantProjection) -> None:
        """Tell the gateway of grants, as policy would."""
        items = []
        for grant in grants:
            self._seq += 1
            items.append({"seq": self._seq, "kind": "grant", "body": grant})
        self.call(
            "PUT",
            "/internal/v1/projection",
            {"from": self._seq - len(items), "items": items, "as_of": datetime.now(UTC)},
        )

    def project_principal(self, principal: PrincipalProjection) -> None:
        """Tell the gateway of a principal, as policy would."""
        self._seq += 1
        item = {"seq": self._seq, "kind": "principal", "body": principal}
        self.call(
            "PUT",
            "/internal/v1/projection",
            {"from": self._seq - 1, "items": [item], "as_of": datetime.now(UTC)},
        )

    def silence_policy(self) -> None:
        """Stop the signs of life of policy."""
        self._beating.clear()

    def _beats(self) -> None:
        while not self._stop.wait(1.0):
            self._beating.wait()
            with suppress(Exception):
                self.call(
                    "PUT",
                    "/internal/v1/projection",
                    {"from": self._seq, "items": [], "as_of": datetime.now(UTC)},
                )

    def issue(self, grant: GrantProjection, holder: str | None = None) -> tuple[str, str]:
        """Issue a key; return the credential's id and the key."""
        body = {"grant_id": grant.id, "reason": "test"}
        if holder:
            body["holder"] = holder
        made = self.call("POST", "/v1/credentials", body)
        self.settled()
        return made["credential"]["id"], made["secret"]

    def settled(self) -> None:
        """Wait until every point has applied every change."""

        def done() -> bool:
            head = self.get("/v1/status")["sequence"]
            points = self.get("/v1/points")["items"]
            return all(p["applied_sequence"] >= head for p in points if p["state"] == "serving")

        self.wait(done, "points have applied every change")

    def revoke(self, kind: str, id: str) -> Any:
        return self.call("POST", "/v1/tombstones", {"kind": kind, "id": id, "reason": "test"})

    def lock(self, kind: str, id: str, message: str = "") -> Any:
        return self.call(
            "POST",
            "/v1/locks",
            {"target": {"kind": kind, "id": id}, "reason": "test", "message": message},
        )

    def receipt(self, id: str, state: str = "verified", seconds: float = 60.0) -> Any:
        """Wait until a receipt has come to `state`."""

        def there() -> Any:
            found = self.get(f"/v1/receipts/{id}")
            return found if found["state"] == state else None

        return self.wait(there, f"receipt {id} is {state}", seconds)

    def record(self, request_id: str) -> Any:
        """Wait for a call's record."""
        return self.wait(lambda: self.get(f"/v1/calls/{request_id}"), f"record of {request_id}")

    def outbox(self) -> list[dict[str, Any]]:
        """Return every event that control has recorded."""
        out: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.get(f"/internal/v1/outbox?after={after}&limit=500")
            if not page["items"]:
                return out
            out += [json.loads(_text(item["body"])) for item in page["items"]]
            after = page["items"][-1]["seq"]


def _text(body: Any) -> str:
    if isinstance(body, str) and not body.lstrip().startswith("{"):
        import base64

        return base64.b64decode(body).decode()
    return body if isinstance(body, str) else json.dumps(body)
