"""Asks a nursery for a process: `python -I -S nursery_start.py SOCKET MODULE ARGUMENTS…`.

It stands in for `python -m MODULE ARGUMENTS…` where a program is named by its words: it hands
over its streams, its environment and what `--ready-fd` names, and ends. It imports little,
because starting it is what it saves.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main() -> None:
    """Ask, and hear that the process is there."""
    path, module, *words = sys.argv[1:]
    streams = [0, 1, 2]
    if "--ready-fd" in words:
        at = words.index("--ready-fd") + 1
        streams.append(int(words[at]))
        words[at] = "{fd}"
    here = os.getcwd()  # noqa: PTH109 - pathlib is slow to import
    asked = {"module": module, "words": words, "env": dict(os.environ), "cwd": here}
    with socket.socket(socket.AF_UNIX) as nursery:
        nursery.connect(path)
        socket.send_fds(nursery, [json.dumps(asked).encode() + b"\n"], streams)
        nursery.recv(16)


if __name__ == "__main__":
    main()
