"""Commands that read: formats, fields, tables, and every way in which they can fail."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from pilot_rig import AT, GRANT_ID, ROOT, grant, page, unread
from tiny_api import Told

from console.present.safe import is_hidden

HOSTILE = "\x1b]0;pwned\x07 \u202egnp.exe\r\n=cmd|' /C calc'!A0"


def test_a_list_in_every_format(rig):
    rig.api.on("GET /v1/grants", page(grant(purpose=HOSTILE)))
    table = rig("grant", "list")
    assert table.exit == 0
    assert table.out.splitlines()[0].startswith("ID ")
    assert "ALL" in table.out
    assert rig("grant", "list", "-o", "name").out == f"{GRANT_ID}\n"
    whole = rig("grant", "list", "-o", "json").json
    assert list(whole) == ["as_of", "source", "items", "next_cursor", "partial", "warnings"]
    assert whole["as_of"] == AT
    assert whole["items"][0]["purpose"] == HOSTILE
    line = rig("grant", "list", "-o", "jsonl").out
    assert json.loads(line) == whole["items"][0]
    rows = list(csv.DictReader(io.StringIO(rig("grant", "list", "-o", "csv").out)))
    assert rows[0]["id"] == GRANT_ID
    assert rows[0]["capabilities"] == '["cyber.read"]'


def test_no_format_lets_hostile_text_through(rig):
    rig.api.on("GET /v1/grants", page(grant(purpose=HOSTILE, partner=HOSTILE, state=HOSTILE)))
    rig.api.on(f"GET /v1/grants/{GRANT_ID}", grant(purpose=HOSTILE, partner=HOSTILE))
    for words in (["grant", "list"], ["grant", "show", GRANT_ID]):
        for written in ("table", "json", "jsonl", "csv", "name"):
            out = rig(*words, "-o", written).out
            assert out
            assert not any(is_hidden(char) and char != "\n" for char in out)


def test_an_empty_list_is_an_empty_list(rig):
    rig.api.on("GET /v1/grants", page())
    assert rig("grant", "list", "-o", "json").json["items"] == []
    assert rig("grant", "list", "-o", "jsonl").out == ""
    assert rig("grant", "list", "-o", "name").out == ""
    assert rig("grant", "list", "-o", "csv").out.count("\n") == 1
    assert rig("grant", "list").out.count("\n") == 1


def test_fields_select_and_an_unknown_one_names_those_there_are(rig):
    decision = {"id": "dec_1", "allow": True, "bundle_revision": "ab", "at": AT}
    rig.api.on("GET /v1/grants", page(grant(decision=decision)))
    got = rig("grant", "list", "-o", "json", "--fields", "id,decision.allow").json["items"]
    assert got == [{"id": GRANT_ID, "decision.allow": True}]
    assert rig("grant", "list", "--fields", "tier").out == "TIER\n1\n"
    before = len(rig.api.asked)
    refused = rig("grant", "list", "--fields", "teir")
    assert (refused.exit, len(rig.api.asked)) == (2, before)
    assert "fields: id, revision" in refused.err


def test_filters_reach_the_api_and_more_rows_are_announced(rig):
    rig.api.on("GET /v1/grants", page(grant(), next_cursor="abc"))
    ended = rig("grant", "list", "--partner", "acme", "--state=active", "--limit", "1")
    assert rig.api.asked[-1].query == {"partner": "acme", "state": "active", "limit": "1"}
    assert "--cursor abc" in ended.err


def test_json_and_csv_are_the_same_bytes_on_a_terminal_and_in_a_pipe(rig):
    rig.api.on("GET /v1/grants", page(grant()))
    for written in ("json", "csv"):
        piped = rig.process("grant", "list", "-o", written).out
        terminal = rig.terminal("grant", "list", "-o", written)
        assert terminal.ended() == 0
        assert terminal.seen.replace("\r\n", "\n") == piped


def test_a_table_fits_the_terminal_says_what_it_cut_and_cuts_nothing_in_a_pipe(rig):
    rig.api.on("GET /v1/grants", page(grant(partner="acme-" * 12)))
    terminal = rig.terminal("grant", "list", columns=80)
    assert terminal.ended() == 0
    # a mark of what was cut is followed by where the next column is
    lines = re.sub(r"\x1b\[\d+G\x1b\[K", "", terminal.seen).replace("\r\n", "\n").splitlines()
    assert all(len(line) <= 80 for line in lines[:2])
    assert "cut to fit: columns" in terminal.seen
    assert "acme-" * 12 in rig("grant", "list").out


def test_an_error_has_a_code_a_message_what_to_do_and_the_request(rig):
    rig.api.problem(f"GET /v1/grants/{GRANT_ID}", "not-found", 404, "no such grant\x1b[2J")
    ended = rig("grant", "show", GRANT_ID)
    assert ended.exit == 3
    assert ended.out == ""
    assert ended.err.startswith("error: no such grant^[[2J (not-found)\n")
    assert "request rid_" in ended.err


def test_under_json_an_error_is_one_object_and_nothing_else(rig):
    rig.api.problem("GET /v1/grants", "role-missing", 403, "you need the role viewer\u202e")
    ended = rig("grant", "list", "-o", "json", "--verbose")
    assert ended.exit == 5
    assert ended.error["code"] == "role-missing"
    assert ended.error["exit"] == 5
    assert ended.error["message"].endswith("\u202e")
    assert "\u202e" not in ended.err
    assert rig("grant", "lst", "-o", "json").error["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["grnat", "list"], "no command 'grnat'", "'grant'"),
        (["grant", "lst"], "no verb 'lst'", "'list'"),
        (["grant"], "grant needs a verb", "--help"),
        (["grant", "list", "--parner", "a"], "no flag --parner", "--partner"),
        (["grant", "list", "--part", "a"], "no flag --part", "--partner"),
        (["grant", "list", "--state", "actve"], "--state: 'actve'", "active"),
        (["grant", "list", "extra"], "unexpected argument 'extra'", "--help"),
        (["grant", "list", "-o", "jsn"], "no output format 'jsn'", "'json'"),
        (["grant", "show"], "needs GRANT", "--help"),
        (["call", "list", "--since", "yesterdy"], "--since: 'yesterdy' is not a time", "2h"),
        (["grant", "list", "--limit", "many"], "--limit: 'many'", ""),
        (["help", "exit-code"], "no topic 'exit-code'", "'exit-codes'"),
        (["--profil", "x"], "no flag --profil", ""),
        ([], "no command was given", "--help"),
    ],
)
def test_a_mistyped_line_is_exit_2_names_the_nearest_and_sends_nothing(rig, words, message, hint):
    ended = rig(*words)
    assert ended.exit == 2, ended
    assert message in ended.err
    assert hint in ended.err
    assert ended.out == ""
    assert rig.api.asked == []


def test_flags_for_every_command_may_stand_before_it(rig):
    rig.api.on("GET /v1/grants", page(grant()))
    assert rig("-o", "name", "grant", "list").out == f"{GRANT_ID}\n"
    assert rig("--output=name", "grant", "list").out == f"{GRANT_ID}\n"


def test_help_comes_from_the_registry(rig):
    assert "grant" in rig("--help").out
    assert "revoke  " in rig("grant", "--help").out
    shown = rig("grant", "revoke", "--help").out
    assert "End a grant for ever, and prove it." in shown
    assert "--confirm NAME" in shown
    assert rig("help", "grant", "revoke").out == shown
    assert "  9  the deadline passed" in rig("help", "exit-codes").out
    assert rig.api.asked == []


def test_an_answer_of_no_is_an_answer_unless_its_status_is_asked_for(rig):
    rig.api.on("POST /access/v1/evaluation", {"decision": False, "context": {}})
    words = ["policy", "check", "partner:acme", "call", "grant:x"]
    assert rig(*words, "-o", "json").json["decision"] is False
    assert rig(*words).exit == 0
    assert rig(*words, "--exit-status").exit == 1


def test_a_page_that_is_partial_is_never_a_success(rig):
    rig.api.on("GET /v1/grants", page(grant(), partial=True, warnings=["one shard is down"]))
    ended = rig("grant", "list", "-o", "json")
    assert ended.exit == 9
    assert "one shard is down" in ended.error["message"]
    assert len(ended.json["items"]) == 1


def test_a_reader_that_goes_away_is_141_and_silent(rig):
    rig.api.on("GET /v1/grants", page(*[grant(purpose="x" * 3000) for _ in range(200)]))
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "grant", "list", "-o", "jsonl"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=rig.environ,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_interrupted_before_anything_was_sent_is_130(rig):
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb"):
        process = subprocess.Popen(
            [sys.executable, "-m", "console", "terms", "publish", "aurora", "--title", "t",
             "--file", "-", "--reason", "r", "--yes"],
            stdin=stdin, stderr=subprocess.PIPE, cwd=ROOT, env=rig.environ, text=True,
        )  # fmt: skip
        os.write(write, b"half of a text")
        end = time.monotonic() + 60
        while unread(read):  # what it has taken, it waits for the rest of
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was sent" in err
    assert "Traceback" not in err
    assert rig.api.asked == []


def test_a_bug_is_said_to_be_one_without_values_of_variables(rig, monkeypatch):
    from console.cli import execute

    def broken(*_):
        secret = "swordfish"  # noqa: F841 - it must not be shown
        raise RuntimeError("broken\x1b[2J")

    monkeypatch.setattr(execute, "execute", broken)
    ended = rig("grant", "list", PILOTCTL_DEBUG="1")
    assert ended.exit == 1
    assert "a bug in pilotctl: RuntimeError: broken^[[2J" in ended.err
    assert "test_reading.py" in ended.err
    assert 'secret = "swordfish"' not in ended.err


def test_verbose_tells_each_call_on_standard_error(rig):
    rig.api.on("GET /v1/grants", Told(page(), headers={}))
    ended = rig("grant", "list", "--verbose")
    assert "GET grant.list at policy unix:" in ended.err
    assert "200" in ended.err
