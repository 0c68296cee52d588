"""Ending well: signals, a vanished terminal, and a backstop where ending well hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

BACKSTOP_SECONDS = 3
LOOK_SECONDS = 2.0

_ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)


def arm_backstop() -> None:
    """End the process in three seconds, whatever it then hangs on.

    The writer thread of a terminal that is gone never ends, and joining it would wait for
    ever: the default action of SIGALRM does not.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(BACKSTOP_SECONDS)


def disarm_backstop() -> None:
    """Call the backstop off: the end was clean."""
    signal.alarm(0)


def listen(end: Callable[[int], None]) -> None:
    """Call `end(128 + n)` on the running loop when a signal says to end.

    Also where the signal was ignored by whoever started us (`nohup`): a console without a
    terminal has nothing to go on for.
    """
    loop = asyncio.get_running_loop()

    def ending(number: int) -> None:
        arm_backstop()
        end(128 + number)

    for each in _ENDING:
        loop.add_signal_handler(each, ending, int(each))


def terminal_there() -> bool:
    """Whether the terminal that is read and written is still one."""
    try:
        return os.isatty(sys.__stdin__.fileno() if sys.__stdin__ else 0)
    except (OSError, ValueError):
        return False


def let_go_of_a_gone_terminal() -> None:
    """Point the standard streams elsewhere if their terminal is gone.

    Python flushes them as it ends, and would change the exit code to 120 on failing to.
    """
    if terminal_there():
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


async def watch_terminal(end: Callable[[int], None]) -> None:
    """End as SIGHUP would when the terminal has gone without a signal."""
    while terminal_there():  # noqa: ASYNC110  nothing tells when a terminal goes
        await asyncio.sleep(LOOK_SECONDS)
    arm_backstop()
    end(128 + signal.SIGHUP)
