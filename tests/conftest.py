"""What every test stands on: nothing of the machine's own, and an honest count of skips."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Hundreds of processes start in a run: compiling the program anew in each is a third of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_skipped_vectors = 0


@pytest.fixture(autouse=True)
def _no_configuration_of_the_machine(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the operator's own profiles, tokens and state out of every test."""
    home: Path = tmp_path_factory.mktemp("h")
    for name in ("CONFIG", "PROFILE", "TOKEN", "OUTPUT", "HOME"):
        monkeypatch.delenv(f"PILOTCTL_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "s"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "k"))
    monkeypatch.delenv("NO_COLOR", raising=False)


LONGEST_FIRST = ("tests/thread", "tests/services/demo", "tests/services", "tests/tui", "tests/cli")
"""Folders whose files run longest. A worker takes a whole file, so those come first: what is
short fills up the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what runs longest, each file in its own order."""

    def rank(item: pytest.Item) -> int:
        path = item.nodeid
        found = (at for at, each in enumerate(LONGEST_FIRST) if path.startswith(each))
        return next(found, len(LONGEST_FIRST))

    items.sort(key=rank)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the tests that could not run because the public vectors are missing."""
    global _skipped_vectors  # noqa: PLW0603 - pytest's hooks share no object
    if report.skipped and "vectors" in str(report.longrepr):
        _skipped_vectors += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what tests recorded as `told`; then the count, which `.ci/run` repeats as its last."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, said in report.user_properties:
            if name == "told":
                terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2]}: {said}")
    terminalreporter.write_line(f"vector cases skipped: {_skipped_vectors}")
