"""`pilotctl doctor` tries what it names, and each way of not being trusted has its own words."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from pilot_rig import GRANT_ID, page
from test_doctor import found
from tiny_api import tiny_api

from console.cli.commands import doctor
from tests.services.certificates import certify

STATUS = {
    "version": "1", "as_of": "2026-03-01T12:00:00Z", "healthy": True,
    "operator": {"name": "ana", "uid": 0, "roles": ["operator"]},
}  # fmt: skip
CERTIFICATES = {
    "good": {"days": (0, 90)},
    "ends soon": {"days": (0, 1)},
    "expired": {"days": (-3, -1)},
    "not yet": {"days": (1, 3)},
    "wrong host": {"address": "127.0.0.9", "days": (0, 90)},
}


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    """Leave out what the screen would do, a process each time: `test_doctor.py` asks for that."""
    monkeypatch.setattr(doctor, "_screen", lambda *_: iter(()))


@pytest.fixture
def serve(tmp_path):
    """Serve the three APIs by TLS; return the profile that reaches them."""
    with ExitStack() as stack:

        def served(which="good", *, clear=False, roles=("operator",)):
            folder = tmp_path / which.replace(" ", "-")
            folder.mkdir(exist_ok=True)
            made = certify(folder, **CERTIFICATES[which])
            environ = {"PILOTCTL_TOKEN": "plt-swordfish"}
            for api in ("policy", "gateway", "audit"):
                one = stack.enter_context(tiny_api(tls=None if clear else made.context()))
                operator = {**STATUS["operator"], "roles": list(roles)}
                one.on("GET /v1/status", {**STATUS, "service": api, "operator": operator})
                one.on("GET /v1/grants", page())
                environ[f"PILOTCTL_{api.upper()}"] = one.address
            return environ, Path(made.cert_file)

        yield served


def run(rig, environ, ca_file, *words):
    config = Path(rig.environ["HOME"]) / "config.toml"
    config.write_text(f"[profiles.lab]\nca_file = {str(ca_file)!r}\n")
    told = {**environ, "PILOTCTL_CONFIG": str(config), "PILOTCTL_PROFILE": "lab"}
    return rig(*words, **told)


def test_all_that_is_named_is_tried_and_found_good(rig, serve):
    environ, ca_file = serve()
    ended = run(rig, environ, ca_file, "doctor", "-o", "json")
    assert ended.exit == 0, ended.out
    said = found(ended)
    for api in ("policy", "gateway", "audit"):
        address = environ[f"PILOTCTL_{api.upper()}"]
        assert said[api] == [("ok", f"{address} answers, to ana (operator)")]
    assert said["token"] == [("ok", "from environment PILOTCTL_TOKEN")]


@pytest.mark.parametrize(
    ("which", "code", "words"),
    [
        ("expired", "certificate-expired", "has expired"),
        ("not yet", "certificate-not-yet-valid", "not valid yet"),
        ("wrong host", "certificate-wrong-host", "not for 127.0.0.1"),
    ],
)
def test_a_certificate_that_is_no_good_is_told_by_what_is_wrong_with_it(
    rig, serve, which, code, words
):
    environ, ca_file = serve(which)
    told = run(rig, environ, ca_file, "grant", "list", "-o", "json")
    assert told.exit == 1
    assert told.error["code"] == code
    assert words in told.error["message"]
    assert str(ca_file) in told.error["message"]
    assert "try again" not in told.err
    ended = run(rig, environ, ca_file, "doctor", "-o", "json")
    assert ended.exit == 1
    for api in ("policy", "gateway", "audit"):
        ((state, message),) = found(ended)[api]
        assert (state, words in message) == ("bad", True)


def test_an_authority_that_did_not_sign_it_is_named(rig, serve, tmp_path):
    environ, _ = serve()
    (tmp_path / "other").mkdir()
    other = certify(tmp_path / "other").cert_file
    told = run(rig, environ, other, "grant", "list", "-o", "json")
    assert told.exit == 1
    assert told.error["code"] == "certificate-untrusted"
    assert other in told.error["message"]
    assert "ca_file" in told.error["hint"]
    assert "try again" not in told.err
    assert run(rig, environ, other, "doctor").exit == 1


WRITE = ("--reason", "over", "--confirm", "acme", "--yes")
COMMANDS = [
    ("grant", "list"), ("call", "list"), ("alert", "list"), ("audit", "list"), ("usage", "show"),
    ("audit", "verify"), ("operator", "list"), ("auth", "status"), ("tail", "audit"),
    ("api", "GET", "gateway/v1/locks"), ("pilot", "export", "aurora"),
    ("wait", "grant", GRANT_ID, "--for", "state=active"),
    ("lock", "add", "partner", "acme", "--reason", "over", "--yes"),
    ("grant", "revoke", GRANT_ID, *WRITE),
    ("key", "issue", GRANT_ID, "--reason", "over", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("good", "certificate-untrusted"), ("expired", "certificate-expired"),
        ("wrong host", "certificate-wrong-host"),
    ],
)  # fmt: skip
def test_every_command_says_what_is_wrong_with_a_certificate_and_names_the_file(
    rig, serve, tmp_path, which, code
):
    environ, ca_file = serve(which)
    if which == "good":
        (tmp_path / "other").mkdir()
        ca_file = certify(tmp_path / "other").cert_file
    for words in COMMANDS:
        told = run(rig, environ, ca_file, *words)
        assert told.exit == 1, (words, told)
        assert f"({code})" in told.err, (words, told)
        assert str(ca_file) in told.err, (words, told)
        assert "try again" not in told.err, (words, told)


def test_a_certificate_that_ends_soon_is_told(rig, serve):
    environ, ca_file = serve("ends soon")
    ended = run(rig, environ, ca_file, "doctor", "-o", "json")
    assert ended.exit == 0
    assert [state for state, _ in found(ended)["policy"]] == ["ok", "note"]


def test_http_against_https_is_told_both_ways(rig, serve):
    environ, ca_file = serve()
    plain = {name: value.replace("https:", "http:") for name, value in environ.items()}
    said = found(run(rig, plain, ca_file, "doctor", "-o", "json"))
    assert "speaks TLS" in said["gateway"][0][1]
    environ, ca_file = serve(clear=True)
    secure = {name: value.replace("http:", "https:") for name, value in environ.items()}
    ended = run(rig, secure, ca_file, "doctor", "-o", "json")
    assert ended.exit == 1
    assert "does not speak TLS" in found(ended)["gateway"][0][1]
    assert run(rig, secure, ca_file, "grant", "list").exit == 1


def test_every_command_says_that_tls_is_spoken_where_it_was_asked_in_clear(rig, serve):
    environ, ca_file = serve()
    plain = {name: value.replace("https:", "http:") for name, value in environ.items()}
    for words in COMMANDS:
        told = run(rig, plain, ca_file, *words)
        assert told.exit == 1, (words, told)
        assert "(tls-expected)" in told.err, (words, told)
        assert "write https://" in told.err, (words, told)
        assert "try again" not in told.err, (words, told)
        assert "may have been" not in told.err, (words, told)  # nobody there reads clear text


def test_no_token_and_a_caller_without_a_role_are_bad(rig, serve):
    environ, ca_file = serve(roles=())
    ended = run(rig, environ, ca_file, "doctor", "-o", "json")
    assert ended.exit == 1
    assert "ana has no role there" in found(ended)["gateway"][0][1]
    del environ["PILOTCTL_TOKEN"]
    said = found(run(rig, environ, ca_file, "doctor", "-o", "json"))
    assert said["token"][0][0] == "bad"
    assert "not on local sockets" in said["token"][0][1]


def test_a_user_who_is_no_operator_is_bad(rig, tmp_path):
    detail = "the user nobody is no operator of this pilot"
    rig.api.problem("GET /v1/status", "not-an-operator", 401, detail)
    ended = rig("doctor", "-o", "json")
    assert ended.exit == 1
    assert found(ended)["policy"] == [("bad", detail)]


def test_an_address_of_another_api_is_told(rig):
    rig.api.on("GET /v1/status", {**STATUS, "service": "audit"})
    said = found(rig("doctor", "-o", "json"))
    assert said["policy"][0][0] == "bad"
    assert "is the audit API" in said["policy"][0][1]
    assert said["audit"][0][0] == "ok"


def test_the_folder_of_a_token_command_counts_as_the_profile_does(rig, tmp_path):
    config = tmp_path / "shared.toml"
    config.write_text("[profiles.lab]\ntoken = {source = 'command', argv = ['get-token']}\n")
    config.chmod(0o666)
    ended = rig("doctor", "--config", str(config), "--profile", "lab", "-o", "json")
    assert ended.exit == 1
    assert "can be written by others" in found(ended)["profile"][0][1]
