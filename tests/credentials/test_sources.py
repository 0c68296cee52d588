import copy
import pickle
import sys
import time

import pytest

from console.credentials import sources
from console.credentials.secret import Secret
from console.credentials.sources import describe, obtain
from console.errors import ExitCode, PilotError


def refused(setting, environ=None):
    with pytest.raises(PilotError) as caught:
        obtain(setting, environ or {}, profile="lab")
    assert caught.value.exit is ExitCode.SIGN_IN
    return caught.value


def token_file(folder, text, mode=0o600):
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return {"source": "file", "path": str(path)}


def command(program):
    return {"source": "command", "argv": [sys.executable, "-c", program]}


def test_a_secret_is_never_shown_by_accident():
    secret = Secret("swordfish")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", repr({"t": secret})):
        assert "swordfish" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert copy.deepcopy(secret) is secret
    assert secret.reveal() == "swordfish"
    assert secret == Secret("swordfish")
    assert not Secret("")


def test_a_private_file_is_read_and_a_looser_one_refused(tmp_path):
    token = obtain(token_file(tmp_path, "abc\n"), {}, profile="lab")
    assert token.secret.reveal() == "abc"
    assert token.source == f"file {tmp_path / 'token'}"
    error = refused(token_file(tmp_path, "abc", 0o640))
    assert "0640" in error.message
    assert error.hint == f"chmod 600 {tmp_path / 'token'}"


def test_a_file_that_is_none_is_refused(tmp_path):
    import os

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert "not a file" in refused({"source": "file", "path": str(fifo)}).message
    assert "cannot be read" in refused({"source": "file", "path": str(tmp_path / "no")}).message


@pytest.mark.parametrize(
    "text", ["", "two words", "a\x1bb", "é", "{}", '{"token": 3}', "x" * 70_000]
)
def test_what_is_no_token_is_refused_without_quoting_it(tmp_path, text):
    error = refused(token_file(tmp_path, text))
    assert "words" not in error.message
    assert "x" * 100 not in error.message


def test_a_command_prints_the_token_as_text_or_as_json():
    assert obtain(command("print('abc')"), {}, profile="p").secret.reveal() == "abc"
    said = '{"token": "abc", "expires_at": "2999-01-01T00:00:00Z"}'
    token = obtain(command(f"print({said!r})"), {}, profile="p")
    assert token.secret.reveal() == "abc"
    assert token.expires_at.year == 2999


def test_a_command_that_fails_hangs_or_gives_an_old_token_is_a_clear_error(monkeypatch):
    assert "exit status 3" in refused(command("raise SystemExit(3)")).message
    old = '{"token": "abc", "expires_at": "2020-01-01T00:00:00Z"}'
    assert "expired" in refused(command(f"print({old!r})")).message
    monkeypatch.setattr(sources, "COMMAND_SECONDS", 0.2)
    start = time.monotonic()
    assert "within 0.2 s" in refused(command("import time; time.sleep(30)")).message
    assert time.monotonic() - start < 20
    assert "cannot be run" in refused({"source": "command", "argv": ["/no/such"]}).message


def test_the_words_of_a_failing_command_are_not_repeated():
    error = refused(command("import sys; sys.stderr.write('swordfish'); sys.exit(1)"))
    assert "swordfish" not in error.message + error.hint


def test_the_environment_is_a_source_too():
    setting = {"source": "env", "variable": "LAB_TOKEN"}
    assert obtain(setting, {"LAB_TOKEN": "abc"}, profile="p").source == "environment LAB_TOKEN"
    assert "no LAB_TOKEN" in refused(setting).message
    assert obtain({"source": "none"}, {}, profile="p") is None
    assert "LAB_TOKEN" in describe(setting)


BACKEND = """
import time
from keyring.backend import KeyringBackend
class {name}(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        {body}
    def set_password(self, *a): pass
    def delete_password(self, *a): pass
"""


def with_keyring(folder, monkeypatch, body):
    (folder / "fakering.py").write_text(BACKEND.format(name="Ring", body=body))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fakering.Ring")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return {"source": "keyring"}


def test_the_keyring_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    setting = with_keyring(tmp_path, monkeypatch, "return f'{service}.{username}'")
    assert obtain(setting, {}, profile="lab").secret.reveal() == "pilotctl.lab"
    assert "keyring" not in sys.modules


def test_a_keyring_that_is_empty_locked_or_hangs_is_a_clear_error(tmp_path, monkeypatch):
    assert "holds nothing" in refused(with_keyring(tmp_path, monkeypatch, "return None")).message
    locked = "from keyring.errors import KeyringLocked; raise KeyringLocked('locked')"
    assert "locked" in refused(with_keyring(tmp_path, monkeypatch, locked)).message
    monkeypatch.setattr(sources, "KEYRING_SECONDS", 0.5)
    hangs = with_keyring(tmp_path, monkeypatch, "time.sleep(30)")
    start = time.monotonic()
    assert "within 0.5 s" in refused(hangs).message
    assert time.monotonic() - start < 20


def test_a_command_is_never_taken_from_the_working_directory(tmp_path, monkeypatch):
    program = tmp_path / "get-token"
    program.write_text("#!/bin/sh\necho swordfish\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", f":{tmp_path}/none:", "relative"):
        monkeypatch.setenv("PATH", path)
        assert "not found in PATH" in refused({"source": "command", "argv": ["get-token"]}).message
    asked = {"source": "command", "argv": ["./get-token"]}
    assert "depends on the working directory" in refused(asked).message
    monkeypatch.setenv("PATH", str(tmp_path))
    found = obtain({"source": "command", "argv": ["get-token"]}, {}, profile="p")
    assert found.secret.reveal() == "swordfish"
    asked = {"source": "command", "argv": [str(program)]}
    assert obtain(asked, {}, profile="p").secret.reveal() == "swordfish"


def test_a_command_that_others_can_write_is_not_run(tmp_path):
    ran = tmp_path / "ran"
    program = tmp_path / "get-token"
    program.write_text(f"#!/bin/sh\ntouch {ran}\necho swordfish\n")
    link = tmp_path / "link"
    link.symlink_to(program)
    for mode in (0o777, 0o757, 0o775):
        program.chmod(mode)
        for named in (program, link):
            error = refused({"source": "command", "argv": [str(named)]})
            assert "can be written by others" in error.message
            assert str(program) in error.hint
    assert not ran.exists()
    program.chmod(0o755)
    asked = {"source": "command", "argv": [str(link)]}
    assert obtain(asked, {}, profile="p").secret.reveal() == "swordfish"
    assert ran.exists()


def test_a_script_that_others_can_write_is_not_run_by_its_interpreter(tmp_path):
    script = tmp_path / "tok.sh"
    script.write_text("echo swordfish\n")
    asked = {"source": "command", "argv": ["/bin/sh", str(script)]}
    script.chmod(0o666)
    error = refused(asked)
    assert "can be written by others" in error.message
    assert str(script) in error.hint
    script.chmod(0o644)
    assert obtain(asked, {}, profile="p").secret.reveal() == "swordfish"


@pytest.mark.parametrize("through_link", [False, True])
def test_a_command_in_a_folder_that_others_can_write_is_not_run(tmp_path, through_link):
    shared = tmp_path / "shared"
    (shared / "bin").mkdir(parents=True)
    program = shared / "bin" / "get-token"
    program.write_text("#!/bin/sh\necho swordfish\n")
    program.chmod(0o755)
    if through_link:
        (tmp_path / "link").symlink_to(program)
        program = tmp_path / "link"
    asked = {"source": "command", "argv": [str(program)]}
    shared.chmod(0o777)
    error = refused(asked)
    assert f"can be written by others: {shared}" in error.message
    shared.chmod(0o1777)
    assert obtain(asked, {}, profile="p").secret.reveal() == "swordfish"


def test_a_command_takes_no_modules_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "tok.py").write_text("print('swordfish')\n")
    monkeypatch.chdir(tmp_path)
    asked = {"source": "command", "argv": [sys.executable, "-m", "tok"]}
    assert "exit status" in refused(asked).message
