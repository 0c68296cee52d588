"""Shell sessions that are shown to readers: run as they are, and compared by their shape."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests import nursery

ROOT = Path(__file__).parents[1]
END = "<<<end of "


class Shown(NamedTuple):
    """One command of a session: its lines, and what it is said to print."""

    lines: tuple[str, ...]
    output: str

    @property
    def script(self) -> str:
        return "\n".join((self.lines[0].removeprefix("$ "), *self.lines[1:]))


def commands(text: str) -> Iterator[Shown]:
    """Read a session that begins with a command: `$ command`, goes on after `\\`, its output."""
    lines = text.splitlines()
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
    text = re.sub(r"…[\w-]{4,6}(?=\s|$)", "…TAIL", text)
    text = re.sub(r"\b[0-9a-f]{8,}\b|\S{43,}=(?=\s|$)", "HASH", text)
    text = re.sub(r"\b(in )?\d+(\.\d+)?(s|m|h|d)\b|\bnow\b", "AGE", text)
    text = re.sub(r"(?<!^exit )\d+", "N", text, flags=re.MULTILINE)
    text = text.replace("probes", "probe")
    text = re.sub(r"[-/+\w.]*pilotctl\.local[-/+\w=.]*", "ORIGIN", text)
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in text.splitlines())


def program(folder: Path) -> Path:
    """Put `pilotctl`, run from this checkout, into a folder for PATH.

    `up` is started as a person starts it; all else is forked, sparing it a start of Python.
    """
    folder.mkdir()
    made = folder / "pilotctl"
    started = shlex.join([sys.executable, "-m", "console"])
    forked = shlex.join(nursery.program(nursery.CONSOLE))
    made.write_text(f'#!/bin/sh\n[ "$1" = up ] && exec {started} "$@"\nexec {forked} "$@"\n')
    made.chmod(0o755)
    return made


def environment(path: Path, home: Path) -> dict[str, str]:
    """Return the environment of a session: `path` has the program, `home` the services."""
    return {
        **{name: value for name, value in os.environ.items() if "PILOTCTL" not in name},
        "PATH": f"{path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PILOTCTL_HOME": str(home),
        "COLUMNS": "100",
        "TERM": "xterm",
        "COLORTERM": "",
        "LC_ALL": "C.UTF-8",
    }


def printed(
    shown: Iterable[Shown], *, work: Path, env: Mapping[str, str], seconds: float, exits: bool
) -> list[str]:
    """Run the commands in one shell in `work`; return what each printed, on both streams.

    With `exits`, a command that does not end with 0 has a last line `exit N`.
    """
    says = '__code=$?; [ "$__code" = 0 ] || echo "exit $__code"\n' if exits else ""
    script = "".join(f"{each.script}\n{says}echo '{END}{at}'\n" for at, each in enumerate(shown))
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip
    parts = re.split(rf"^{END}\d+\n", done.stdout, flags=re.MULTILINE)
    assert parts[-1] == "", done.stdout
    names = {env["PILOTCTL_HOME"]: "~/pilot", str(work.parent): "~"}
    return ["\n".join(_kept(part, names)) for part in parts[:-1]]


def _kept(part: str, names: Mapping[str, str]) -> list[str]:
    """Return the lines to show: without this run's folders, nor its progress."""
    for folder, name in names.items():
        part = part.replace(folder, name)
    return [line.rstrip() for line in part.splitlines() if not line.startswith("… ")]


def rewritten(shown: Iterable[Shown], outputs: Iterator[str]) -> str:
    """Return the session with what it printed now, where that says anything else."""
    out: list[str] = []
    for each in shown:
        output = next(outputs)
        same = shape(output) == shape(each.output)
        out += [*each.lines, *(each.output if same else output).splitlines()]
    return "\n".join(out)
