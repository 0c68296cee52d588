"""`down` lets calls in flight end for a stated time; what it cuts is told as cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from console.services import supervisor
from tests import nursery
from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig)
        yield rig


def started(rig: Rig) -> None:
    supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
    rig._urls = []


def streaming(rig: Rig, key: str, words: int, while_it_runs: Any) -> str:
    """Stream a call; run `while_it_runs` after its first bytes; return all that came."""
    body = {
        "model": "aurora-1", "stream": True, "max_tokens": 4000,
        "messages": [{"role": "user", "content": f"{words} words"}],
    }  # fmt: skip
    base, text = rig.points()[0], ""
    with httpx.stream(
        "POST", f"{base}/v1/chat/completions", json=body, timeout=30,
        headers={"authorization": f"Bearer {key}"},
    ) as answer:  # fmt: skip
        parts = answer.iter_text()
        text = next(parts)
        while_it_runs()
        text += "".join(parts)
    return text


def test_down_lets_a_stream_end_and_says_for_how_long(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    said: list[Any] = []

    def down() -> None:
        rig.until(lambda: rig.json("point", "list")["items"][0]["in_flight"], what="it is counted")
        said.append(begun(rig, "down", "--home", str(rig.home), "--drain", "25"))

    text = streaming(rig, key, 400, down)
    assert text.rstrip().endswith("data: [DONE]")
    done = said[0].wait(40)
    assert done == 0
    assert "1 call in flight may go on for 25 s" in said[0].communicate()[1]
    started(rig)
    calls = rig.until(lambda: rig.json("call", "list", "--outcome", "allowed")["items"])
    assert [each["finish_reason"] for each in calls if each["stream"]] == ["stop"]


def test_what_is_cut_at_the_end_of_the_time_was_no_refusal_and_is_in_the_log(rig: Rig) -> None:
    _, key = key_of(rig, granted(rig).id)
    text = streaming(
        rig, key, 3000,
        lambda: rig.ok("down", "--home", str(rig.home), "--drain", "0.2"),
    )  # fmt: skip
    assert "[DONE]" not in text
    assert "point_stopped" in text, "the caller is told, within the stream"
    started(rig)
    (call,) = rig.until(lambda: rig.json("call", "list", "--outcome", "error")["items"])
    assert call["code"] == "point_stopped"
    assert call["output_tokens"] > 0
    assert call["estimated"]
    assert not rig.json("call", "list", "--outcome", "denied")["items"]
    rig.until(lambda: "point.cut-calls" in rig.actions(), what="the log has it")
    (event,) = [each for each in rig.events() if each.action == "point.cut-calls"]
    facts = json.loads(event.body)["unmapped"]["facts"]
    assert facts == {"calls": [call["id"]], "partners": ["acme"]}


def begun(rig: Rig, *words: str) -> Any:
    """Start a command, and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "console", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PILOTCTL_HOME": str(rig.home)},
    )  # fmt: skip
