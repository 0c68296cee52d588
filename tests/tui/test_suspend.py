"""Ctrl-Z in a real terminal: a shell gets it back; where there is no shell nothing freezes."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from terminal import HERE, Terminal

PROGRAM = [sys.executable, str(HERE / "screen_program.py")]
WAITING = f"import subprocess, sys; sys.exit(subprocess.run({PROGRAM!r}).returncode)"
"""A program that waits for the console as `pilotctl demo` does."""


def shell(tmp_path):
    """An interactive shell in a terminal."""
    return Terminal(
        tmp_path, argv=["/bin/bash", "--norc", "--noprofile", "-i"], environ={"PS1": "ready$ "}
    )


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def console_of(screen):
    """Return the process of the console in this terminal."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
            terminal = (each / "stat").read_text().rpartition(")")[2].split()[3]
        except OSError:
            continue
        if terminal == str(screen.pid) and words[1:2] == [PROGRAM[1].encode()]:
            return int(each.name)
    raise AssertionError("no console runs here")


@pytest.mark.parametrize(
    "argv", [PROGRAM, [sys.executable, "-c", WAITING]], ids=["alone", "waited for"]
)
def test_ctrl_z_gives_the_shell_its_terminal_and_fg_brings_the_screen_back(tmp_path, argv):
    with shell(tmp_path) as screen:
        screen.see("ready$").keys(shlex.join(argv) + "\r")
        screen.see("CRIT", "gw ok")
        screen.keys("\x1a").see("Stopped")
        screen.keys("echo $((6*7))\r").see("42")
        screen.screen.reset()
        screen.keys("fg\r").see("CRIT", "LOCK", "gw ok")
        screen.keys("\x11").see("ready$")


@pytest.mark.parametrize(
    "argv",
    [PROGRAM, ["/bin/sh", "-c", f"{shlex.join(PROGRAM)}; true"]],
    ids=["session leader", "behind a shell that runs no jobs"],
)
def test_ctrl_z_where_no_shell_could_continue_it_says_so_and_goes_on(tmp_path, argv):
    with Terminal(tmp_path, argv=argv) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys("\x1a").see("there is no shell here")
        console = console_of(screen)
        assert state(console) != "T"
        os.kill(console, signal.SIGTSTP)
        screen.keys(":help\r").see("now > help")
        assert state(console) != "T"
