"""What every test stands on: nothing of the machine's own, and an honest count of skips."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]

# Hundreds of processes start in a run: compiling the program anew in each is a third of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A run in the background of a shell ignores Ctrl-C, and so would every process it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a property says does not depend on how busy the machine is.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_skipped_vectors = 0


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of folders, one for each test. pytest's own would be looked up among them all."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def _no_configuration_of_the_machine(
    _homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the operator's own profiles, tokens and state out of every test."""
    home = next(_homes)
    home.mkdir()
    for name in ("CONFIG", "PROFILE", "TOKEN", "OUTPUT", "HOME"):
        monkeypatch.delenv(f"PILOTCTL_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "s"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "k"))
    monkeypatch.delenv("NO_COLOR", raising=False)


@contextmanager
def _compiled_once(config: pytest.Config) -> Iterator[None]:
    """Let one worker compile what it reads, and the others wait for that.

    They all begin together, and each would compile a fresh checkout anew.
    """
    run = getattr(config, "workerinput", {}).get("testrunuid")
    if run is None:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"pilotctl-tests-{run}"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    path.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[object]:
    """Read the tests without looking for garbage, and never look for it among them.

    They are 400,000 objects that stay: each look at them costs a quarter of a second.
    """
    gc.disable()
    try:
        with _compiled_once(session.config):
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """Spare the end of a run five looks for garbage among all that was imported."""
    gc.freeze()


LONGEST_FIRST = (
    "tests/services/gateway/test_gateway_sdks", "tests/test_style", "tests/test_readme",
    "tests/tui/test_unknown", "tests/thread/test_outages", "tests/tui/test_slow_link",
    "tests/cli/test_every_operation", "tests/thread", "tests/services/demo", "tests/services",
    "tests/tui", "tests/cli",
)  # fmt: skip
"""What runs longest, files before folders. A worker takes a whole file, so those come first: what
is short fills up the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what runs longest, each file in its own order."""

    def rank(item: pytest.Item) -> int:
        path = item.nodeid
        found = (at for at, each in enumerate(LONGEST_FIRST) if path.startswith(each))
        return next(found, len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give each worker a whole file, and one worker all files that use the official SDKs."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "the SDKs" if _uses_the_sdks(file) else file

    return Scheduling(config, log)


@cache
def _uses_the_sdks(file: str) -> bool:
    return "\nfrom tests.sdks import " in (ROOT / file).read_text()


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
