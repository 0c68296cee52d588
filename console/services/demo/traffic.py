"""The partners' own clients: live calls through the data plane, until stopped.

Run as a process of its own, so that the console's screen never shares an event loop
with it. The keys come on standard input as JSON, never on the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from contextlib import suppress

import aiohttp

from console.api import gateway
from console.model.access import RouteName
from console.services.client import Client
from console.services.demo import scenario
from console.services.settings import Home, Settings
from console.services.web import run

ASKS = (
    "Summarise the crash in this parser and the fields that reach it.",
    "Propose a minimal patch for the length check in the frame decoder.",
    "Which of these log lines show the same fault?",
    "Write a regression test for the patched bounds check.",
)


async def data_planes(client: Client) -> list[str]:
    """Return the addresses of the points, and close the client."""
    try:
        page = await client.get(gateway.POINT_LIST.path, gateway.POINT_LIST.answer)
        return [point.url for point in page.items if point.state != "gone"]
    finally:
        await client.close()


async def _one_call(
    session: aiohttp.ClientSession, base: str, key: str, caller: scenario.Caller, words: str
) -> None:
    chat = caller.route == RouteName.CHAT
    path = "/v1/chat/completions" if chat else "/v1/messages"
    body = {
        "model": caller.model,
        "max_tokens": 48,
        "stream": caller.stream,
        "messages": [{"role": "user", "content": words}],
    }
    headers = {"authorization": f"Bearer {key}", "user-agent": f"{caller.key}-client/1.0"}
    async with session.post(base + path, json=body, headers=headers) as answer:
        async for _ in answer.content.iter_any():
            pass


async def keep_calling(caller: scenario.Caller, key: str, planes: list[str], seed: int) -> None:
    """Call as `caller` does, for ever or as often as it has calls. Refusals are expected."""
    dice = random.Random(f"{seed}/{caller.key}/{caller.address}/{caller.model}")  # noqa: S311
    await asyncio.sleep(caller.starts)
    connector = aiohttp.TCPConnector(local_addr=(caller.address, 0))
    timeout = aiohttp.ClientTimeout(total=30)
    done = 0
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        while not caller.calls or done < caller.calls:
            try:
                await _one_call(session, dice.choice(planes), key, caller, dice.choice(ASKS))
            except (aiohttp.ClientError, TimeoutError, OSError):
                # A point that restarts is part of the scene: the client simply tries again.
                await asyncio.sleep(0.5)
            done += 1
            await asyncio.sleep(dice.expovariate(1.0 / caller.every))


async def traffic(home: Home, keys: dict[str, str], seed: int, incident_after: float) -> None:
    """Run every caller of the scenario side by side."""
    planes = await data_planes(Client(socket=home.socket("gateway")))
    async with asyncio.TaskGroup() as group:
        for caller in scenario.callers(seed, incident_after=incident_after):
            group.create_task(keep_calling(caller, keys[caller.key], planes, seed))


async def _serve(settings: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:
    keys: dict[str, str] = json.loads(sys.stdin.read())
    calling = asyncio.create_task(traffic(settings.home, keys, args.seed, args.incident_after))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    calling.cancel()
    with suppress(asyncio.CancelledError):
        await calling


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--incident-after", type=float, default=20.0)


if __name__ == "__main__":
    sys.exit(run("demo.traffic", _serve, options=_options))
