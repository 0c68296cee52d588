"""The commands that are written by hand."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pilot_rig import AT, ROOT, page

from console.cli.command_list import BUILTINS
from console.errors import MEANING
from console.operations.index import all_operations

STATUS = {
    "service": "gateway", "version": "1", "as_of": AT,
    "operator": {"name": "root", "uid": 0, "roles": ["admin"]},
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BUILTINS if name != "help"])
def test_each_has_help_and_names_the_nearest_flag(rig, name):
    shown = rig(name, "--help")
    assert shown.exit == 0
    assert shown.out.startswith("usage: pilotctl")
    assert rig("help", name).out == shown.out
    refused = rig(name, "--profle", "x")
    assert refused.exit == 2
    assert "did you mean --profile?" in refused.err
    assert rig.api.asked == []


def test_auth_status_says_who_each_api_takes_the_caller_for_and_by_which_token(rig):
    rig.api.on("GET /v1/status", STATUS)
    rows = rig("auth", "status", "-o", "json").json["items"]
    assert [row["api"] for row in rows] == ["policy", "gateway", "audit"]
    assert {(row["state"], row["operator"]) for row in rows} == {("signed in", "root")}
    named = rig("auth", "status", "-o", "json", PILOTCTL_TOKEN="swordfish")
    assert {row["token"] for row in named.json["items"]} == {"environment PILOTCTL_TOKEN"}
    assert "swordfish" not in named.out + named.err
    assert rig.api.asked[-1].headers["authorization"] == "Bearer swordfish"


def test_auth_status_ends_with_4_where_an_api_knows_nobody(rig, tmp_path):
    rig.api.problem("GET /v1/status", "not-an-operator", 401, "uid 7 is no operator")
    ended = rig("auth", "status", "-o", "json", PILOTCTL_GATEWAY=f"unix:{tmp_path}/gone")
    assert ended.exit == 4
    assert [row["state"] for row in ended.json["items"]] == [
        "not-an-operator", "unreachable", "not-an-operator",
    ]  # fmt: skip
    assert ended.error["code"] == "not-an-operator"


def test_config_explain_says_where_each_value_comes_from(rig):
    rows = rig("config", "explain", "-o", "json", "--read-only").json["items"]
    said = {row["name"]: (row["value"], row["source"]) for row in rows}
    assert said["profile"] == ("local", "built in")
    assert said["policy"] == (rig.api.address, "environment PILOTCTL_POLICY")
    assert said["read_only"] == ("true", "flag --read-only")
    assert said["token"][1] == "default"
    assert rig.api.asked == []


def test_config_explain_shows_the_consoles_own_keys_with_their_lines(rig, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[console.hotkeys]\n"f5" = "alerts"\n[console.keys]\ngrant.revoke = ""\n')
    rows = rig("config", "explain", "-o", "json", "--config", str(file)).json["items"]
    said = {row["name"]: (row["value"], row["source"]) for row in rows}
    assert said["console.hotkeys.f5"] == ("alerts", f"{file}:2 [console.hotkeys]")
    assert said["console.keys.grant.revoke"] == ("", f"{file}:4 [console.keys]")


def test_config_init_writes_a_private_file_once_that_is_read_back(rig, tmp_path):
    file = tmp_path / ".config/pilotctl/config.toml"
    assert rig("config", "path", "-o", "json").json == {"file": str(file), "exists": False}
    assert rig("config", "init").exit == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    again = rig("config", "init")
    assert again.exit == 6
    assert "left as it is" in again.err
    assert file.read_bytes() == before
    chosen = rig("config", "explain", "-o", "json").json["items"][0]
    assert chosen["source"].startswith(str(file))


def test_a_wrong_configuration_is_exit_2_and_sends_nothing(rig, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[profiles.local]\n\nread_onyl = true\n")
    ended = rig("grant", "list", "--config", str(file))
    assert ended.exit == 2
    assert f"{file}:3: unknown key 'read_onyl' in [profiles.local]" in ended.err
    assert "did you mean 'read_only'?" in ended.err
    assert rig.api.asked == []


def test_api_sends_one_request_of_the_contract(rig):
    rig.api.on("GET /v1/points", page(source="gateway"))
    got = rig("api", "GET", "gateway/v1/points?limit=3")
    assert got.json["source"] == "gateway"
    assert rig.api.asked[-1].query == {"limit": "3"}
    rig.api.on("GET /v1/log/files/tile/0/000", b"\x00\x1b[2J")
    tile = rig("api", "GET", "audit/v1/log/files/tile/0/000")
    assert tile.exit == 0
    assert "\x1b" not in tile.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["GET", "/v1/points"], 2, "does not begin with an API"),
        (["GET", "gateway/v1/pionts"], 2, "gateway/v1/points"),
        (["GTE", "gateway/v1/points"], 2, "'GET'"),
        (["POST", "gateway/v1/points"], 2, "takes GET, not POST"),
        (["POST", "gateway/v1/credentials", "--data", "{}", "--yes"], 2, "key issue"),
        (["POST", "gateway/v1/locks", "--data", "{", "--yes"], 2, "not JSON"),
        (["POST", "gateway/v1/locks", "--data", "{}"], 10, "--yes"),
        (["POST", "policy/v1/pilots", "--data", "{}", "--yes", "--read-only"], 5, "read-only"),
        (["POST", "gateway/v1/locks", "--data", "{}", "--revision", "x"], 2, "--revision"),
        (["GET"], 2, "a method and a path"),
    ],
)
def test_api_keeps_the_rules_of_every_command(rig, words, code, said):
    ended = rig("api", *words)
    assert ended.exit == code
    assert said in ended.err
    assert rig.api.asked == []


def test_api_closes_on_a_read_only_profile_and_sends_the_body_as_it_is(rig):
    rig.api.problem("POST /v1/locks", "unknown-member", 400, "unknown member taget")
    ended = rig(
        "api", "POST", "gateway/v1/locks", "--data", '{"taget": 1}', "--yes", "--read-only",
        "--idempotency-key", "k1",
    )  # fmt: skip
    assert ended.exit == 2
    assert rig.api.asked[-1].body == {"taget": 1}
    assert rig.api.asked[-1].headers["idempotency-key"] == "k1"


def test_api_opens_a_production_profile_only_by_its_name(rig, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("default_profile = 'live'\n[profiles.live]\ntier = 'production'\n")
    words = ["api", "POST", "policy/v1/pilots", "--data", "{}", "--yes", "--config", str(file)]
    ended = rig(*words)
    assert ended.exit == 5
    assert "--profile live" in ended.err
    assert rig.api.asked == []
    rig.api.problem("POST /v1/pilots", "invalid", 422, "no slug")
    assert rig(*words, "--profile", "live").exit == 2
    assert len(rig.api.asked) == 1


def test_spec_is_the_whole_registry(rig):
    said = rig("spec").json
    assert [op["id"] for op in said["operations"]] == [op.id for op in all_operations()]
    assert set(said["commands"]) == set(BUILTINS)
    assert said["exit_codes"] == {str(int(code)): text for code, text in MEANING.items()}


@pytest.mark.parametrize("api", ["policy", "gateway", "audit"])
def test_spec_of_an_api_is_an_openapi_document_whose_references_resolve(rig, api):
    said = rig("spec", "--api", api).json
    assert said["openapi"] == "3.1.0"
    ids = [item["operationId"] for path in said["paths"].values() for item in path.values()]
    assert len(ids) == len(set(ids)) > 5
    text = json.dumps(said)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in said["components"]["schemas"]
    for sorted_by_name in (said["paths"], *said["paths"].values(), said["components"]["schemas"]):
        assert list(sorted_by_name) == sorted(sorted_by_name)


@pytest.mark.parametrize("api", ["policy", "gateway", "audit"])
def test_what_spec_says_of_an_api_holds_in_every_dialect(rig, api):
    said = rig("spec", "--api", api).json
    patterns = {each for each in every(said, "pattern") if isinstance(each, str)}
    assert all(each.isascii() and re.compile(each) for each in patterns)
    if api == "policy":
        partner = said["components"]["schemas"]["NewPartner"]["properties"]["name"]
        assert re.search(partner["pattern"], "Größe 東京")
        assert not re.search(partner["pattern"], "a\u202eevil")
    tags = {each["name"] for each in said["tags"]}
    for path in said["paths"].values():
        for item in path.values():
            assert item["description"]
            assert set(item["tags"]) <= tags


def every(value, name):
    """Return each member of this name, at any depth."""
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == name)
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from every(each, name)


def test_spec_names_the_nearest_api(rig):
    assert "'gateway'" in rig("spec", "--api", "gatway").err


def without(folder: Path, *libraries: str) -> dict[str, str]:
    """Return an environment in which `libraries` cannot be found."""
    (folder / "sitecustomize.py").write_text(
        f"""
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        return None
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more: None if name in {libraries!r} else found(name, *more)
)
"""
    )
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


@pytest.mark.parametrize("words", [["up"], ["down"], ["status"], ["demo"]])
def test_services_that_are_not_installed_say_how_to_install_them(rig, tmp_path, words):
    ended = rig.process(*words, **without(tmp_path, "aiohttp", "cedarpy"))
    assert ended.exit == 2
    assert "aiohttp, cedarpy missing" in ended.err
    assert "pip install 'pilotctl[local]'" in ended.err


def test_status_without_services_says_so(rig, tmp_path):
    home = str(tmp_path / "none")
    ended = rig("status", "--home", home, "-o", "json")
    assert ended.exit == 0
    assert ended.json["running"] is False
    assert rig("status", "--home", home, "--exit-status").exit == 1
    assert "nothing was running" in rig("down", "--home", home).err


def test_version_is_said_in_both_ways_and_no_arguments_without_a_terminal_are_refused(rig):
    versions = {
        subprocess.run(
            [sys.executable, "-m", "console", *words],
            capture_output=True, text=True, cwd=ROOT, env=rig.environ, check=True,
        ).stdout
        for words in (["--version"], ["-V"], ["--verbose", "--version"])
    }  # fmt: skip
    assert len(versions) == 1
    ended = rig.process()
    assert ended.exit == 2
    assert "no command was given" in ended.err


def test_a_socket_that_nobody_reads_from_does_not_hold_a_command_up(rig, tmp_path):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    ended = rig("point", "list", PILOTCTL_GATEWAY=f"unix:{path}")
    assert ended.exit == 7
    assert "it refuses connections" in ended.err
    assert "pilotctl up" in ended.err


def test_garbage_is_collected_while_a_command_works(rig):
    program = """
import gc, sys
from console.cli import execute
def look():
    print(gc.isenabled(), gc.get_freeze_count() > 1000)
    return []
execute._Execution._finish = lambda *_: look() or 0
sys.argv[1:] = ["grant", "list"]
from console.__main__ import main
main()
"""
    rig.api.on("GET /v1/grants", page())
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, cwd=ROOT, env=rig.environ, check=True,
    )  # fmt: skip
    assert done.stdout == "True True\n"
