"""No process of ours imports anything from the folder in which it was started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from console import programs
from console.programs import ROOT, code_command, module_command, module_environment
from console.trust.writer import TileWriter
from tests.trust.spec_log import numbered

PILOTCTL = Path(sys.executable).parent / "pilotctl"

NAMES = (
    "console/__init__", "console/__main__", "console/credentials/__init__",
    "console/credentials/keychain", "console/services/__init__",
    "console/services/supervisor/__init__", "console/services/supervisor/__main__",
    "console/services/supervisor/leash", "console/tui/__init__", "console/tui/facts",
    "keyring", "json", "locale", "runpy", "multiprocessing/__init__", "multiprocessing/spawn",
    "httpx", "msgspec", "aiohttp", "sitecustomize", "usercustomize", "ctypes",
)  # fmt: skip
"""Modules that our processes import, as a hostile folder has them."""


@pytest.fixture
def poisoned(tmp_path):
    """A folder whose modules leave a mark when they are imported."""
    folder = tmp_path / "poisoned"
    for name in NAMES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = str(folder / "MARK")
        path.write_text(f"open({mark!r}, 'a').write({name!r} + '\\n')\n")
    return folder


def run(folder, *command, **environ):
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env={**os.environ, **environ}, capture_output=True,
        text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    mark = folder / "MARK"
    assert not mark.exists(), f"{command[:3]} imported from here: {mark.read_text()}"
    return done


@pytest.fixture
def with_keyring(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(
        "[profiles.lab]\ntoken = {source = 'keyring'}\n"
        "policy = 'http://127.0.0.1:9'\ngateway = 'http://127.0.0.1:9'\n"
        "audit = 'http://127.0.0.1:9'\n"
    )
    config.chmod(0o600)
    return {"PILOTCTL_CONFIG": str(config), "PILOTCTL_PROFILE": "lab",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}  # fmt: skip


def test_the_keyring_is_asked_without_the_working_directory(poisoned, with_keyring):
    done = run(poisoned, PILOTCTL, "auth", "status", **with_keyring)
    assert "holds nothing" in done.stdout + done.stderr


def test_doctor_looks_at_the_console_without_the_working_directory(poisoned):
    done = run(poisoned, PILOTCTL, "doctor")
    assert "theme" in done.stdout


def test_a_pilot_is_started_and_stopped_without_the_working_directory(poisoned, tmp_path):
    home = str(tmp_path / "home")
    Path(home).mkdir()
    (Path(home) / "pilot.toml").write_text("[data_plane]\nports = [0]\n")
    try:
        done = run(poisoned, PILOTCTL, "up", "--home", home)
        assert done.returncode == 0, done.stderr
    finally:
        done = run(poisoned, PILOTCTL, "down", "--home", home)
    assert done.returncode == 0, done.stderr


def test_a_log_is_verified_by_several_processes_without_the_working_directory(poisoned, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    TileWriter(log, durable=False).append(numbered(4 * 256))
    # as the `pilotctl` script does it: without -P in this process
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom console.trust import parallel_hashing\n"
        "if __name__ == '__main__':\n"
        "    parallel_hashing.WORTH_SHARING, parallel_hashing.RANGE = 100, 2\n"
        "    parallel_hashing.usable_processors = lambda: 2\n"
        "    roots = list(parallel_hashing.bundle_roots(Path(sys.argv[1]), 4 * 256))\n"
        "    assert len(roots) == 4 and all(roots), roots\n"
    )
    done = run(poisoned, sys.executable, script, log)
    assert done.returncode == 0, done.stderr


def test_python_m_console_imports_nothing_else_from_the_working_directory(tmp_path):
    # here the folder has no `console` of its own, but libraries that it imports later
    folder = tmp_path / "poisoned"
    folder.mkdir()
    for name in ("httpx", "msgspec", "tomllib"):
        mark = str(folder / "MARK")
        (folder / f"{name}.py").write_text(f"open({mark!r}, 'a').write({name!r})\n")
    done = run(folder, sys.executable, "-m", "console", "auth", "status", PYTHONPATH=str(ROOT))
    assert "Traceback" not in done.stderr


def test_the_environment_of_our_processes_names_absolute_folders_only(monkeypatch):
    given = {"PYTHONPATH": os.pathsep.join(["", ".", "lib", "/opt/lib"]), "LANG": "C.UTF-8"}
    made = module_environment(given)
    folders = made["PYTHONPATH"].split(os.pathsep)
    assert folders == ["/opt/lib", str(ROOT)]
    assert made["LANG"] == "C.UTF-8"
    monkeypatch.setattr(programs, "ROOT", Path("/venv/lib/site-packages"))
    assert "PYTHONPATH" not in module_environment({"PYTHONPATH": ":."})


def test_our_commands_leave_the_working_directory_out():
    assert module_command("console", "up")[1:] == ("-P", "-m", "console", "up")
    assert code_command("pass")[1:] == ("-P", "-c", "pass")
