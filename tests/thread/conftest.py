from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.thread.pilot_rig import Rig, programme, running, short_folder


@pytest.fixture(scope="session")
def pilot() -> Iterator[Rig]:
    """One running pilot for every test that leaves it standing; each brings its own partner."""
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig)
        yield rig
