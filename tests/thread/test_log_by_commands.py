"""The log, told truly at the command line: real failures are exit 11, and nothing else is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.thread.pilot_rig import Rig, programme, running, short_folder

WHY = ("--reason", "tests", "--yes")


@contextmanager
def a_pilot() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig, tier=1, partners=("acme",))
        yield rig


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """The pilot of this file, whose log every test leaves sound."""
    with a_pilot() as rig:
        yield rig


@pytest.fixture
def damaged() -> Iterator[Rig]:
    """A pilot of its own for a test that damages its store."""
    with a_pilot() as rig:
        yield rig


def in_the_log(rig: Rig) -> list[dict[str, Any]]:
    """Return the events, oldest first, once the newest is proven."""
    events = rig.cli("audit", "list", "--limit", "0", "-o", "json").value["items"][::-1]
    assert rig.cli("wait", "event", events[-1]["id"]).exit == 0
    return list(events)


def doctor_on_the_store(rig: Rig) -> tuple[str, str]:
    items = rig.cli("doctor", "-o", "json").value["items"]
    ((state, said),) = ((e["state"], e["found"]) for e in items if e["check"] == "log store")
    return state, said


def test_an_event_is_proven_by_its_index_as_by_its_id(rig: Rig) -> None:
    events = in_the_log(rig)
    for named in (str(events[3]["index"]), events[3]["id"]):
        done = rig.cli("audit", "proof", named, "-o", "json")
        assert done.exit == 0, done.err
        assert done.value["event_id"] == events[3]["id"]
    assert rig.cli("audit", "proof", "999999").exit == 3


def test_a_rotated_key_is_no_alarm_whichever_command_meets_it_first(
    rig: Rig, tmp_path: Path
) -> None:
    in_the_log(rig)
    assert rig.cli("audit", "verify").exit == 0
    note = rig.json("api", "GET", "audit/v1/log/head")["checkpoint"]
    seen = tmp_path / "seen"
    seen.write_text(note)
    for _ in range(2):
        done = rig.cli("log", "rotate-key", *WHY)
        assert done.exit == 0, done.err
        done = rig.cli("audit", "verify", "-o", "json")
        assert done.exit == 0, done.out + done.err
        assert done.value["findings"] == []
        # a checkpoint from before the rotation is one of this log
        done = rig.cli("audit", "verify", "--known", str(seen))
        assert done.exit == 0, done.out + done.err
    # a copy in a folder, before anything else met the new key
    made = rig.cli("log", "rotate-key", *WHY, "-o", "json").value
    rig.until(lambda: rig.json("api", "GET", "audit/v1/log/head")["key"] == made["new_key"])
    done = rig.cli("audit", "verify", "--log", str(rig.home / "log"))
    assert done.exit == 0, done.out + done.err


def test_a_store_that_was_changed_is_exit_11_wherever_it_is_met(damaged: Rig) -> None:
    rig, events = damaged, in_the_log(damaged)
    gone, other = events[2], events[3]
    assert doctor_on_the_store(rig)[0] == "ok"
    with closing(sqlite3.connect(rig.home / "audit.db")) as conn:
        conn.execute("DELETE FROM leaves WHERE idx = ?", (gone["index"],))
        conn.execute("UPDATE leaves SET actor = 'nobody' WHERE idx = ?", (other["index"],))
        conn.commit()
    state, said = doctor_on_the_store(rig)
    assert state == "bad"
    assert "the store differs from the log in 2 of " in said
    assert f"entry {gone['index']}" in said
    assert rig.cli("doctor").exit == 1
    for named, event in ((str(gone["index"]), gone), (other["id"], other)):
        for verb in ("show", "proof"):
            done = rig.cli("audit", verb, named, "-o", "json")
            assert done.exit == 11, (verb, done.out, done.err)
            assert done.value["fault"]
        assert rig.cli("wait", "event", named).exit == 11
        done = rig.cli("audit", "show", named, "-o", "json")
        assert done.value["actor"] == event["actor"]
        assert done.value["body"] == event["body"]
    done = rig.cli("audit", "list", "--limit", "0", "-o", "json")
    assert done.exit == 11
    listed = {each["index"]: each for each in done.value["items"]}
    assert [listed[each["index"]]["body"] for each in events] == [each["body"] for each in events]
    done = rig.cli("audit", "verify", "-o", "json")
    assert done.exit == 11
    where = {(each["where"], each["code"]) for each in done.value["findings"]}
    assert where == {
        (f"entry {gone['index']}", "store-entry-missing"),
        (f"entry {other['index']}", "store-entry-changed"),
    }


def alter(rig: Rig, *statements: str) -> None:
    """Do to audit's store what somebody with the file would."""
    with closing(sqlite3.connect(rig.home / "audit.db")) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.commit()


def findings(rig: Rig) -> set[tuple[str, str]]:
    """Return what `audit verify` finds, which is exit 11 then."""
    done = rig.cli("audit", "verify", "-o", "json")
    assert done.exit == (11 if done.value["findings"] else 0), done.out + done.err
    return {(each["where"], each["code"]) for each in done.value["findings"]}


def test_an_entry_that_was_written_into_the_store_is_told_by_every_command(damaged: Rig) -> None:
    rig = damaged
    in_the_log(rig)
    alter(
        rig,
        "INSERT INTO leaves SELECT 1000000000, 'evt_made', source, 99999999, at, actor, action, "
        "kind, target, partner, outcome, reason, request_id, contains, body FROM leaves "
        "WHERE idx = 2",
    )
    assert findings(rig) == {("entry 1000000000", "store-entry-invented")}
    state, said = doctor_on_the_store(rig)
    assert (state, "entry 1000000000" in said) == ("bad", True)
    assert rig.cli("audit", "show", "evt_made").exit == 11
    done = rig.cli("audit", "list", "-o", "json")
    assert "evt_made" not in {each["id"] for each in done.value["items"]}
    assert "that the log does not" in " ".join(done.value["warnings"])


def test_a_store_that_ends_before_what_is_signed_is_not_good(damaged: Rig) -> None:
    rig = damaged
    in_the_log(rig)
    alter(rig, f"UPDATE tree SET state = x'{'00' * 8}'", "DELETE FROM leaves WHERE idx > 2")
    assert ("store", "store-comparison-short") in findings(rig)
    assert doctor_on_the_store(rig)[0] == "bad"


def test_a_lost_entry_is_told_by_its_id_and_under_a_filter(damaged: Rig) -> None:
    rig, events = damaged, in_the_log(damaged)
    gone = events[2]
    alter(rig, f"DELETE FROM leaves WHERE idx = {gone['index']}")
    done = rig.cli("audit", "show", gone["id"], "-o", "json")
    assert (done.exit, done.value["body"]) == (11, gone["body"])
    done = rig.cli("audit", "list", "--action", gone["action"], "-o", "json")
    assert done.exit == 11
    assert gone["id"] in {each["id"] for each in done.value["items"]}
    done = rig.cli("audit", "list", "--actor", "nobody")
    assert "1 entries are missing from the store" in done.out + done.err
