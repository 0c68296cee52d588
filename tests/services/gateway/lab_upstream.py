"""A model API of another make, told by the request what to be: `python lab_upstream.py PORT_FILE`.

The request's `prompt_cache_key` names the behaviour of chat and responses. What it
was sent is kept and answered at GET /seen, and how many streams were hung up on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

SEEN: list[dict[str, Any]] = []
PEERS: list[int] = []
"""From which port each scripted request came."""
COUNTS = {"hung_up": 0, "streamed": 0}
WHOLE = {
    "id": "chatcmpl-lab",
    "object": "chat.completion",
    "created": 1,
    "model": "lab-model",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "lab"}}
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
MESSAGE = {
    "id": "msg_lab",
    "type": "message",
    "role": "assistant",
    "model": "lab-model",
    "content": [{"type": "text", "text": "lab"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 13, "output_tokens": 5},
}
FAST = json.dumps(WHOLE).encode()


async def scripted(request: web.Request, body: Any) -> web.StreamResponse | None:
    """Answer as the request's own text says: `script:` and JSON, see `dataplane.script`."""
    asked = body.get("input") or body["messages"][0].get("content")
    if not isinstance(asked, str) or not asked.startswith("script:"):
        return None
    COUNTS["streamed"] += 1
    PEERS.append(request.transport.get_extra_info("peername")[1] if request.transport else 0)
    said = json.loads(asked[7:])
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    key = key or request.headers.get("x-api-key", "")
    headers = {name: value.replace("{KEY}", key) for name, value in said["headers"].items()}
    answer = web.StreamResponse(status=said["status"], headers=headers)
    await answer.prepare(request)
    try:
        for part in said["parts"]:
            if isinstance(part, str):
                await answer.write(part.replace("{KEY}", key).encode())
            elif part is None:
                assert request.transport is not None
                request.transport.abort()
            else:
                await asyncio.sleep(part)
    except (ConnectionError, asyncio.CancelledError):
        COUNTS["hung_up"] += 1
        raise
    return answer


async def chat(request: web.Request) -> web.StreamResponse:
    raw = await request.read()
    body = json.loads(raw)
    if found := await scripted(request, body):
        return found
    how = str(body.get("prompt_cache_key", ""))
    if not how:
        return web.Response(body=FAST, content_type="application/json")
    SEEN.append(
        {
            "headers": {k.lower(): v for k, v in request.headers.items()},
            "body": body,
            "raw": raw.decode(),
            "path": request.path,
        }
    )
    if plain := _plain(how):
        return plain
    if how == "slow":
        await asyncio.sleep(30)
    if how == "hang-up":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if not body.get("stream"):
        return web.json_response(WHOLE)
    return await _stream(request, body, how)


def _note(request: web.Request, body: Any) -> None:
    headers = {name.lower(): value for name, value in request.headers.items()}
    SEEN.append({"headers": headers, "body": body, "path": request.path})


async def _stream(request: web.Request, body: dict[str, Any], how: str) -> web.StreamResponse:
    COUNTS["streamed"] += 1
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)

    async def say(said: Any) -> None:
        text = said if isinstance(said, str) else json.dumps(said)
        await answer.write(f"data: {text}\n\n".encode())

    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "lab-model"}
    try:
        for n in range({"long": 400, "flood": 4000}.get(how, 5)):
            words = f"w{n} " * (8000 if how == "flood" else 1)
            delta = {"index": 0, "delta": {"content": words}, "finish_reason": None}
            await say({**head, "choices": [delta]})
            if how == "long":
                await asyncio.sleep(0.02)
            if how == "broken" and n == 2:
                assert request.transport is not None
                request.transport.abort()
                return answer
            if how == "garbled" and n == 2:
                await say("{not json")
            if how == "stalls" and n == 2:
                await asyncio.sleep(30)
        await say({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            await say({**head, "choices": [], "usage": WHOLE["usage"]})
        await say("[DONE]")
    except (ConnectionError, asyncio.CancelledError):
        COUNTS["hung_up"] += 1
        raise
    return answer


def _plain(how: str) -> web.Response | None:
    match how:
        case "html":
            return web.Response(text="<html>hello</html>", content_type="text/html")
        case "not-json":
            return web.Response(text="<html>hello</html>", content_type="application/json")
        case "wrong-shape":
            return web.json_response({"hello": "world"})
        case "no-usage":
            return web.json_response({k: v for k, v in WHOLE.items() if k != "usage"})
        case "429":
            said = {"error": {"message": "slow down"}}
            return web.json_response(said, status=429, headers={"Retry-After": "7"})
        case "400":
            return web.json_response({"error": {"message": "temperature is wrong"}}, status=400)
        case "401" | "403" | "404" | "500":
            return web.json_response({"error": {"message": "secret words"}}, status=int(how))
        case "redirect":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})
        case "huge":
            return web.Response(body=b"x" * (33 * 1024 * 1024), content_type="application/json")
        case _:
            return None


RESPONSE: dict[str, Any] = {
    "id": "resp_lab1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "lab-model",
    "output": [
        {
            "id": "msg_lab",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "lab", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20,
    },
}


async def responses(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    how = str(body.get("prompt_cache_key", ""))
    _note(request, body)
    if found := await scripted(request, body):
        return found
    if plain := _plain(how):
        return plain
    said = {**RESPONSE, "safety_identifier": body.get("safety_identifier")}
    if how == "failed":
        return web.json_response({**said, "status": "failed", "error": {"message": "no luck"}})
    if not body.get("stream"):
        return web.json_response(said)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    COUNTS["streamed"] += 1
    number = 0

    async def say(kind: str, **more: Any) -> None:
        nonlocal number
        event = {"type": kind, "sequence_number": number, **more}
        number += 1
        await answer.write(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())

    place = {"item_id": "msg_lab", "output_index": 0, "content_index": 0}
    try:
        await say("response.created", response={**said, "status": "in_progress", "output": []})
        for n in range(400 if how == "long" else 5):
            await say("response.output_text.delta", **place, delta=f"w{n} ", logprobs=[])
            if how == "long":
                await asyncio.sleep(0.02)
            if how == "broken" and n == 2:
                assert request.transport is not None
                request.transport.abort()
                return answer
            if how == "fails" and n == 2:
                bad = {**said, "status": "failed", "error": {"code": "x", "message": "no luck"}}
                await say("response.failed", response=bad)
                return answer
        await say("response.completed", response=said)
    except (ConnectionError, asyncio.CancelledError):
        COUNTS["hung_up"] += 1
        raise
    return answer


async def messages(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    if found := await scripted(request, body):
        return found
    SEEN.append(
        {
            "headers": {k.lower(): v for k, v in request.headers.items()},
            "body": body,
            "path": request.path,
        }
    )
    if not body.get("stream"):
        return web.json_response(MESSAGE)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    usage = {"input_tokens": 13, "output_tokens": 1}
    started = {**MESSAGE, "content": [], "stop_reason": None, "usage": usage}
    for said in (
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "lab"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ):
        await answer.write(f"event: {said['type']}\ndata: {json.dumps(said)}\n\n".encode())
    return answer


async def seen(_request: web.Request) -> web.Response:
    return web.json_response({"seen": SEEN, "peers": PEERS, **COUNTS})


async def main(port_file: Path) -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/messages", messages)
    app.router.add_post("/v1/responses", responses)
    app.router.add_get("/seen", seen)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    part = port_file.with_suffix(".part")
    part.write_text(str(runner.addresses[0][1]))
    part.rename(port_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
