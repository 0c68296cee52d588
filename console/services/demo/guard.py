"""Takes the demo down where it cannot do so itself: killed, it leaves nothing running.

`python -m console.services.demo.guard HOME`: its standard input is a pipe that ends with
the demo's process, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from console.errors import PilotError
from console.services import supervisor


def main(home: Path) -> None:
    """Wait for the end of standard input; then stop what runs in `home`, and remove it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # they are the demo's to answer
    while os.read(0, 64):
        pass
    if home.exists():
        with suppress(PilotError):
            supervisor.stop(home, drain=0)
        shutil.rmtree(home.parent, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
