"""`python -m console.services.audit --home HOME`."""

from __future__ import annotations

import sys

from console.services.audit.service import serve
from console.services.runner import run

if __name__ == "__main__":
    sys.exit(run("audit", serve))
