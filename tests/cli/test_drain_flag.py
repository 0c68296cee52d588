"""`down --drain`: a time as people write it, and what is wrong with another, in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def down(home: Path, drain: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "console", "down", "--home", str(home)]
    done = subprocess.run(
        [*command, "--drain", drain], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("drain", ["soon", "3600.5", "nan"])
def test_a_drain_that_is_no_time_is_refused_in_words(tmp_path: Path, drain: str) -> None:
    code, said = down(tmp_path, drain)
    assert code == 2
    assert f"'{drain}' must be seconds from 0 to 3600, like 10 or 10s" in said


def test_a_drain_may_carry_its_unit_like_every_other_length(tmp_path: Path) -> None:
    code, said = down(tmp_path, "3s")
    assert (code, "nothing was running" in said) == (0, True), said
