"""Answers that hold a secret: handed over once, and never printed, logged or told again.

Generated from the routes: a new one that holds a secret is in every test here.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from pilot_rig import GRANT_ID, ROOT, grant, page, receipt, stored

from console.api.contract import ROUTES
from console.cli.secret_handover import ANSWER_BYTES
from console.operations.index import find
from tests.thread.pilot_rig import granted, programme, running, short_folder

SECRET_ROUTES = [route for route in ROUTES if route.secret]
each_route = pytest.mark.parametrize("route", SECRET_ROUTES, ids=lambda route: route.id)
WHY = ("--reason", "tests", "--yes")
SECRET = "plt-swordfish-9xyz"
KEY_ID = "crd_01J9ZK00000000000000000000"
CREDENTIAL = stored(
    KEY_ID, grant_id=GRANT_ID, partner="acme", holder="acme", hint="9xyz", version=1,
    state="issued",
)  # fmt: skip
ACCOUNT = stored(
    "opr_01J9ZK00000000000000000000", slug="ana", kind="person", user="", roles=["operator"],
    groups=[], state="active",
)  # fmt: skip
TOKEN = stored("tkn_01J9ZK00000000000000000000", hint="9xyz")


def secret_paths(kind: Any, path: str = "", seen: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield where, in an answer of this type, a member is named like a secret."""
    for each in (kind, *get_args(kind)):
        if each in seen:
            continue
        if each is not kind:
            yield from secret_paths(each, path, seen)
        elif isinstance(each, type) and issubclass(each, msgspec.Struct):
            for name, hint in get_type_hints(each, include_extras=True).items():
                at = f"{path}.{name}".lstrip(".")
                texts = {hint, *get_args(hint)}
                if str in texts and any(
                    word in name for word in ("secret", "password", "private", "raw", "bearer")
                ):
                    yield at
                yield from secret_paths(hint, at, (*seen, each))


def test_no_answer_holds_a_secret_but_where_the_route_says_so():
    assert {route.id for route in SECRET_ROUTES} >= {"key.issue", "key.rotate", "operator.token"}
    for route in ROUTES:
        assert list(secret_paths(route.answer)) == (["secret"] if route.secret else []), route.id


@each_route
def test_such_an_answer_is_told_again_without_it(route):
    assert route.writes
    fields = msgspec.structs.fields(route.answer)
    values = {each.name: None for each in fields if each.required}
    told = route.answer(**{**values, "secret": SECRET}).redacted()
    assert told.secret is None
    assert told.replayed


@each_route
def test_api_sends_no_request_whose_answer_holds_a_secret(rig, route):
    path = route.path.format_map(dict.fromkeys(("credential", "operator"), KEY_ID))
    ended = rig("api", route.method, f"{route.api}{path}", "--data", "{}", "--yes", "-o", "json")
    assert ended.exit == 2
    assert f"pilotctl {route.id.replace('.', ' ')} --secret-file" in ended.err
    assert rig.api.writes() == []
    assert find(route.id).secret == "secret"  # the operation hands it over


COMMANDS = {
    "key.issue": ("key", "issue", GRANT_ID),
    "key.rotate": ("key", "rotate", KEY_ID),
    "operator.token": ("operator", "token", "ana"),
    "break-glass.seal": ("break-glass", "seal"),
}
"""The command of each such route. A new route needs its own."""

ENDS = {
    "key.issue": f"key revoke {KEY_ID} --confirm acme",
    "key.rotate": f"key revoke {KEY_ID} --confirm acme",
    "operator.token": "operator token ana --replace",
    "break-glass.seal": "break-glass seal --replace",
}
"""How what was made and lost is ended."""


@pytest.fixture
def api(rig):
    """Every API, answering with one and the same secret."""
    sealed = {**ACCOUNT, "slug": "break-glass-1", "kind": "break-glass"}
    rig.api.on(f"GET /v1/grants/{GRANT_ID}", grant())
    rig.api.on(f"GET /v1/credentials/{KEY_ID}", CREDENTIAL)
    rig.api.on("GET /v1/operators", page(ACCOUNT))
    rig.api.on("GET /v1/operators/ana", ACCOUNT)
    key = {"credential": CREDENTIAL, "secret": SECRET, "base_urls": ["http://127.0.0.1:1/v1"]}
    token = {"account": ACCOUNT, "token": TOKEN, "secret": SECRET}
    rig.api.on("POST /v1/credentials", key, status=201)
    rig.api.on(f"POST /v1/credentials/{KEY_ID}/rotation", key, status=201)
    rig.api.on("POST /v1/operators/ana/tokens", token, status=201)
    rig.api.on("POST /v1/break-glass", {**token, "account": sealed}, status=201)
    return rig.api


def in_process(rig, *words, stdout=subprocess.PIPE, **more):
    return subprocess.run(
        [sys.executable, "-m", "console", *words],
        stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT, text=True,
        env=rig.environ, check=False, timeout=60, **more,
    )  # fmt: skip


def no_file_grows():
    """Be on a full disk, as far as this process's files go."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@each_route
def test_a_full_disk_is_told_before_anything_is_made(rig, api, tmp_path, route):
    file = tmp_path / "key"
    words = (*COMMANDS[route.id], *WHY, "--secret-file", str(file))
    done = in_process(rig, *words, preexec_fn=no_file_grows)
    assert done.returncode == 2, done.stderr
    assert "no key was made" in done.stderr
    assert not file.exists()
    assert api.writes() == []


def test_a_full_disk_under_standard_output_is_told_before_anything_is_made(rig, api, tmp_path):
    words = (*COMMANDS["key.issue"], *WHY, "-o", "json")
    descriptor = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        done = in_process(rig, *words, stdout=descriptor, preexec_fn=no_file_grows)
    finally:
        os.close(descriptor)
    assert done.returncode == 2, done.stderr
    assert "standard output has no room" in done.stderr
    assert api.writes() == []


def test_what_standard_output_holds_already_stays_as_it_is(rig, api, tmp_path):
    out = tmp_path / "out"
    out.write_text("before\n")
    out.chmod(0o600)
    descriptor = os.open(out, os.O_APPEND | os.O_WRONLY)
    try:
        done = in_process(rig, *COMMANDS["key.issue"], *WHY, "-o", "json", stdout=descriptor)
    finally:
        os.close(descriptor)
    assert done.returncode == 0, done.stderr
    before, answer = out.read_text().split("\n", 1)
    assert before == "before"
    assert json.loads(answer)["secret"] == SECRET


@each_route
@pytest.mark.parametrize("bare", [False, True], ids=["in the answer", "alone"])
@pytest.mark.skipif(sys.platform != "linux", reason="room behind a file's end is Linux's")
def test_a_file_under_standard_output_has_its_room_before_anything_is_made(
    rig, api, tmp_path, route, bare
):
    out = tmp_path / "out"
    reserved = []
    for asked, answer in list(api.routes.items()):
        if asked.startswith("POST"):

            def spied(request, answer=answer):
                status = out.stat()
                reserved.append((status.st_blocks * 512, status.st_size))
                return answer(request)

            api.on(asked, spied)
    form = ("--secret-file", "-") if bare else ("-o", "json")
    with os.fdopen(os.open(out, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        done = in_process(rig, *COMMANDS[route.id], *WHY, *form, stdout=file)
    assert done.returncode == 0, done.stderr
    [(room, size)] = reserved
    assert room >= ANSWER_BYTES
    assert size == 0
    answer = out.read_text()
    assert answer == f"{SECRET}\n" if bare else json.loads(answer)["secret"] == SECRET


@each_route
@pytest.mark.parametrize("bare", [False, True], ids=["in the answer", "alone"])
def test_an_answer_that_does_not_reach_the_disk_names_what_was_made_and_how_to_end_it(
    rig, api, route, bare, monkeypatch
):
    really, calls = os.fsync, []

    def fails_later(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fails_later)
    form = ("--secret-file", "-") if bare else ("-o", "json")
    ended = rig(*COMMANDS[route.id], *WHY, *form)  # to a file, here
    assert ended.exit == 9, ended.err
    assert ENDS[route.id] in ended.err
    assert SECRET not in ended.err


def test_an_interruption_while_the_old_key_ends_names_the_new_one(rig, api):
    issued = {"credential": CREDENTIAL, "secret": SECRET, "base_urls": []}
    receipt_id = "rcp_01J9ZK00000000000000000000"
    api.on(
        f"POST /v1/credentials/{KEY_ID}/rotation", {**issued, "receipt_id": receipt_id}, status=201
    )
    api.on(f"GET /v1/receipts/{receipt_id}", receipt(state="verifying", why=""))
    form = ("-o", "json")
    process = subprocess.Popen(
        [sys.executable, "-m", "console", *COMMANDS["key.rotate"], "--grace", "0s", *WHY, *form],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True, env=rig.environ,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not any("receipts" in each.path for each in api.asked):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert SECRET not in out + err
    assert ENDS["key.rotate"] in err


@each_route
def test_a_secret_that_cannot_be_handed_over_names_what_was_made_and_how_to_end_it(rig, api, route):
    reader, writer = os.pipe()
    os.close(reader)  # whoever was to read it has gone
    try:
        done = in_process(rig, *COMMANDS[route.id], *WHY, "-o", "json", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 9, done.stderr
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "secret-lost"
    assert ENDS[route.id] in error["hint"]
    assert SECRET not in done.stderr
    assert len(api.writes()) == 1


@each_route
def test_a_pipe_is_given_the_secret_alone(rig, api, tmp_path, monkeypatch, route):
    monkeypatch.chdir(tmp_path)
    done = rig.process(*COMMANDS[route.id], *WHY, "--secret-file", "-")
    assert done.exit == 0, done.err
    assert done.out == f"{SECRET}\n"
    assert SECRET not in done.err
    assert not (ROOT / "-").exists()
    assert not (tmp_path / "-").exists()


def test_a_dash_is_refused_where_the_secret_would_stay_or_be_mixed(rig, api, tmp_path):
    words = (*COMMANDS["key.issue"], *WHY, "--secret-file", "-")
    with (tmp_path / "out").open("w") as others:
        (tmp_path / "out").chmod(0o644)
        assert in_process(rig, *words, stdout=others).returncode == 2
    assert rig.process(*words, "-o", "json").exit == 2
    terminal = rig.terminal(*words)
    terminal.expect("scrollback")
    assert terminal.ended() == 2
    several = rig.process(
        "key", "rotate", "--ids-from", "-", "--confirm", "1 keys", *WHY, "--secret-file", "-",
        stdin=KEY_ID,
    )  # fmt: skip
    assert several.exit == 2
    assert "name a folder" in several.err
    assert api.writes() == []


@each_route
def test_on_a_terminal_it_is_shown_on_the_alternate_screen_only(rig, api, route):
    terminal = rig.terminal(*COMMANDS[route.id], *WHY)
    terminal.expect("press Enter")
    terminal.type("\n")
    assert terminal.ended() == 0
    inside = terminal.seen.split("\x1b[?1049h")[1].split("\x1b[?1049l")[0]
    assert terminal.seen.count(SECRET) == inside.count(SECRET) == 1


def test_no_log_store_or_replay_holds_a_secret_that_was_handed_over(tmp_path):
    with short_folder() as folder, running(folder / "home") as pilot:
        programme(pilot, tier=1, partners=("acme",))
        grant_id = granted(pilot, "acme").id
        pilot.do("operator.add", operator="ana", roles=["operator"], reason="tests")
        key = ""
        for route in SECRET_ROUTES:
            names = {GRANT_ID: grant_id, KEY_ID: key}
            words = [names.get(each, each) for each in COMMANDS[route.id]]
            told = (*words, *WHY, "--idempotency-key", f"once-{route.id}", "-o", "json")
            file = tmp_path / route.id
            done = pilot.cli(*told, "--secret-file", str(file))
            assert done.exit == 0, (route.id, done.err)
            secret = file.read_text().strip()
            key = json.loads(done.out).get("credential", {}).get("id", key)
            again = pilot.cli(*told, "--secret-file", str(tmp_path / "again"))
            assert json.loads(again.out)["secret"] is None
            assert not (tmp_path / "again").exists()
            # what is printed of it, kept of it and written about it, the write-ahead logs too
            assert secret not in done.out + done.err + again.out + again.err
            holding = [
                str(each)
                for each in Path(folder).rglob("*")
                if each.is_file() and secret.encode() in each.read_bytes()
            ]
            assert holding == []
