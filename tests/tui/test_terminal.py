"""The console in a real pseudo-terminal: how it starts, draws, is interrupted and ends."""

import json
import os
import signal
import stat
import time

import pytest
from terminal import Terminal

from console.tui.terminal import crash_report
from tests.nursery import SETS

PATIENT = {SETS: json.dumps({"console.tui.terminal.lifeline:BACKSTOP_SECONDS": 60})}
"""A busy machine is given time to end well."""
RESTORED = b"\x1b[?1049l"


def test_it_opens_on_what_needs_someone_in_few_bytes_and_leaves_the_terminal_as_it_was(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok", "audit ok")
        assert len(screen.raw) < 6144
        screen.pump(0.5)
        before = len(screen.raw)
        screen.pump(2.5)  # longer than between two looks at an API
        assert len(screen.raw) - before < 200, "an idle screen talks"
        screen.keys("\x11")
        assert screen.wait() == 0
        assert RESTORED in screen.raw
        assert b"\x1b[?25h" in screen.raw
        assert b"\x1b[?1000h" not in screen.raw, "the mouse was taken"


def test_a_revoke_by_keys_alone(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok", "policy ok")
        screen.keys(":grants\r").see("northwind", "suspended")
        screen.keys("R").see("Type acme:")
        screen.keys("leaked\tacme").see("pilotctl grant revoke", "--reason leaked")
        screen.keys("\t\t").see("[ revoke ]")
        screen.keys("\r").see("3 of 3 points", "gw-3", "refused")
        screen.keys("\r").see("revoked")
        screen.keys(":q\r")
        assert screen.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    with Terminal(tmp_path, environ=PATIENT) as screen:
        screen.see("CRIT")
        screen.signal(number)
        assert screen.wait() == 128 + number
        assert RESTORED in screen.raw


def test_a_write_without_its_answer_is_told_as_unknown_at_the_end(tmp_path):
    with Terminal(tmp_path, pilot={"stall_writes": 300.0}, environ=PATIENT) as screen:
        screen.see("CRIT", "gw ok").keys("L").see("What ends")
        screen.keys("why\t\t").see("[ lock ]").keys("\r").see("sent, being followed")
        screen.signal(signal.SIGTERM)
        assert screen.wait() == 128 + signal.SIGTERM
        assert b"not answered (unknown): pilotctl lock add partner acme" in screen.raw


def test_a_closed_terminal_ends_it(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT")
        screen.hang_up()
        assert screen.wait() in {128 + signal.SIGHUP, -signal.SIGALRM}


def test_a_resize_draws_everything_for_the_new_size(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok")
        screen.resize(120, 40)
        screen.see("first 1h ago, last 2m ago", "8 rows")
        screen.resize(80, 24)
        screen.see("CRIT", "LOCK", "? all")


def test_ctrl_l_draws_the_whole_screen_again(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok")
        screen.screen.reset()
        screen.keys("\x0c").see("CRIT", "PRODUCTION", "? all")


def test_no_color_draws_no_colour(tmp_path):
    with Terminal(tmp_path, environ={"NO_COLOR": "1"}) as screen:
        screen.see("CRIT", "gw ok")
        assert b"38;" not in screen.raw
        assert b"48;" not in screen.raw
        assert not any(f"\x1b[0;{code}m".encode() in screen.raw for code in range(30, 48))
        assert b"\x1b[0;1;7m" in screen.raw


def test_a_plain_terminal_gets_its_own_sixteen_colours(tmp_path):
    with Terminal(tmp_path, environ={"TERM": "linux", "COLORTERM": ""}) as screen:
        screen.see("CRIT", "gw ok")
        assert b"38;2;" not in screen.raw
        assert b"38;5;" not in screen.raw


def test_a_c_locale_gets_ascii_only(tmp_path):
    with Terminal(tmp_path, environ={"LANG": "C"}) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys("L").see("What ends")
        assert screen.raw.isascii()


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}])
def test_a_dumb_terminal_is_refused_and_pointed_to_the_commands(tmp_path, environ):
    with Terminal(tmp_path, environ=environ) as screen:
        assert screen.wait() == 2
        assert b"TERM=dumb" in screen.raw


def test_a_crash_leaves_a_report_without_values_and_one_line(tmp_path):
    with Terminal(tmp_path, environ={"FAKE_CRASH": "plk_SECRETSECRET"}) as screen:
        screen.see("CRIT")
        screen.keys("~")
        assert screen.wait() == 1
        assert RESTORED in screen.raw
        assert b"SECRETSECRET" not in screen.raw
        assert b"a bug stopped the console (ValueError)" in screen.raw
        (report,) = (tmp_path / "pilotctl").glob("crash-*.txt")
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
        written = report.read_text()
        assert "SECRETSECRET" not in written
        assert "ValueError" in written


def test_a_bug_that_is_survived_leaves_a_report_and_a_line_that_says_where(tmp_path):
    log = []
    bugs = crash_report.BugReports(tmp_path, lambda *said: log.append(said))
    assert bugs.note(ValueError("never told")) == "a bug of the console (ValueError)"
    (report,) = tmp_path.iterdir()
    ((line, token),) = log
    assert str(report) in line
    assert token == "bad"
    assert "never told" not in line + report.read_text()


def test_two_reports_of_one_second_are_two_files(tmp_path):
    paths = [crash_report.write(ValueError("never told"), tmp_path) for _ in range(4)]
    assert None not in paths
    assert len(set(paths)) == 4
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths if path)


def test_a_stalled_link_never_stops_the_console(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok")
        for _ in range(40):
            os.write(screen.fd, b":calls\r:audit\r:now\r")
            time.sleep(0.05)
        # nothing was read meanwhile: the terminal is full, and the console still hears
        screen.signal(signal.SIGTERM)
        time.sleep(0.2)
        assert screen.wait() in {128 + signal.SIGTERM, -signal.SIGALRM}
