"""`python -m console.services.gateway.control --home HOME`."""

import sys

from console.services.gateway.control.service import serve
from console.services.runner import run

if __name__ == "__main__":
    sys.exit(run("gateway", serve))
