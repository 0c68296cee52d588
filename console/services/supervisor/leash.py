"""Runs a module as a program that ends when the supervisor does.

`python -m console.services.supervisor.leash MODULE ARGUMENTS…`: the kernel kills this
process when its parent dies (PR_SET_PDEATHSIG), so that however the supervisor ends, it
leaves no orphan that goes on deciding.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

from console.services.supervisor.report import SUPERVISOR

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent, then be the module that was named."""
    supervisor = int(os.environ.pop(SUPERVISOR))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("the supervisor has ended")  # before it could be asked for
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
