"""A load generator: `python load.py URL SECONDS CONNECTIONS [RATE]`, the key on standard input.

Raw sockets, one request at a time on each connection, so that it costs little beside what
it measures. Prints one JSON object: how many answers, how many failures, latencies in ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

BODY = json.dumps(
    {"model": "aurora-1", "messages": [{"role": "user", "content": "What is a pilot?"}]}
).encode()


async def _connection(
    url: str, key: str, *, end: float, pause: float, wait: float, out: list[float]
) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode()
    failed = 0
    due = time.perf_counter() + wait  # spread out, so that they do not come in bursts
    while (now := time.perf_counter()) < end:
        if pause:
            due += pause
            if due > now:
                await asyncio.sleep(due - now)
        began = time.perf_counter()
        writer.write(head + BODY)
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


async def _main(url: str, seconds: float, connections: int, rate: float) -> None:
    key = sys.stdin.readline().strip()
    out: list[float] = []
    began = time.perf_counter()
    pause = connections / rate if rate else 0.0
    failed = await asyncio.gather(
        *(
            _connection(
                url,
                key,
                end=began + seconds,
                pause=pause,
                wait=pause * each / connections,
                out=out,
            )
            for each in range(connections)
        )
    )
    took = time.perf_counter() - began
    print(json.dumps({"took": took, "failed": sum(failed), "ms": sorted(out)}))


if __name__ == "__main__":
    asyncio.run(
        _main(
            sys.argv[1],
            float(sys.argv[2]),
            int(sys.argv[3]),
            float(sys.argv[4]) if len(sys.argv) > 4 else 0.0,
        )
    )
