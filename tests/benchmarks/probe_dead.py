"""An independent prober: `python probe_dead.py URL`, a key and then nothing on standard input.

Calls with the raw key every 5 ms. Prints a line as each answer changes from served to
refused: the moment (Unix time) of the first refusal's arrival and of the last served one,
and at its end the idle round trip in ms (median), measured before anything was refused.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

BODY = json.dumps({"model": "aurora-1", "messages": [{"role": "user", "content": "x"}]})


def main(url: str) -> None:
    key = sys.stdin.readline().strip()
    parts = urlsplit(url)
    conn = http.client.HTTPConnection(parts.netloc, timeout=10)
    trips: list[float] = []
    last_served = 0.0
    print("ready", flush=True)
    while True:
        began = time.time()
        conn.request("POST", parts.path, BODY, {"Authorization": f"Bearer {key}"})
        answer = conn.getresponse()
        answer.read()
        ended = time.time()
        if answer.status != 200:
            code = answer.headers["x-pilotctl-code"]
            break
        last_served = ended
        trips.append((ended - began) * 1000)
        time.sleep(max(0.0, 0.005 - (ended - began)))
    trips.sort()
    print(
        json.dumps(
            {
                "code": code,
                "refused_at": ended,
                "last_served": last_served,
                "trip_ms": trips[len(trips) // 2],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
