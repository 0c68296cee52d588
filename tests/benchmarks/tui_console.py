"""Our console over the feed, as a program of its own. Arguments: the command to open with."""

from __future__ import annotations

import sys

from tests.benchmarks.tui_feed import made


def main() -> int:
    feed = made()
    from console.tui.start import run

    return run(feed, sys.argv[1:])  # type: ignore[arg-type]  # a session in memory


if __name__ == "__main__":
    sys.exit(main())
