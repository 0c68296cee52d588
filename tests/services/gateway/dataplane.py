"""Raw requests of the data plane: bytes that no SDK would send."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from console.model.grant import GrantedCapability
from tests.services.gateway.rig import Rig, projection

PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
MODELS = {"chat": "lab-1", "messages": "lab-2", "responses": "lab-1"}


class Told(NamedTuple):
    """One answer: its status, our code and its bytes."""

    status: int
    code: str
    body: bytes
    request_id: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def key_for_all_routes(gateway: Rig, **facts: Any) -> str:
    """Return a key that opens the laboratory's models and the built-in one on every route."""
    models = ["aurora-1", "lab-1", "lab-2", "gone-1"]
    capability = GrantedCapability(
        slug="lab.use", tier=1, category="general", models=[*models, "stray-1"],
        routes=["chat.completions", "messages", "responses"],
    )  # fmt: skip
    grant = projection(**{"capabilities": [capability], "models": models, **facts})
    gateway.project(grant)
    return gateway.issue(grant)[1]


def post(gateway: Rig, key: str, route: str, body: bytes | dict[str, Any]) -> Told:
    """Send one body as it is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    conn = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
    try:
        conn.request("POST", PATHS[route], raw, {"Authorization": f"Bearer {key}"})
        with conn.getresponse() as answer:
            return Told(
                answer.status, answer.headers.get("x-pilotctl-code", ""), answer.read(),
                answer.headers.get("x-request-id", ""),
            )  # fmt: skip
    finally:
        conn.close()


def asking(route: str, **members: Any) -> dict[str, Any]:
    """Return the smallest request of a route, with `members` beside."""
    asked: dict[str, Any] = {"model": MODELS[route]}
    if route == "responses":
        asked["input"] = "hello"
    else:
        asked["messages"] = [{"role": "user", "content": "hello"}]
    if route == "messages":
        asked["max_tokens"] = 9
    return {**asked, **members}


def script(*parts: Any, status: int = 200, kind: str = "text/event-stream", **headers: str) -> str:
    """Return the text that makes the laboratory answer so.

    A string is sent as it is, `{KEY}` in it as the key that came; another part is sent as a
    server-sent event; a number is a pause in seconds; None drops the connection.
    """
    sent = [
        part if isinstance(part, str | int | float | None) else f"data: {json.dumps(part)}\n\n"
        for part in parts
    ]
    head = {"Content-Type": kind, **headers}
    return "script:" + json.dumps({"status": status, "headers": head, "parts": sent})


def scripted(route: str, text: str, **members: Any) -> dict[str, Any]:
    """Return a request that carries a script."""
    said: Any = {"input": text}
    if route != "responses":
        said = {"messages": [{"role": "user", "content": text}]}
    return asking(route, **{"stream": True, **said, **members})


def delta(text: Any, **more: Any) -> dict[str, Any]:
    """Return a chunk of a chat completion."""
    said = text if isinstance(text, dict) else {"content": text}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": said, "finish_reason": None, **more}]}  # fmt: skip


STOP = delta({}, finish_reason="stop")
DONE = "data: [DONE]\n\n"


def usage(prompt: Any, completion: Any) -> dict[str, Any]:
    """Return the usage chunk of a chat completion."""
    return {**delta({}), "choices": [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}  # fmt: skip
