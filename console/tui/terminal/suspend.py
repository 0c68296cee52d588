"""Suspending the console: its whole job stops, where a shell is there to take over.

The terminal is given back first. Then every process of the job is stopped, as the terminal
itself would do on Ctrl-Z: whoever waits for the console (`pilotctl demo`) stops with it, so
that the shell hears of it. Without a shell that watches the job (`ssh -tt host pilotctl`,
ForceCommand, the only program of a tmux window) nobody could continue it: it goes on.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

_IGNORED = signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
"""Whoever started us asked that it is not stopped from the terminal."""


def why_not() -> str:
    """Return why the job cannot be stopped, in words; empty where it can."""
    if _IGNORED or is_orphaned():
        return "there is no shell here to come back from: ctrl+q leaves"
    return ""


def is_orphaned() -> bool:
    """Tell whether nobody outside this process group, in its session, waits for it (POSIX).

    The members looked at are this process and those that wait for it, up to the group's edge.
    """
    group, session = os.getpgrp(), os.getsid(0)
    parent = os.getppid()
    try:
        while parent > 1 and os.getpgid(parent) == group:
            parent = _parent_of(parent)
        if parent < 1 or os.getpgid(parent) == group or os.getsid(parent) != session:
            return True
        return parent == 1 and not _ignores_stops(parent)
    except (OSError, ValueError, IndexError):
        return True  # it is another user's or has gone: not a shell of this session


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[1])


def _ignores_stops(pid: int) -> bool:
    """Tell whether a process ignores Ctrl-Z, as each shell that watches jobs does.

    A container's first process may be such a shell, or an init that continues nothing.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    ignored = int(status.partition("\nSigIgn:")[2].split()[0], 16)
    return bool(ignored >> (signal.SIGTSTP - 1) & 1)


def stop_job(driver: Any) -> None:
    """Give the terminal back and stop every process of the job. Returns once it is continued."""
    driver.suspend_application_mode()
    driver._must_signal_resume = True  # as its own handler of SIGTSTP does
    os.killpg(os.getpgrp(), signal.SIGSTOP)


def heed_signal(driver: Any) -> None:
    """Take SIGTSTP from elsewhere as a key is: where nobody could continue it, it goes on."""

    def told(*_: object) -> None:
        if not why_not():
            stop_job(driver)

    signal.signal(signal.SIGTSTP, told)
