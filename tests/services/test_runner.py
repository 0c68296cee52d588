"""One way of running a service: it fails loudly, says no value, and keeps others out."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.services import runner, settings
from console.services.settings import Settings

SECRET = "only-in-this-test-0123456789"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Run a service in this process, as its own would be."""
    monkeypatch.setattr(sys, "argv", ["service", "--home", str(tmp_path / "a" / "home")])
    handlers, before = logging.root.handlers[:], os.umask(0)
    yield lambda serve: runner.run("service", serve)
    os.umask(before)
    logging.root.handlers[:] = handlers


def test_what_ends_a_service_is_one_json_line_without_a_value(
    ran: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    async def serve(_read: Settings, _args: argparse.Namespace, _stop: asyncio.Event) -> None:
        raise ValueError(SECRET)

    assert ran(serve) == 1
    (line,) = capfd.readouterr().err.splitlines()
    said = json.loads(line)
    assert said["service"] == "service"
    assert said["error"]["code"] == "service-failed"
    assert "ValueError" in said["error"]["message"]
    assert SECRET not in line


def test_what_libraries_and_the_loop_log_is_said_without_what_was_sent(
    ran: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    async def serve(_read: Settings, _args: argparse.Namespace, _stop: asyncio.Event) -> None:
        try:
            int(SECRET)
        except ValueError:
            logging.getLogger("aiohttp.server").exception("cannot read %s", SECRET)
        logging.getLogger("console.services.policy").warning("the clock could not settle")
        loop = asyncio.get_running_loop()
        loop.call_exception_handler(
            {"message": f"never retrieved\n{SECRET}", "exception": ValueError(SECRET)}
        )

    assert ran(serve) == 0
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 3
    assert said.count("ValueError") == 2
    assert "the clock could not settle" in said
    assert SECRET not in said


def test_under_any_umask_others_may_write_nothing_of_a_pilot(
    ran: Callable[..., int], tmp_path: Path
) -> None:
    async def serve(read: Settings, _args: argparse.Namespace, _stop: asyncio.Event) -> None:
        (read.home.log / "tile").mkdir()
        (read.home.log / "checkpoint").touch()

    settings.prepare(tmp_path / "a" / "home")
    assert ran(serve) == 0
    found = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    assert len(found) > 6
    assert not [str(each) for each in found if stat.S_IMODE(each.stat().st_mode) & 0o022]


def test_a_service_has_as_many_files_as_it_is_allowed(ran: Callable[..., int]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen: list[int] = []

    async def serve(_read: Settings, _args: argparse.Namespace, _stop: asyncio.Event) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        assert ran(serve) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == [min(hard, 16384)]
