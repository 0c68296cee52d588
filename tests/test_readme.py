"""The README is true: its commands run, in order, and print what it says they print.

`PILOTCTL_UPDATE_README=1` writes what they printed into it instead.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from console.errors import MEANING, ExitCode

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
END = "<<<end of "


class Shown(NamedTuple):
    """One command of the README: its lines, and what it is said to print."""

    lines: tuple[str, ...]
    output: str

    @property
    def script(self) -> str:
        return "\n".join((self.lines[0].removeprefix("$ "), *self.lines[1:]))


def blocks(text: str) -> list[list[Shown]]:
    """Return the commands of each console block."""
    return [
        list(_commands(body))
        for body in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def _commands(body: str) -> Iterator[Shown]:
    lines = body.splitlines()
    at = 0
    while at < len(lines):
        command = [lines[at]]
        while command[-1].endswith("\\"):
            at += 1
            command.append(lines[at])
        at += 1
        output = []
        while at < len(lines) and not lines[at].startswith("$ "):
            output.append(lines[at])
            at += 1
        yield Shown(tuple(command), "\n".join(output))


def shape(output: str) -> str:
    """Return what must be equal from run to run: words, not ids, numbers, times or widths."""
    text = re.sub(rf"\b({re.escape(getpass.getuser())}|root)\b", "USER", output)
    text = re.sub(r"\b[a-z]{3}_[0-9A-Z]{26}\b", "ID", text)
    text = re.sub(r"\b[0-9a-f]{8,}\b", "HASH", text)
    text = re.sub(r"\b(in )?\d+(\.\d+)?(s|m|h|d)\b|\bnow\b", "AGE", text)
    text = re.sub(r"\d+", "N", text)
    text = re.sub(r"[-/+\w.]*pilotctl\.local[-/+\w=.]*", "ORIGIN", text)
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in text.splitlines())


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's partner uses curl")
def test_the_commands_of_the_readme_print_what_it_says() -> None:
    text = README.read_text()
    shown = [each for block in blocks(text) for each in block]
    with tempfile.TemporaryDirectory(prefix="pilotctl-readme-") as folder:
        printed = _run(Path(folder), shown)
    if os.environ.get("PILOTCTL_UPDATE_README"):
        README.write_text(_updated(text, iter(printed)))
        return
    for each, output in zip(shown, printed, strict=True):
        assert shape(output) == shape(each.output), f"{each.script}\nprinted:\n{output}"


def _run(folder: Path, shown: list[Shown]) -> list[str]:
    script = "".join(f"{each.script}\necho '{END}{number}'\n" for number, each in enumerate(shown))
    work, path = folder / "work", folder / "bin"
    work.mkdir()
    path.mkdir()
    program = path / "pilotctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m console "$@"\n')
    program.chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PILOTCTL_HOME": str(folder / "home"),
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{script}"],
            cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            timeout=120, check=False,
        )  # fmt: skip
    finally:
        subprocess.run([program, "down"], env=env, capture_output=True, check=False)
    parts = re.split(rf"^{END}\d+\n", done.stdout, flags=re.MULTILINE)
    assert len(parts) == len(shown) + 1, done.stdout
    return ["\n".join(_kept(part, folder / "home")) for part in parts[:-1]]


def _kept(part: str, home: Path) -> list[str]:
    """Return the lines to show: without this run's folder, nor its progress."""
    text = part.replace(str(home), "~/pilot")
    return [line.rstrip() for line in text.splitlines() if not line.startswith("… ")]


def _updated(text: str, printed: Iterator[str]) -> str:
    def block(found: re.Match[str]) -> str:
        out = []
        for each in _commands(found[1]):
            out += [*each.lines, *next(printed).splitlines()]
        return "```console\n" + "\n".join(out) + "\n```"

    return re.sub(r"^```console\n(.*?)^```$", block, text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_lists_the_exit_codes_that_a_script_can_meet() -> None:
    said = {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(), re.MULTILINE)}
    assert said == {int(code) for code in MEANING if code < ExitCode.INTERRUPTED}


def test_the_pictures_of_the_readme_are_there() -> None:
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text()):
        assert (ROOT / picture).is_file(), picture


def test_the_continuous_integration_runs_the_readmes_own_test_command() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README.read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert "pytest" in commands[1]
    assert "README.md" in (ROOT / ".ci/run").read_text()
