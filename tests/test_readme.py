"""The README is true: its commands run, in order, and print what it says they print.

`PILOTCTL_UPDATE_README=1` writes what they printed into it instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.errors import MEANING, ExitCode
from tests.transcript import Shown, commands, environment, printed, program, rewritten, shape

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(text: str) -> list[list[Shown]]:
    """Return the commands of each console block."""
    return [
        list(commands(body))
        for body in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's partner uses curl")
def test_the_commands_of_the_readme_print_what_it_says() -> None:
    text = README.read_text()
    shown = [each for block in blocks(text) for each in block]
    with tempfile.TemporaryDirectory(prefix="pilotctl-readme-") as folder:
        found = _run(Path(folder), shown)
    if os.environ.get("PILOTCTL_UPDATE_README"):
        README.write_text(_updated(text, iter(found)))
        return
    for each, output in zip(shown, found, strict=True):
        assert shape(output) == shape(each.output), f"{each.script}\nprinted:\n{output}"


def _run(folder: Path, shown: list[Shown]) -> list[str]:
    work = folder / "work"
    work.mkdir()
    pilotctl = program(folder / "bin")
    env = environment(pilotctl.parent, folder / "home")
    try:
        return printed(shown, work=work, env=env, seconds=600, exits=False)
    finally:
        subprocess.run([pilotctl, "down"], env=env, capture_output=True, check=False)


def _updated(text: str, outputs: Iterator[str]) -> str:
    def block(found: re.Match[str]) -> str:
        return f"```console\n{rewritten(commands(found[1]), outputs)}\n```"

    return re.sub(r"^```console\n(.*?)^```$", block, text, flags=re.MULTILINE | re.DOTALL)


def test_a_command_of_a_session_ends_and_prints_as_one_that_was_started(tmp_path: Path) -> None:
    forked = program(tmp_path / "bin")
    env = environment(forked.parent, tmp_path / "home")
    for words in (["--version"], ["grant", "no-such-verb"], ["partner", "list"]):
        ended = [
            subprocess.run(
                [*command, *words], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False,
            )
            for command in ([forked], [sys.executable, "-m", "console"])
        ]  # fmt: skip
        assert ended[0].returncode == ended[1].returncode, words
        assert shape(ended[0].stdout) == shape(ended[1].stdout)
        assert shape(ended[0].stderr) == shape(ended[1].stderr)


def test_the_readme_lists_the_exit_codes_that_a_script_can_meet() -> None:
    said = {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(), re.MULTILINE)}
    assert said == {int(code) for code in MEANING if code < ExitCode.INTERRUPTED}


def test_the_pictures_of_the_readme_are_the_ones_that_tests_compare() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture
        assert "/__snapshots__/" in picture, picture


def test_the_continuous_integration_runs_the_readmes_own_test_command() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README.read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert "pytest" in commands[1]
    assert "README.md" in (ROOT / ".ci/run").read_text()
