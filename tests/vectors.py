"""Where the public test vectors lie. They are never copied into this project."""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1].parent / "shared" / "vectors"


def vectors(path: str) -> Path:
    """Return a file or folder of the vectors; skip the test, saying so, where it is missing."""
    found = Path(os.environ.get("PILOTCTL_VECTORS") or HERE) / path
    if not found.exists():
        pytest.skip(f"no test vectors at {found}; PILOTCTL_VECTORS names their folder")
    return found
