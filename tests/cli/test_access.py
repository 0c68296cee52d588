"""Access day by day, at the command line of a real pilot: renew, amend, suspend, offboard."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A running pilot with two partners."""
    with short_folder() as folder, running(folder / "home", points=2) as rig:
        programme(rig, tier=1, partners=("acme", "birch", "cedar"))
        yield rig


class Calls:
    """Partner traffic that goes on while something is done."""

    def __init__(self, rig: Rig, *keys: str) -> None:
        self._rig = rig
        self._stop = threading.Event()
        self.codes: list[tuple[int, str]] = []
        urls = rig.points()
        self._threads = [
            threading.Thread(target=self._call, args=(key, url)) for key in keys for url in urls
        ]

    def _call(self, key: str, url: str) -> None:
        while not self._stop.is_set():
            answer = self._rig.call(key, base=url)
            self.codes.append((answer.status_code, answer.headers.get("x-pilotctl-code", "")))
            time.sleep(0.02)

    def __enter__(self) -> Calls:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_grants_are_renewed_in_bulk_and_no_partner_notices(rig: Rig) -> None:
    grants = [granted(rig, partner).id for partner in ("acme", "birch")]
    keys = [key_of(rig, grant)[1] for grant in grants]
    planned = rig.ok(
        "grant", "renew", grants[0], "--expires", "60d", "--reason", "goes on", "--dry-run"
    )
    assert "the keys go on under it" in planned
    assert f"{grants[0]}, as renewed" in planned
    with Calls(rig, *keys) as calls:
        done = rig.cli(
            "grant", "renew", "--ids-from", "-", "--expires", "60d", "--reason", "a new term",
            "--yes", "-o", "jsonl", stdin="\n".join(grants),
        )  # fmt: skip
        assert done.exit == 0, done.err
        rig.until(
            lambda: all(rig.json("grant", "show", each)["renewed_by"] for each in grants),
            what="the old ones are renewed",
        )
        time.sleep(0.3)
    assert len(calls.codes) > 10
    assert {code for code, _ in calls.codes} == {200}, calls.codes
    for grant, key in zip(grants, keys, strict=True):
        old = rig.json("grant", "show", grant)
        assert (old["state"], old["state_reason"]) == ("expired", "renewed")
        new = rig.json("grant", "show", old["renewed_by"])
        assert (new["state"], new["renews"]) == ("active", grant)
        held = rig.json("key", "list", "--grant", new["id"])["items"]
        assert [each["hint"] for each in held] == [key[-4:]]
        assert rig.json("key", "list", "--grant", grant)["items"] == []
    again = rig.cli("grant", "renew", grants[0], "--expires", "80d", "--reason", "x", "--yes")
    assert again.exit == 6
    assert "is renewed by" in again.err
