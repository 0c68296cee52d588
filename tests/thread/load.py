"""Operators that change things and partners that call, while services are being killed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from console.errors import ExitCode, PilotError
from console.model.text import now
from console.operations.index import find
from console.operations.values import build
from tests.thread.pilot_rig import CAPABILITY, PLAIN, Rig

UNSURE = {ExitCode.UNAVAILABLE, ExitCode.UNVERIFIED}
"""How a change may end that was perhaps made, perhaps not."""


class Change:
    """One change of an operator: it is one change however often it is sent."""

    def __init__(self, operation: str, key: str, **typed: Any) -> None:
        self.operation = find(operation)
        self.key = key
        self.params = build(self.operation, typed, now=now())
        self.plan: Any = None
        self.result: Any = None
        self.done_at = 0.0

    def send(self, rig: Rig, seconds: float) -> bool:
        """Send it, planned once; True once it is acknowledged. Other refusals are raised."""
        session = rig.session()
        try:
            if self.plan is None and self.operation.plan is not None:
                self.plan = session.run(self.operation.plan(self.params))
            flow = self.operation.run(self.params, self.plan)
            drive = session.drive(seconds=seconds, idempotency_key=self.key)
            self.result = session.run(flow, drive)
        except PilotError as error:
            if error.exit in UNSURE:
                return False
            raise
        self.done_at = time.monotonic()
        return True


class Called(NamedTuple):
    """One call of a partner that was answered whole."""

    began: float
    credential: str
    status: int
    request_id: str


class Load:
    """Writers and callers in threads. `over` ends them; then ask what they did."""

    def __init__(self, rig: Rig, partners: list[str], url: str, seed: int) -> None:
        self.rig = rig
        self.partners = partners
        self.url = url
        self.acknowledged: list[Change] = []
        self.unsure: list[Change] = []
        self.calls: list[Called] = []
        self.broken: list[BaseException] = []
        self.keys: dict[str, str] = {}
        """The raw keys by credential."""
        self.verified: dict[str, float] = {}
        """When the revocation of a credential was verified."""
        self._random = random.Random(seed)
        self._enough = threading.Event()
        self._counter = 0
        self._threads = [self._thread(self._write, n) for n in range(2)]
        self._threads += [self._thread(self._call, n) for n in range(3)]

    def over(self) -> None:
        """End the load."""
        self._enough.set()
        for each in self._threads:
            each.join(60)
            assert not each.is_alive()
        if self.broken:
            raise self.broken[0]

    def settle(self) -> None:
        """Send again what may not have been done, until each is acknowledged."""
        for change in self.unsure:
            assert change.send(self.rig, 20), f"{change.operation.id} again: still no answer"
            self._note(change)
        self.unsure = []

    def _thread(self, work: Callable[[random.Random], None], number: int) -> threading.Thread:
        mine = random.Random(self._random.random() + number)

        def run() -> None:
            try:
                while not self._enough.is_set():
                    work(mine)
            except BaseException as error:
                self.broken.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _change(self, operation: str, seconds: float = 6.0, **typed: Any) -> Any:
        self._counter += 1
        change = Change(operation, f"load-{id(typed)}-{self._counter}-{time.time_ns()}", **typed)
        if change.send(self.rig, seconds):
            self._note(change)
            return change.result
        if change.plan is not None or change.operation.plan is None:
            self.unsure.append(change)
        return None

    def _note(self, change: Change) -> None:
        self.acknowledged.append(change)
        if change.operation.id == "key.issue" and change.result.secret:
            self.keys[change.result.credential.id] = change.result.secret
        if change.operation.id == "key.revoke" and change.result.state == "verified":
            self.verified[change.result.target] = change.done_at

    def _write(self, dice: random.Random) -> None:
        match dice.choice(("partner", "grant", "lock", "revoke", "revoke")):
            case "partner":
                self._counter += 1
                slug = f"new-{self._counter}-{dice.randrange(10**9)}"
                self._change("partner.create", slug=slug, name="New", reason="r",
                             sponsor=self.rig.operator)  # fmt: skip
            case "grant":
                grant = self._change(
                    "grant.create", partner=dice.choice(self.partners), pilot="aurora",
                    stage="limited", capabilities=[CAPABILITY], models=["aurora-1"], purpose="p",
                    expires_at="30d", reason="r",
                )  # fmt: skip
                if grant is not None and grant.state == "active":
                    self._change("key.issue", grant=grant.id, reason="r")
            case "lock":
                network = f"2001:db8:{dice.randrange(1 << 16):x}:{dice.randrange(1 << 16):x}::/64"
                lock = self._change("lock.add", kind="network", target=network, reason="r")
                if lock is not None:
                    self._change("lock.release", lock=lock.lock_id, reason="r")
            case "revoke":
                alive = [each for each in list(self.keys) if each not in self.verified]
                if len(alive) > 2:
                    self._change("key.revoke", credential=dice.choice(alive), reason="r")
        self._enough.wait(0.02)

    def _call(self, dice: random.Random) -> None:
        self._enough.wait(0.01)
        known = list(self.keys.items())
        if not known:
            return
        alive = [each for each in known if each[0] not in self.verified]
        credential, raw = dice.choice(alive if alive and dice.random() < 0.8 else known)
        began = time.monotonic()
        try:
            answer = httpx.post(
                f"{self.url}/v1/chat/completions",
                headers={"authorization": f"Bearer {raw}"},
                json={
                    "model": "aurora-1",
                    "max_tokens": 4,
                    "messages": [{"role": "user", "content": "hello"}],
                },
                timeout=10,
                verify=PLAIN,
            )
        except httpx.HTTPError:
            return
        self.calls.append(
            Called(began, credential, answer.status_code, answer.headers["x-request-id"])
        )
