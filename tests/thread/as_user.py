"""`python as_user.py USER WORDS…`: run `pilotctl WORDS` as another user of this machine.

The interpreter may lie where that user cannot read, so everything that the command needs is
loaded by looking at the same thing first; then this process becomes the other user for good.
"""

from __future__ import annotations

import codecs
import io
import os
import pwd
import sys
import tempfile
from collections.abc import Sequence

from console.cli.main import main


def become(user: str, words: Sequence[str], *, load: Sequence[Sequence[str]]) -> int:
    """Load by running `load`, be `user`, and run `words`."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    for codec in ("ascii", "idna", "latin-1", "punycode"):
        codecs.lookup(codec)
    with tempfile.TemporaryDirectory() as folder:
        for each in load:
            main(each, {**os.environ, "XDG_STATE_HOME": folder})
    sys.stdout, sys.stderr = streams
    found = pwd.getpwnam(user)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
    return main(words)


if __name__ == "__main__":
    argv = sys.argv[2:]
    looks = [
        [*argv, "--dry-run"],
        ["grant", "list", "-o", "json"],
        ["audit", "verify"],
        ["no-such"],
    ]
    sys.exit(become(sys.argv[1], argv, load=looks))
