"""Start-up in an environment with the base dependencies only, beside the bare interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 25
MOST = {"--version": 2.5, "--help": 5.0, "grant list": 14.0}

pytestmark = pytest.mark.benchmark


def test_commands_start_at_a_small_multiple_of_the_bare_interpreter(tmp_path: Path) -> None:
    base = _base_environment(tmp_path / "base")
    with tempfile.TemporaryDirectory(prefix="pilotctl-start-") as folder:
        env = {
            **os.environ,
            "PILOTCTL_HOME": f"{folder}/home",
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CONFIG_HOME": f"{folder}/config",
        }
        here = [sys.executable, "-m", "console"]
        subprocess.run([*here, "up"], env=env, cwd=ROOT, check=True, capture_output=True)
        try:
            times = _interleaved(base, env)
        finally:
            subprocess.run([*here, "down"], env=env, cwd=ROOT, check=False, capture_output=True)
    bare = statistics.median(times.pop("python -c pass"))
    print(f"\npython -c pass: {bare * 1000:.1f} ms (median of {RUNS}, interleaved)")
    ratios = {name: statistics.median(each) / bare for name, each in times.items()}
    for name, ratio in ratios.items():
        print(f"pilotctl {name}: {ratio:.2f} times it (at most {MOST[name]})")
    assert all(ratios[name] <= most for name, most in MOST.items())


def _base_environment(folder: Path) -> Path:
    """Install the product without its extras, and return the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "-q", str(ROOT)], check=True)
    return folder / "bin"


def _interleaved(base: Path, env: dict[str, str]) -> dict[str, list[float]]:
    commands = {
        "python -c pass": [base / "python", "-c", "pass"],
        **{name: [base / "pilotctl", *name.split()] for name in MOST},
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(RUNS + 2):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            if turn >= 2:  # the first runs fill the file cache
                times[name].append(time.perf_counter() - began)
    return times
