"""`pilotctl pick`: chosen on the terminal, printed for a script."""

import os
import subprocess
import sys

import pytest
from terminal import HERE, Terminal
from tiny_api import tiny_api

from console.cli.main import main

ROOT = HERE.parents[1]
AT = "2026-03-01T12:00:00Z"
GRANT_ID = "grt_01J9ZK00000000000000000000"
HOSTILE = "\x1b]0;pwned\x07\u202e[/]"


def stored(id, **more):
    return {
        "id": id, "revision": 1, "created_at": AT, "created_by": "root", "updated_at": AT,
        "updated_by": "root", "labels": {}, **more,
    }  # fmt: skip


def page(*items):
    return {"as_of": AT, "source": "policy", "items": list(items)}


def grant():
    return stored(
        GRANT_ID, pilot="aurora", stage="sandbox", partner="acme", capabilities=["cyber.read"],
        models=["aurora-1"], networks=[], purpose="tests", not_before=AT,
        expires_at="2099-01-01T00:00:00Z", tier=1, state="active",
    )  # fmt: skip


def partner(slug, **more):
    plain = {
        "slug": slug, "name": f"{slug} research", "sponsor": "root", "state": "active",
        "egress": [], "subprocessors": [], "verified_until": None, "verification": "",
    }  # fmt: skip
    return stored(f"ptn_01J9ZK{len(slug):020d}", **{**plain, **more})


@pytest.fixture
def api(tmp_path):
    with tiny_api(tmp_path / "a.sock") as api:
        yield api


@pytest.fixture
def picking(api, tmp_path):
    """Run a shell line on a terminal, against the tiny API."""
    api.on("GET /v1/partners", page(partner("acme"), partner("northwind", name=HOSTILE)))
    api.on("GET /v1/grants", page(grant()))
    program = tmp_path / "pilotctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m console "$@"\n')
    program.chmod(0o755)
    environ = {f"PILOTCTL_{name}": api.address for name in ("POLICY", "GATEWAY", "AUDIT")}
    environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"

    def start(line, **more):
        return Terminal(tmp_path, argv=["/bin/sh", "-c", line], environ={**environ, **more})

    return start


def test_what_is_picked_is_one_word_on_standard_output(picking, tmp_path):
    out = tmp_path / "out"
    with picking(f"pilotctl pick partner > {out}") as screen:
        screen.see("northwind", "pick one: partner", "2/2")
        screen.keys("nor")
        screen.see("1/2")
        screen.keys("\r")
        assert screen.wait() == 0
    assert out.read_text() == "northwind\n"
    assert b"\x1b]0;" not in screen.raw
    assert "\u202e".encode() not in screen.raw


def test_a_script_gets_the_choice_in_the_middle_of_a_line(picking):
    with picking('echo "chose <$(pilotctl pick grant)> and $?"') as screen:
        screen.see("pick one: grant", "1/1")
        screen.keys("\r")
        screen.see(f"chose <{GRANT_ID}> and 0")


def test_escape_picks_nothing_and_prints_nothing(picking, tmp_path):
    out = tmp_path / "out"
    with picking(f"pilotctl pick partner > {out}") as screen:
        screen.see("2/2")
        screen.keys("\x1b")
        assert screen.wait() == 130
    assert out.read_bytes() == b""


def test_it_draws_on_the_terminal_when_every_stream_is_another(picking, tmp_path):
    line = f"echo | pilotctl pick partner > {tmp_path}/out 2> {tmp_path}/err"
    with picking(line) as screen:
        screen.see("acme", "2/2")
        screen.keys("\x1b[B\r")
        assert screen.wait() == 0
    assert (tmp_path / "out").read_text() == "northwind\n"
    assert (tmp_path / "err").read_bytes() == b""


def test_a_list_that_cannot_be_had_is_said_and_ends_as_any_command_would(picking, tmp_path):
    with picking(f"pilotctl pick lock > {tmp_path}/out") as screen:
        screen.see("cannot be had")
        screen.keys("\x1b")
        assert screen.wait() not in {0, 130}
    assert (tmp_path / "out").read_bytes() == b""


def test_without_a_terminal_it_is_refused_with_the_command_to_use(api):
    done = subprocess.run(
        [sys.executable, "-m", "console", "pick", "partner"],
        cwd=ROOT, env={**os.environ, "PILOTCTL_POLICY": api.address}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, start_new_session=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "-o name" in done.stderr


def test_what_can_be_picked_is_named(capfd):
    assert main(["pick", "partnr"], {}) == 2
    assert "partner" in capfd.readouterr().err
    assert main(["pick"], {}) == 2
    assert "pick what? partner, grant, key" in capfd.readouterr().err
    assert main(["pick", "--help"], {}) == 0
    assert "esc chooses nothing" in capfd.readouterr().out
