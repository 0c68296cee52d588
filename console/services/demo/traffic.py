"""The partners' own clients: live calls through the data plane, until stopped.

Run as a process of its own, so that the console's screen never shares an event loop
with it. The secrets come on standard input as JSON, never on the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import msgspec

from console.api import gateway
from console.errors import PilotError
from console.model.access import RouteName
from console.services.client import Client
from console.services.demo import lapsing_access
from console.services.demo.cast import OWNER
from console.services.demo.live_traffic import Caller, callers
from console.services.runner import run
from console.services.settings import Home, Settings

ASKS = (
    "Summarise the crash in this parser and the fields that reach it.",
    "Propose a minimal patch for the length check in the frame decoder.",
    "Which of these log lines show the same fault?",
    "Write a regression test for the patched bounds check.",
)


FROM_ONE = 10
"""Calls of a leaked key from its first network, before it goes through all."""
SLOWER_AFTER = 20


class Secrets(msgspec.Struct):
    """What arrives on standard input: raw keys by caller, and the personas' tokens."""

    keys: dict[str, str]
    tokens: dict[str, str]


async def data_planes(client: Client) -> list[str]:
    """Return the addresses of the points, and close the client."""
    try:
        page = await client.get(gateway.POINT_LIST.path, gateway.POINT_LIST.answer)
        return [point.url for point in page.items if point.state != "gone"]
    finally:
        await client.close()


async def _one_call(
    session: aiohttp.ClientSession, base: str, key: str, caller: Caller, words: str
) -> None:
    chat = caller.route == RouteName.CHAT
    path = "/v1/chat/completions" if chat else "/v1/messages"
    body: dict[str, Any] = {
        "model": caller.model,
        "max_tokens": 48,
        "stream": caller.stream,
        "messages": [{"role": "user", "content": words}],
    }
    if caller.user:
        body |= {"user": caller.user} if chat else {"metadata": {"user_id": caller.user}}
    headers = {"authorization": f"Bearer {key}", "user-agent": f"{caller.key}-client/1.0"}
    async with session.post(base + path, json=body, headers=headers) as answer:
        async for _ in answer.content.iter_any():
            pass


async def keep_calling(caller: Caller, key: str, planes: list[str], seed: int) -> None:
    """Call as `caller` does, for ever or as often as it has calls. Refusals are expected."""
    dice = random.Random(f"{seed}/{caller}")  # noqa: S311 - a scenario, not a secret
    await asyncio.sleep(caller.starts)
    done = 0
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(_from(each)) for each in caller.addresses]
        while not caller.calls or done < caller.calls:
            session = sessions[done % len(sessions) if done >= FROM_ONE else 0]
            words = " ".join(["again"] * caller.words) or dice.choice(ASKS)
            try:
                await _one_call(session, dice.choice(planes), key, caller, words)
            except (aiohttp.ClientError, TimeoutError, OSError):
                # A point that restarts is part of the scene: the client simply tries again.
                await asyncio.sleep(0.5)
            done += 1
            slow = caller.slower and done >= SLOWER_AFTER
            await asyncio.sleep(dice.expovariate(1.0 / (caller.slower if slow else caller.every)))


def _from(address: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=(address, 0)),
        timeout=aiohttp.ClientTimeout(total=30),
    )


async def _lapsing(home: Home, token: str, planes: list[str], seed: int, starts: float) -> None:
    """Give access under terms that lapse soon, and use it."""
    await asyncio.sleep(starts)
    with suppress(PilotError):  # a day of the history on which that partner cannot have it yet
        key = await lapsing_access.open_access(home, token)
        await keep_calling(lapsing_access.CALLER, key, planes, seed)


async def traffic(home: Home, secrets: Secrets, seed: int, incident_after: float) -> None:
    """Run every caller of the scenario side by side."""
    planes = await data_planes(Client(socket=home.socket("gateway")))
    async with asyncio.TaskGroup() as group:
        for caller in callers(seed, incident_after=incident_after):
            if key := secrets.keys.get(caller.key):
                group.create_task(keep_calling(caller, key, planes, seed))
        if token := secrets.tokens.get(OWNER):
            starts = incident_after + 8.0
            group.create_task(_lapsing(home, token, planes, seed, starts))


async def _serve(settings: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:
    secrets = msgspec.json.decode(sys.stdin.read(), type=Secrets)
    calling = asyncio.create_task(traffic(settings.home, secrets, args.seed, args.incident_after))
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
