"""The whole tree is formatted, linted and typed: one command is the whole check."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="ruff finds nothing"),
        pytest.param(["ruff", "format", "--check", "."], id="ruff would format nothing"),
        pytest.param(["mypy", "console"], id="mypy strict finds nothing"),
    ],
)
def test_the_tree_is_clean(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_test_files_have_one_name() -> None:
    """Each is imported by its name alone: the second of a name would not run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_sdks_are_imported_in_one_place() -> None:
    """Reading a test must not take the seconds that importing an SDK takes."""
    importing = re.compile(r"^\s*(import|from) (anthropic|openai)\b", re.MULTILINE)
    found = [p.name for p in (ROOT / "tests").rglob("*.py") if importing.search(p.read_text())]
    assert found == ["sdks.py"]
