"""One supervised process: a fault of the moment never ends its keeping."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from console.services.supervisor.bounded_log import BoundedLog
from console.services.supervisor.child import Child
from console.services.supervisor.processes import Spec


def test_a_process_that_cannot_be_started_for_want_of_files_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def serves() -> bool:
        return True

    async def run() -> None:
        tried = asyncio.Event()
        times = 0

        async def refused(*_argv: object, **_more: object) -> NoReturn:
            nonlocal times
            times += 1
            if times == 3:
                tried.set()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
        log = BoundedLog(tmp_path / "log")
        child = Child(Spec("svc", ("module",), serves), log, said.append)
        child.start()
        async with asyncio.timeout(20):
            await tried.wait()
        assert child.report().why == "it cannot be started: Too many open files"
        await child.stop()
        log.close()

    asyncio.run(run())
    assert said[0].startswith("svc ended: it cannot be started: Too many open files")


def test_a_question_that_fails_is_asked_again(tmp_path: Path) -> None:
    async def run() -> None:
        asked = 0

        async def serves() -> bool:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise ValueError("an address that is none")
            return True

        log = BoundedLog(tmp_path / "log")
        child = Child(Spec("svc", ("module",), serves), log, bool)
        async with asyncio.timeout(20):
            await child._until_it_serves()
        assert asked == 2
        log.close()

    asyncio.run(run())
