"""The whole tree is formatted, linted and typed: one command is the whole check."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


CHECKS = {
    "ruff finds nothing": "ruff check .",
    "ruff would format nothing": "ruff format --check .",
    "mypy strict finds nothing": "mypy console",
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_the_tree_is_clean(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_commit_is_held_to_the_same_checks() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^ +name: (.*)$", hooks, re.MULTILINE) == list(CHECKS)
    said = re.findall(r"^ +entry: python -m (.*)$", hooks, re.MULTILINE)
    assert said == list(CHECKS.values())


def test_the_forge_runs_the_command_that_the_readme_names() -> None:
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert re.findall(r"^ +- run: (\S+)$", workflow, re.MULTILINE) == [".ci/run"]
    contributing = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    command = re.compile(r"^python3 -m venv .*pytest$", re.MULTILINE)
    assert command.findall(contributing) == command.findall((ROOT / "README.md").read_text())


def test_no_two_test_files_have_one_name() -> None:
    """Each is imported by its name alone: the second of a name would not run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_sdks_are_imported_in_one_place() -> None:
    """Reading a test must not take the seconds that importing an SDK takes."""
    importing = re.compile(r"^\s*(import|from) (anthropic|openai)\b", re.MULTILINE)
    found = [p.name for p in (ROOT / "tests").rglob("*.py") if importing.search(p.read_text())]
    assert found == ["sdks.py"]
