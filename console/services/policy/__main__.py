"""`python -m console.services.policy --home HOME`."""

import sys

from console.services.policy.service import serve
from console.services.runner import run

if __name__ == "__main__":
    sys.exit(run("policy", serve))
