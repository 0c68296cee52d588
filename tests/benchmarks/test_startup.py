"""How long a command takes to start, beside a bare interpreter that does nothing.

In a new environment with the base dependencies only: what the services need must not be
paid for by those who only ask them.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest
from tiny_api import tiny_api

pytestmark = pytest.mark.benchmark

ROOT = Path(__file__).parents[2]
ROUNDS = 25
PAGE = {"as_of": "2026-03-01T12:00:00Z", "source": "policy", "items": []}
AT_MOST = {"--version": 2.5, "--help": 5.0, "grant list": 14.0}
"""Times a bare `python -c pass`."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the `bin` folder of a new environment that holds pilotctl and its dependencies."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, ROOT], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pilotctl cannot be installed here: {done.stderr.strip()[-300:]}")
    listed = subprocess.run(
        [folder / "bin/python", "-m", "pip", "list", "--format=json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {each["name"].lower() for each in json.loads(listed.stdout)}
    assert not names & {"aiohttp", "sqlalchemy", "cedarpy", "click", "pytest"}
    return folder / "bin"


@pytest.fixture
def environ(tmp_path):
    """A home with a policy API without grants, where the local profile looks for it."""
    run = tmp_path / "h/run"
    run.mkdir(parents=True)
    with tiny_api(run / "policy.sock") as api:
        api.on("GET /v1/grants", PAGE)
        yield {"HOME": str(tmp_path), "PILOTCTL_HOME": str(tmp_path / "h"), "PATH": os.defpath}


def milliseconds(command, environ):
    started = perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return (perf_counter() - started) * 1000


def test_starting_costs_little_more_than_the_interpreter(installed, environ):
    commands = {"bare": [installed / "python", "-c", "pass"]}
    commands |= {words: [installed / "pilotctl", *words.split()] for words in AT_MOST}
    for command in commands.values():  # the first run writes bytecode
        milliseconds(command, environ)
    # in turns, so that a busy machine slows all of them
    rounds = [
        {name: milliseconds(command, environ) for name, command in commands.items()}
        for _ in range(ROUNDS)
    ]
    took = {name: statistics.median(each[name] for each in rounds) for name in commands}
    print(f"\nbare python -c pass: {took['bare']:.1f} ms (median of {ROUNDS})")
    ratios = {words: took[words] / took["bare"] for words in AT_MOST}
    for words, ratio in ratios.items():
        print(
            f"pilotctl {words}: {took[words]:.1f} ms, {ratio:.2f} times bare"
            f" (at most {AT_MOST[words]:g})"
        )
    slow = {words: ratio for words, ratio in ratios.items() if ratio > AT_MOST[words]}
    assert not slow
