"""A pilot in memory with many rows and live traffic, for our console and for the stock twin.

What changes is worked out when it is read, from the clock and a seed: no timer of the
feed's own disturbs what is measured.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "tui")]

from fake_pilot import FakePilot, an_id  # noqa: E402  it lies beside the tests of the screen

from console.api.route import Call  # noqa: E402
from console.model.audit import Alert  # noqa: E402
from console.model.enforcement import Credential  # noqa: E402
from console.model.stored import Page  # noqa: E402
from console.model.traffic import CallRecord  # noqa: E402

NAMES = ("acme", "northwind", "halcyon", "tern-labs")
COUNT = 7_000
"""What the changed cell counts from: each change is told apart by its number."""


class Feed(FakePilot):
    """Alerts and keys by the thousand.

    `rate` changes a second: of five, four are one more of a known alert and one more use of
    a known key, one is a new one of each. SIGUSR1 changes one cell: the count of the second
    alert. Each API takes `latency` seconds to answer, and answers with all there is: so the
    screen and not the paging of an API is measured.
    """

    def __init__(
        self, *, keys: int = 60, alerts: int = 90, rate: float = 0.0, latency: float = 0.0
    ) -> None:
        super().__init__(slow=dict.fromkeys(("gateway", "policy", "audit"), latency))
        self.rate, self.changes = rate, 0
        self.chance, self.began = random.Random(7), time.monotonic()
        self.touched: list[Any] = []
        like: dict[type, Any] = {kind: self.all[kind][0] for kind in (Alert, Credential)}
        self.all[Alert] = [self._alert(like[Alert], n) for n in range(alerts)]
        self.all[Credential] = [self._key(like[Credential], n) for n in range(keys)]
        # no age that an idle screen shows is a young one's
        self.all[CallRecord] = [
            msgspec.structs.replace(each, started_at=each.started_at - timedelta(days=3))
            for each in self.all[CallRecord]
        ]
        signal.signal(signal.SIGUSR1, self._one_cell)

    def _alert(self, like: Alert, n: int, **more: Any) -> Alert:
        given = {
            "id": an_id("alr", n), "severity": ("critical", "high", "medium", "low")[n % 4],
            "title": f"refusal rate {n % 9}.{n % 7}x its week", "count": COUNT if n == 1 else 3 + n,
            "partner": NAMES[n % 4], "fingerprint": f"f{n}", "state": "new",
            "last_seen_at": self.now - timedelta(days=3, hours=n), **more,
        }  # fmt: skip
        return msgspec.structs.replace(like, **given)

    def _key(self, like: Credential, n: int, **more: Any) -> Credential:
        given = {
            "id": an_id("crd", n), "partner": NAMES[n % 4], "holder": NAMES[n % 4],
            "grant_id": an_id("grt", n % 900), "hint": f"{n % 7919:04d}", "state": "in_use",
            "last_used_at": self.now - timedelta(days=3, seconds=n), **more,
        }  # fmt: skip
        return msgspec.structs.replace(like, **given)

    def _one_cell(self, *_: object) -> None:
        rows = self.all[Alert]
        at = next(at for at, each in enumerate(rows) if each.id == an_id("alr", 1))
        self._change(Alert, at, count=rows[at].count + 1)

    def _change(self, kind: type, at: int, **more: Any) -> None:
        changed = self.all[kind][at] = msgspec.structs.replace(self.all[kind][at], **more)
        self.touched.append(changed)

    def advance(self) -> None:
        """Make what has happened since the last look."""
        if not self.rate:
            return
        due = int((time.monotonic() - self.began) * self.rate)
        alerts, keys = self.all[Alert], self.all[Credential]
        for n in range(self.changes, due):
            now = datetime.now(UTC)
            if n % 5 == 4:
                alerts.insert(0, self._alert(alerts[0], 900_000 + n, last_seen_at=now))
                keys.insert(0, self._key(keys[0], 900_000 + n, last_used_at=now))
                self.touched += [alerts[0], keys[0]]
            else:
                at = self.chance.randrange(len(alerts))
                self._change(Alert, at, count=alerts[at].count + 1, last_seen_at=now)
                self._change(Credential, self.chance.randrange(len(keys)), last_used_at=now)
        self.changes = due

    def _page(self, kind: type, call: Call) -> Page[Any]:
        self.advance()
        if kind in {Alert, Credential}:
            return Page(as_of=datetime.now(UTC), source="fake", items=list(self.all[kind]))
        return super()._page(kind, call)


def made() -> Feed:
    """Return the feed that the environment describes.

    Where BENCH_CLOCK names a file, write when it was ready, by the monotonic and by the
    processor's clock: the data is there, and the screen is not.
    """
    feed = Feed(**json.loads(os.environ.get("BENCH_FEED", "{}")))
    clock = os.environ.get("BENCH_CLOCK")
    if clock:
        # The toolkit's import collects garbage: not among what was there before it.
        gc.freeze()
        Path(clock).write_text(f"{time.monotonic()} {time.process_time()}")
    return feed
