"""Ctrl-Z in a real terminal: a shell gets it back; where there is no shell nothing freezes."""

import os
import shlex
import shutil
import signal
import subprocess
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


ISOLATED = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child",
            "--mount-proc"]  # fmt: skip
LEAVE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_IGN)
fcntl.ioctl(0, termios.TIOCNOTTY)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
INIT = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if not child:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    os.execv(sys.argv[1], sys.argv[1:])
os.waitpid(child, 0)
"""
"""What a container's init does: the program in a group of its own, and nothing of its stops."""


def contained(*argv):
    """Return the command that runs a program as a container does: process 1 of its terminal."""
    if not shutil.which("unshare") or subprocess.run([*ISOLATED, "true"], check=False).returncode:
        pytest.skip("no process can be the first of its own here")
    return [sys.executable, "-c", LEAVE_TERMINAL, *ISOLATED, "setsid", "--ctty", *argv]


def test_ctrl_z_under_a_shell_that_is_a_containers_first_process_gives_it_the_terminal(tmp_path):
    bash = contained("/bin/bash", "--norc", "--noprofile", "-i")
    with Terminal(tmp_path, argv=bash, environ={"PS1": "ready$ "}) as screen:
        screen.see("ready$").keys("echo first=$$\r").see("first=1")
        screen.keys(shlex.join(PROGRAM) + "\r").see("CRIT", "gw ok")
        screen.keys("\x1a").see("Stopped")
        screen.screen.reset()
        screen.keys("fg\r").see("CRIT", "LOCK", "gw ok")
        screen.keys("\x11").see("ready$")


def test_ctrl_z_under_a_containers_init_says_that_there_is_no_shell(tmp_path):
    with Terminal(tmp_path, argv=contained(sys.executable, "-c", INIT, *PROGRAM)) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys("\x1a").see("there is no shell here")
        screen.keys(":help\r").see("now > help")
