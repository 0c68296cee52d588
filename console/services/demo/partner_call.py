"""The partner's side of the demo: one call with a key, as its own client would make it."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from console.services.client import Client
from console.services.demo.traffic import data_planes
from console.services.settings import Home


class Heard(msgspec.Struct, frozen=True):
    """What the partner got: the status, the answer's words or the refusal's, the request id."""

    status: int
    code: str
    words: str
    request_id: str


def call(home: Home, key: str, model: str, words: str, *, address: str) -> Heard:
    """Ask `model` something through the first point's data plane, from `address`."""
    return asyncio.run(_call(home, key, model, words, address))


async def _call(home: Home, key: str, model: str, words: str, address: str) -> Heard:
    base = (await data_planes(Client(socket=home.socket("gateway"))))[0]
    body = {"model": model, "max_tokens": 24, "messages": [{"role": "user", "content": words}]}
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=(address, 0)),
            timeout=aiohttp.ClientTimeout(total=30),
        ) as session,
        session.post(
            f"{base}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"},
        ) as answer,
    ):
        said = await answer.json()
        request_id = answer.headers.get("x-request-id", "")
        if answer.status == 200:
            return Heard(200, "", said["choices"][0]["message"]["content"], request_id)
        error = said["error"]
        return Heard(answer.status, error["code"], error["message"], request_id)
