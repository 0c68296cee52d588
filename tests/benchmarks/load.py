"""A load generator: `python load.py URL SECONDS CONNECTIONS [RATE] [--model M] [--count N]`.

The key comes on standard input. Raw sockets, one request at a time on each connection, so
that it costs little beside what it measures. Ends after so many seconds or calls, or when
interrupted. Prints one JSON object: how many failures, how long it took, latencies in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit


def _body(model: str) -> bytes:
    messages = [{"role": "user", "content": "What is a pilot?"}]
    return json.dumps({"model": model, "messages": messages}).encode()


async def _connection(
    url: str,
    key: str,
    body: bytes,
    *,
    over: Callable[[], bool],
    pause: float,
    wait: float,
    out: list[float],
) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    failed = 0
    due = time.perf_counter() + wait  # spread out, so that they do not come in bursts
    while not over():
        now = time.perf_counter()
        if pause:
            due += pause
            if due > now:
                await asyncio.sleep(due - now)
        began = time.perf_counter()
        writer.write(head + body)
        status, length = 0, 0
        while (line := await reader.readline()) not in {b"\r\n", b""}:
            if not status:
                status = int(line.split()[1])
            elif line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        out.append((time.perf_counter() - began) * 1000)
        failed += status != 200
    writer.close()
    return failed


async def _main(asked: argparse.Namespace) -> None:
    key = sys.stdin.readline().strip()
    out: list[float] = []
    began = time.perf_counter()
    pause = asked.connections / asked.rate if asked.rate else 0.0
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)

    def over() -> bool:
        late = time.perf_counter() >= began + asked.seconds
        return late or told.is_set() or len(out) >= asked.count

    failed = await asyncio.gather(
        *(
            _connection(
                asked.url,
                key,
                _body(asked.model),
                over=over,
                pause=pause,
                wait=pause * each / asked.connections,
                out=out,
            )
            for each in range(asked.connections)
        )
    )
    took = time.perf_counter() - began
    print(json.dumps({"took": took, "failed": sum(failed), "ms": sorted(out)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("connections", type=int)
    parser.add_argument("rate", type=float, nargs="?", default=0.0)
    parser.add_argument("--model", default="aurora-1")
    parser.add_argument("--count", type=float, default=float("inf"))
    asyncio.run(_main(parser.parse_args()))
