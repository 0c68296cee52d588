"""Completion in real shells: words and flags from the registry, names from what lists showed."""

from __future__ import annotations

import os
import pickle
import pty
import select
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pilot_rig import ROOT

from console.cli.main import main
from console.config.completion_names import MAX_NAMES, Names
from console.model.access import Partner
from console.model.text import now

SHELLS = ("bash", "zsh", "fish")


def partner(slug: str, name: str = "Acme Research") -> Partner:
    return Partner(
        id=f"ptn_{slug}", created_at=now(), created_by="root", updated_at=now(),
        updated_by="root", slug=slug, name=name, sponsor="root", state="active",
        verified_until=None, verification="", egress=[], subprocessors=[],
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment in which `pilotctl` is found, and lists have shown two partners."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/pilotctl"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m console "$@"\n')
    program.chmod(0o755)
    environ = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb",
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }  # fmt: skip
    Names("local", environ).remember([partner("acme"), partner("northwind", "North\tWind\x1b[31m")])
    return environ


def written(place: dict[str, str], shell: str) -> Path:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed here")
    run = subprocess.run(
        ["pilotctl", "completion", shell], env=place, check=True, capture_output=True, text=True
    )
    script = Path(place["HOME"]) / ("_pilotctl" if shell == "zsh" else f"pilotctl.{shell}")
    script.write_text(run.stdout)
    return script


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_its_shell_can_read(place: dict[str, str], shell: str) -> None:
    script = written(place, shell)
    subprocess.run([shell, "-n", str(script)], env=place, check=True)


def completed(place: dict[str, str], shell: str, typed: str, wanted: str) -> str:
    """Type into a real shell on a terminal and press Tab twice; return what it then shows.

    It is looked at until `wanted` is shown, or nothing more is for a while.
    """
    script = written(place, shell)
    begin = {
        "bash": f"source {script}",
        "zsh": f"fpath=({script.parent} $fpath); autoload -U compinit; compinit -u -D",
        "fish": f"source {script}",
    }[shell]
    argv = {
        "bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"],
        "fish": ["fish", "--no-config"],
    }[shell]  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**place, "PS1": "$ ", "COLUMNS": "100", "LINES": "40"})
    try:
        os.write(terminal, f"{begin}; echo rea''dy\n".encode())
        heard(terminal, "ready")
        os.write(terminal, f"{typed}\t\t".encode())
        return heard(terminal, wanted, quiet=8.0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def heard(terminal: int, until: str, quiet: float = 20.0) -> str:
    out, last = "", time.monotonic()
    while time.monotonic() - last < quiet:
        if select.select([terminal], [], [], 0.1)[0]:
            out += os.read(terminal, 65536).decode(errors="replace")
            last = time.monotonic()
            if until and until in out.split("echo", 1)[-1].replace("rea''dy", ""):
                return out
    return out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_verbs_flags_choices_and_names_complete_on_a_terminal(
    place: dict[str, str], shell: str
) -> None:
    assert "revoke" in completed(place, shell, "pilotctl grant rev", "revoke")
    assert "--capability" in completed(place, shell, "pilotctl grant list --cap", "--capability")
    assert "northwind" in completed(place, shell, "pilotctl partner show nor", "northwind")
    assert "active" in completed(place, shell, "pilotctl grant list --state act", "active")


def test_fish_offers_names_with_a_few_words(place: dict[str, str]) -> None:
    script = written(place, "fish")

    def offered(typed: str) -> list[str]:
        run = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"],
            env=place, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return run.stdout.splitlines()

    assert "acme\tAcme Research active" in offered("pilotctl partner show ")
    assert any(line.startswith("revoke\t") for line in offered("pilotctl grant re"))
    assert any(line.startswith("--capability") for line in offered("pilotctl grant list --cap"))


def test_names_are_kept_by_profile_unreadable_for_others_and_without_control_bytes(
    place: dict[str, str],
) -> None:
    folder = Names("local", place).folder
    file = folder / "Partner.tsv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "\x1b" not in file.read_text()
    assert list(Names("local", place).known("Partner")) == ["acme", "northwind"]
    assert Names("other", place).known("Partner") == {}
    assert Names("../local", place).known("../Partner") == {}


def test_a_hostile_name_is_never_offered_to_a_shell(place: dict[str, str]) -> None:
    names = Names("local", place)
    names.remember([partner("$(touch owned)"), partner("a;b"), partner("fine")])
    assert "fine" in names.known("Partner")
    assert not {"$(touch owned)", "a;b"} & names.known("Partner").keys()


def test_the_names_seen_last_win_and_only_so_many_are_kept(place: dict[str, str]) -> None:
    Names("local", place).remember([partner(f"p-{n}") for n in range(MAX_NAMES)])
    known = Names("local", place).known("Partner")
    assert len(known) == MAX_NAMES
    assert "acme" not in known


def test_a_process_that_shows_ever_new_names_holds_only_as_many(place: dict[str, str]) -> None:
    names, held = Names("local", place), []
    for page in range(4 * MAX_NAMES // 100):
        names.remember([partner(f"p-{page * 100 + n:06}") for n in range(100)])
        held.append(len(pickle.dumps(names)))
    full = MAX_NAMES // 100
    assert max(held[full:]) <= held[full] * 1.05
    assert next(iter(names.known("Partner"))) == f"p-{4 * MAX_NAMES - 100:06}"


def test_names_that_are_kept_already_are_not_written_again_at_once(place: dict[str, str]) -> None:
    names = Names("local", place)
    file = names.folder / "Partner.tsv"
    names.remember([partner("tern-labs")])
    before = file.stat().st_ino
    names.remember([partner("acme"), partner("tern-labs")])
    assert file.stat().st_ino == before
    names.remember([partner("halcyon")])
    assert list(names.known("Partner")) == ["halcyon", "tern-labs", "acme", "northwind"]


def test_an_unknown_shell_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "zsh" in capsys.readouterr().err


def test_completing_asks_no_api_and_loads_no_client(place: dict[str, str]) -> None:
    program = (
        "import sys; from console.cli.main import main; main(['__complete', 'Partner']);"
        "heavy = {'httpx', 'textual', 'keyring', 'cryptography', 'asyncio', 'shtab'};"
        "sys.exit(1 if heavy & set(sys.modules) else 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={**place, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.splitlines()[0].startswith("acme\t")
