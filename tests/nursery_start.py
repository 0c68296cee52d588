"""Asks a nursery for a process: `python -I -S nursery_start.py SOCKET MODULE ARGUMENTS…`.

It stands in for `python -m MODULE ARGUMENTS…` where a program is named by its words: it hands
over its streams, its environment and what `--ready-fd` names. What says itself that it is ready
goes on alone; everything else is waited for, and its exit code passed on. It imports little,
because starting it is what it saves.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main() -> int:
    """Ask, hear that the process is there, and how it ended where nobody else hears it."""
    path, module, *words = sys.argv[1:]
    streams = [0, 1, 2]
    alone = "--ready-fd" in words
    if alone:
        at = words.index("--ready-fd") + 1
        streams.append(int(words[at]))
        words[at] = "{fd}"
    here = os.getcwd()  # noqa: PTH109 - pathlib is slow to import
    asked = {"module": module, "words": words, "env": dict(os.environ), "cwd": here}
    with socket.socket(socket.AF_UNIX) as nursery:
        nursery.connect(path)
        socket.send_fds(nursery, [json.dumps(asked).encode() + b"\n"], streams)
        with nursery.makefile() as said:
            said.readline()
            code = 0 if alone else int(said.readline())
    return code if code >= 0 else 128 - code  # as a shell has it


if __name__ == "__main__":
    sys.exit(main())
