"""The state folder and pilot.toml: strict, with the line and what was probably meant."""

from __future__ import annotations

import os
import pwd
import re
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.services.settings import load, prepare, secret_file

ME = pwd.getpwuid(os.geteuid()).pw_name

WHOLE = f"""
[data_plane]
host = "127.0.0.1"
ports = [8440, 0, 0]

[upstreams.lab]
kind = "openai"
base_url = "http://127.0.0.1:9000/v1/"
key_file = "lab.key"

[upstreams.builtin]
kind = "builtin"

[models]
aurora-1 = "builtin"
aurora-2 = "lab:big-model:2"

[[operators]]
name = "{ME}"
roles = ["operator", "responder"]
groups = ["night"]
"""


def refused(home: Path, text: str) -> PilotError:
    prepare(home).config.write_text(text)
    with pytest.raises(PilotError) as caught:
        load(home)
    assert (caught.value.code, caught.value.exit) == ("bad-config", ExitCode.USAGE)
    assert str(home / "pilot.toml") in caught.value.message
    return caught.value


def test_without_a_file_the_defaults_stand(tmp_path: Path) -> None:
    read = load(tmp_path / "deep" / "home")
    assert read.data_plane.points == [("gw-1", 8440)]
    assert [each.kind for each in read.upstreams.values()] == ["builtin"]
    assert [(each.name, each.uid, each.roles) for each in read.operators] == [
        (ME, os.geteuid(), ["admin"])
    ]


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    prepare(tmp_path).config.write_text(WHOLE)
    read = load(tmp_path)
    assert read.data_plane.points == [("gw-1", 8440), ("gw-2", 0), ("gw-3", 0)]
    lab = read.upstreams["lab"]
    assert lab.base_url == "http://127.0.0.1:9000/v1"
    assert read.models == {"aurora-1": "builtin", "aurora-2": "lab:big-model:2"}
    assert [(each.name, each.uid) for each in read.operators] == [(ME, os.geteuid())]
    assert read.operators[0].groups == ["night"]


def test_an_upstreams_key_comes_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path).config.write_text(WHOLE)
    lab = load(tmp_path).upstreams["lab"]
    with pytest.raises(PilotError, match="cannot read"):
        lab.key()
    (tmp_path / "lab.key").write_text("sk-lab\n")
    (tmp_path / "lab.key").chmod(0o644)
    with pytest.raises(PilotError, match="chmod 600"):
        lab.key()
    (tmp_path / "lab.key").chmod(0o600)
    assert lab.key() == "sk-lab"
    prepare(tmp_path).config.write_text(WHOLE.replace('key_file = "lab.key"', 'key_env = "LAB"'))
    lab = load(tmp_path).upstreams["lab"]
    monkeypatch.delenv("LAB", raising=False)
    with pytest.raises(PilotError, match="LAB is not set"):
        lab.key()
    monkeypatch.setenv("LAB", "sk-env")
    assert lab.key() == "sk-env"


BAD = {
    "[data_plane]\nhosst = '127.0.0.1'": (2, "did you mean host?"),
    "# a comment\n\n[data_plain]\nports = [1]": (3, "did you mean data_plane?"),
    "[data_plane]\nhost = '0.0.0.0'": (2, "loopback"),
    "[data_plane]\n\nports = [70000]": (3, "ports"),
    "[data_plane]\nports = 8440": (2, "must be a list"),
    "[data_plane]\nports = [8440, 8440]": (2, "names a port twice"),
    "[data_plane]\nports = [true]": (2, "must be a list"),
    "[upstreams.a]\nkind = 'opnai'": (2, "builtin, openai or anthropic"),
    "[upstreams.a]\nkind = 'openai'": (1, "http:// or https:// address"),
    "[upstreams.a]\nkind = 'openai'\nbase_url = 'ftp://x'": (3, "http:// or https://"),
    "[upstreams.a]\nkind = 'builtin'\nkey_fil = 'x'": (3, "did you mean key_file?"),
    "[upstreams.a]\nkind = 'builtin'\n[upstreams.b]\nkid = 'x'": (4, "did you mean kind?"),
    "[upstreams.a]\nkind = 'builtin'\n[models]\nm = 'aa'": (4, "did you mean a?"),
    "[models]\nm = 'lab'": (2, "there is no upstream"),
    "[models]\n'M!' = 'builtin'": (2, "a model's slug"),
    "models = 1": (1, "must be a table"),
    "[[operators]]\nname = 'no-such-user-x'": (2, "no user 'no-such-user-x'"),
    f"[[operators]]\nname = '{ME}'\nroles = ['admn']": (3, "did you mean admin?"),
    f"[[operators]]\nname = '{ME}'\nroles = 'admin'": (3, "a list of texts"),
    f"[[operators]]\nname = '{ME}'\n\n[[operators]]\nname = '{ME}'\n": (5, "is there twice"),
    f"[[operators]]\nname = '{ME}'\n[[operators]]\nnam = 'x'": (4, "did you mean name?"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named_with_file_line_and_nearest(tmp_path: Path, text: str) -> None:
    line, words = BAD[text]
    error = refused(tmp_path, text)
    assert f"pilot.toml:{line}: " in error.message, error.message
    assert words in error.message, error.message


def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in refused(tmp_path, "[data_plane]\nports = = 1").message
    assert refused(tmp_path, "a = \x00").message
    prepare(tmp_path).config.write_bytes(b"\xff\xfe")
    with pytest.raises(PilotError, match="cannot read"):
        load(tmp_path)


@bounds(max_examples=60, suppress_health_check=list(HealthCheck))
@example("[[operators]]\n[operators.x]")
@example("operators = [1]")
@example("[upstreams]\na = 1")
@given(st.text(st.sampled_from("[]=\"'.# \nabdegklmnoprstuw_1"), max_size=60))
def test_no_text_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    home = tmp_path_factory.mktemp("c")
    prepare(home).config.write_text(text)
    with suppress(PilotError):
        load(home)


def test_the_state_folder_lets_others_reach_the_sockets_and_nothing_else(tmp_path: Path) -> None:
    home = prepare(tmp_path / "h")

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert [mode(each) for each in (home.path, home.run, home.keys, home.logs)] == [
        0o711, 0o711, 0o700, 0o700,
    ]  # fmt: skip
    (tmp_path / "file").write_text("")
    with pytest.raises(PilotError) as caught:
        prepare(tmp_path / "file" / "h")
    assert caught.value.code == "state-folder"
    assert caught.value.hint


def test_a_secret_is_made_once_private_and_whole_whoever_asks_first(tmp_path: Path) -> None:
    path = tmp_path / "k"
    got: list[bytes] = []
    makers = [
        threading.Thread(target=lambda: got.append(secret_file(path, lambda: os.urandom(32))))
        for _ in range(8)
    ]
    for each in makers:
        each.start()
    for each in makers:
        each.join()
    assert len(set(got)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["k"]
    assert secret_file(path, lambda: b"never") == got[0]
    assert re.fullmatch(rb".{32}", got[0], re.DOTALL)
