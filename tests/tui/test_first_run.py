"""The first run: what is offered where nothing is set up, and what it leaves behind."""

import os
import stat
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import HERE, Terminal
from tiny_api import tiny_api

from console.config.profile import load_profile
from console.config.profile_settings import BY_NAME
from console.tui.dialogs.connect_form import document_of, faults_of, profile_of, token_of

ROOT = HERE.parents[1]


@pytest.fixture
def opened(tmp_path):
    """Run `pilotctl WORDS` on a terminal, with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()

    def start(*words, **more):
        environ = {"XDG_CONFIG_HOME": str(home / "c"), "XDG_STATE_HOME": str(home / "s"), **more}
        argv = [sys.executable, "-m", "console", *words]
        return Terminal(home, argv=argv, environ=environ)

    return start


@pytest.fixture
def api(tmp_path):
    with tiny_api(tmp_path / "a.sock") as api:
        status = {
            "service": "policy", "version": "1", "healthy": True,
            "as_of": "2026-03-01T12:00:00Z", "sequence": 1, "notes": [], "operator": {
                "name": "root", "uid": 0, "roles": ["viewer"], "groups": []},
        }  # fmt: skip
        for path in ("GET /v1/status", "GET /v1/auth/status"):
            api.on(path, status)
        yield api


def test_a_terminal_without_anything_set_up_is_offered_three_ways_to_begin(opened):
    with opened() as screen:
        screen.see("demo", "up", "connect", "How do you want to begin?", "q leaves")
        screen.keys("q")
        assert screen.wait() == 0
        assert b"\x1b[?1049l" in screen.raw


def test_the_demo_is_begun_with_one_key(opened):
    with opened() as screen:
        screen.see("How do you want to begin?")
        screen.keys("d").see("starting the demo", seconds=60)
        screen.keys("\x03")


def test_whoever_has_a_configuration_is_not_asked(opened, tmp_path):
    config = tmp_path / "home/c/pilotctl"
    config.mkdir(parents=True)
    (config / "config.toml").write_text("")
    with opened() as screen:
        screen.see("local", "gw DOWN")
        assert "begin" not in screen.text


def test_whoever_names_a_profile_is_not_asked(opened):
    with opened(PILOTCTL_PROFILE="local") as screen:
        screen.see("gw DOWN")


def test_without_a_terminal_there_is_the_help_as_ever(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "console"], cwd=ROOT, env={**os.environ, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no command was given" in done.stderr


def test_connecting_checks_the_addresses_and_writes_the_profile_for_its_owner_alone(
    opened, api, tmp_path
):
    file = tmp_path / "home/c/pilotctl/config.toml"
    with opened() as screen:
        screen.see("How do you want to begin?")
        screen.keys("c").see("Connect to a pilot")
        screen.keys("nonsense\r").see("is neither unix:/path", "policy is missing")
        screen.keys("\x15" + api.address + "\t")
        screen.keys("unix:/nowhere/p.sock\t" + api.address + "\t")
        screen.keys("\x15staging\t\x15file\r").see("needs path")
        screen.keys(f" {tmp_path}/token\r")
        (tmp_path / "token").touch(0o600)
        (tmp_path / "token").write_text("plt_secretsecret")
        screen.see("policy", "ctrl+w")
        assert not file.exists(), "what did not answer is not written unasked"
        screen.keys("\t\t\t\x15" + api.address + "\r")
        screen.see("STAGING")
        assert b"secretsecret" not in screen.raw
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = tomllib.loads(file.read_text())
    section = written["profiles"][written["default_profile"]]
    assert section["gateway"] == api.address
    assert section["token"] == {"source": "file", "path": f"{tmp_path}/token"}
    assert "secretsecret" not in file.read_text()
    assert load_profile({"PILOTCTL_CONFIG": str(file)}).tier == "staging"


WORDS = st.text("abc/:.-1 ", max_size=12)
ADDRESS = st.sampled_from(["https://a.example.org", "unix:/run/a.sock", "http://127.0.0.1:80"])


@given(
    typed=st.fixed_dictionaries(
        {
            "profile": st.one_of(WORDS, st.just("pilot")),
            "gateway": st.one_of(WORDS, ADDRESS),
            "policy": ADDRESS,
            "audit": ADDRESS,
            "tier": st.sampled_from(["development", "staging", "production", "prod"]),
            "token": st.one_of(
                WORDS, st.sampled_from(["none", "file a", "env A", "command a b", "keyring a b"])
            ),
        }
    )
)
def test_a_form_without_faults_is_a_profile_that_reads(typed, tmp_path_factory):
    if faults_of(typed):
        return
    section = document_of(typed)["profiles"][typed["profile"]]
    assert all(not BY_NAME[name].check(value) for name, value in section.items())
    profile = profile_of(typed, tmp_path_factory.getbasetemp() / "c.toml")
    assert profile.setting("gateway") == typed["gateway"]
    if typed["tier"] == "production":
        assert profile.read_only, "production begins read-only for what opens"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("none", {"source": "none"}),
        ("file /a b", {"source": "file", "path": "/a b"}),
        ("env LAB", {"source": "env", "variable": "LAB"}),
        ("command get-token --x y", {"source": "command", "argv": ["get-token", "--x", "y"]}),
        ("keyring lab me", {"source": "keyring", "service": "lab", "account": "me"}),
    ],
)
def test_a_token_source_is_one_line(text, source):
    assert token_of(text) == source
