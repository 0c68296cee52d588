import os
import stat
from pathlib import Path

import pytest

from console.config.profile import load_profile, profile_names
from console.config.write import create_config
from console.errors import ExitCode, PilotError

LAB = """\
default_profile = "lab"

[defaults]
read_only = true

[profiles.lab]
policy = "unix:/run/p.sock"
gateway = "https://gw.example.org"
tier = "production"

[profiles.lab.token]
source = "file"
path = "/t"
"""


def written(folder: Path, text: str) -> dict[str, str]:
    file = folder / "config.toml"
    file.write_text(text)
    return {"PILOTCTL_CONFIG": str(file), "HOME": str(folder)}


def test_without_anything_configured_there_is_the_local_profile(tmp_path):
    profile = load_profile({"HOME": str(tmp_path)})
    assert profile.name == "local"
    home = tmp_path / ".local/state/pilotctl/local"
    assert profile.setting("gateway") == f"unix:{home}/run/gateway.sock"
    assert profile.tier == "development"
    assert not profile.explicit


def test_each_value_says_where_it_came_from(tmp_path):
    environ = written(tmp_path, LAB) | {"PILOTCTL_POLICY": "unix:/run/other.sock"}
    profile = load_profile(environ)
    file = environ["PILOTCTL_CONFIG"]
    assert profile.chosen_by == f"{file}:1 default_profile"
    assert profile.values["policy"] == ("unix:/run/other.sock", "environment PILOTCTL_POLICY")
    assert profile.values["gateway"].source == f"{file}:8 [profiles.lab]"
    assert profile.values["read_only"] == (True, f"{file}:4 [defaults]")
    assert profile.values["token"].source == f"{file}:11 [profiles.lab]"
    assert profile.values["ca_file"].source == "default"
    assert load_profile(environ, read_only=True).values["read_only"].source == "flag --read-only"


def test_an_explicit_token_in_the_environment_wins_and_is_shown(tmp_path):
    profile = load_profile(written(tmp_path, LAB) | {"PILOTCTL_TOKEN": "t"})
    assert profile.values["token"].source == "environment PILOTCTL_TOKEN"


@pytest.mark.parametrize(
    ("flag", "variable", "chosen"),
    [("local", "lab", "flag --profile"), ("", "local", "environment PILOTCTL_PROFILE")],
)
def test_a_flag_beats_the_environment_beats_the_file(tmp_path, flag, variable, chosen):
    environ = written(tmp_path, LAB) | {"PILOTCTL_PROFILE": variable}
    profile = load_profile(environ, profile=flag)
    assert (profile.name, profile.chosen_by) == ("local", chosen)
    assert profile.explicit


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[profiles.lab]\npolicy = ''\ngatway = 'x'\n", ":3: unknown key 'gatway'", "'gateway'"),
        ("default_profil = 'x'\n", ":1: unknown key 'default_profil'", "'default_profile'"),
        ("[profiles.a]\ntier = 'prod'\n[x]\n", ":3: unknown key 'x'", ""),
        ("[profiles.lab]\n\ntier = 'prod'\n", ":3: tier is none of", ""),
        ("[profiles.lab]\npolicy = 'http://far.example.org'\n", "plain http to another", ""),
        ("[profiles.lab]\npolicy = 'unix:rel'\n", "absolute path", ""),
        (f"[profiles.lab]\npolicy = 'unix:/{'a' * 120}'\n", "100 bytes", ""),
        ("[profiles.lab]\npolicy = 'https://u:p@h'\n", "user or password", ""),
        ("[profiles.lab]\ntoken = {source = 'vault'}\n", "none of none, env, file", ""),
        ("[profiles.lab]\ntoken = {source = 'file', argv = ['x']}\n", "takes no 'argv'", ""),
        ("[profiles.lab]\ntoken = {source = 'command', argv = 'x y'}\n", "a list of words", ""),
        ("profiles = 3\n", "profiles is not a table", ""),
        ("not toml", "is not TOML", ""),
        ("[console.alises]\nx = 'y'\n", ":1: unknown key 'alises' in [console]", "'aliases'"),
        ("[console.hotkeys]\n'f5' = 5\n", ":2: f5 is not text", ""),
        ("[console]\nkeys = 'x'\n", ":2: keys is not a table", ""),
        ("[console.keys]\ngrant.revoke = ['x']\n", ":2: grant.revoke is not text", ""),
        ("[profiles.a.console]\nhotkes = {}\n", ":2: unknown key 'hotkes'", "'hotkeys'"),
        ("[defaults.console.keys]\n", ":1: unknown key 'console' in [defaults]", ""),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_the_nearest_key(tmp_path, text, said, hint):
    with pytest.raises(PilotError) as caught:
        load_profile(written(tmp_path, text), profile="lab")
    assert caught.value.exit is ExitCode.USAGE
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_a_profile_that_does_not_exist_names_the_nearest(tmp_path):
    with pytest.raises(PilotError) as caught:
        load_profile(written(tmp_path, LAB), profile="labb")
    assert caught.value.code == "no-such-profile"
    assert "did you mean 'lab'" in caught.value.hint


def test_a_named_file_must_exist_and_the_usual_one_need_not(tmp_path):
    with pytest.raises(PilotError, match="there is no configuration file"):
        load_profile({"PILOTCTL_CONFIG": str(tmp_path / "none.toml")})
    assert profile_names({"HOME": str(tmp_path)}) == ["local"]


def test_a_wrong_value_in_the_environment_names_the_variable(tmp_path):
    with pytest.raises(PilotError, match="PILOTCTL_READ_ONLY: read_only is not true or false"):
        load_profile({"HOME": str(tmp_path), "PILOTCTL_READ_ONLY": "maybe"})


def test_a_new_file_is_private_from_its_first_byte_and_never_replaced(tmp_path):
    file = tmp_path / "deep" / "config.toml"
    old = os.umask(0)
    try:
        create_config(file, {"profiles": {"x": {"tier": "staging"}}}, heading="two\nlines")
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("# two\n# lines\n")
    with pytest.raises(PilotError) as caught:
        create_config(file, {})
    assert caught.value.exit is ExitCode.CONFLICT


def test_the_example_file_is_a_valid_configuration():
    example = Path(__file__).parents[2] / "config.example.toml"
    profile = load_profile({"PILOTCTL_CONFIG": str(example), "HOME": "/"}, profile="production")
    assert profile.tier == "production"


COMMAND = "[profiles.lab]\ntoken = {source = 'command', argv = ['get-token']}\n"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_token_command_that_others_can_write_is_refused(tmp_path, mode):
    environ = written(tmp_path, COMMAND)
    file = Path(environ["PILOTCTL_CONFIG"])
    file.chmod(mode)
    with pytest.raises(PilotError) as caught:
        load_profile(environ, profile="lab")
    assert caught.value.exit is ExitCode.USAGE
    assert f"mode {mode:04o}" in caught.value.message
    assert f"chmod go-w {file}" in caught.value.hint
    # what names no command, or is not used, is read
    assert load_profile(environ).name == "local"
    assert load_profile({**environ, "PILOTCTL_TOKEN": "t"}, profile="lab")
    file.chmod(0o644)
    assert load_profile(environ, profile="lab")


def test_a_token_command_in_a_folder_where_others_can_exchange_the_file_is_refused(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    environ = written(folder, COMMAND)
    folder.chmod(0o777)
    with pytest.raises(PilotError, match=f"{folder} can be written by others"):
        load_profile(environ, profile="lab")
    # a link elsewhere does not hide it, and a sticky folder protects the file
    link = tmp_path / "link.toml"
    link.symlink_to(folder / "config.toml")
    with pytest.raises(PilotError, match="can be written by others"):
        load_profile({**environ, "PILOTCTL_CONFIG": str(link)}, profile="lab")
    folder.chmod(0o1777)
    Path(environ["PILOTCTL_CONFIG"]).chmod(0o600)
    assert load_profile(environ, profile="lab")
