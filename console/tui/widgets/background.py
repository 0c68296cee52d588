"""Reads in the background: dropped when their place is left, never the end of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from textual.dom import DOMNode
from textual.screen import Screen


def begin(node: DOMNode, work: Callable[[], Coroutine[Any, Any, None]], group: str = "") -> None:
    """Run `work`, a partial of a coroutine function; of a named group, only the newest."""
    node.run_worker(
        _once(work),  # type: ignore[arg-type]  # Textual's types know coroutines of None alone
        group=group or "free",
        exclusive=bool(group),
        exit_on_error=False,
    )


def _once(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return `work` so that nothing of it is held once it has ended, or was dropped.

    Textual's worker holds itself: by its task's context, and by the frames of the cancellation
    that it remembers. With them the rows that were being read would wait for the collector.
    """
    left = [work]

    async def run() -> None:
        with suppress(asyncio.CancelledError):
            await left.pop()()

    return run


def ready(screen: Screen[Any]) -> None:
    """Say that a screen that was opened can take keys: those typed ahead are its own."""
    told = getattr(screen.app, "screen_ready", None)
    if told is not None:
        told(screen)
