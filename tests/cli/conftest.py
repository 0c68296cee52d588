from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pilot_rig import Rig
from tiny_api import tiny_api


@pytest.fixture
def rig(tmp_path: Path, capfd: Any) -> Iterator[Rig]:
    with tiny_api(tmp_path / "a.sock") as api:
        yield Rig(api, capfd, tmp_path)
