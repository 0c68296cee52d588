"""Whether anything is set up here: else the console offers the ways to begin."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from console.config.paths import config_file, local_home

_NAMED = ("PROFILE", "CONFIG", "POLICY", "GATEWAY", "AUDIT")


def nothing_set_up(environ: Mapping[str, str]) -> bool:
    """Whether there is no configuration, nothing named for this run, and no pilot here."""
    if any(environ.get(f"PILOTCTL_{name}") for name in _NAMED):
        return False
    if config_file(environ).exists():
        return False
    path = local_home(environ) / "run" / "gateway.sock"
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(os.fspath(path))
    except OSError:
        return True
    return False
