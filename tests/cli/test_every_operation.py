"""Every operation of the registry, in every format, as a script meets it."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from any_api import AnyApi, changes, is_change
from pilot_rig import ROOT, Ended, Rig
from tiny_api import Asked, Told, tiny_api

from console.errors import ExitCode
from console.model.operator import Direction
from console.model.stored import Page
from console.operations import log
from console.operations.index import NOUNS, all_operations, load
from console.operations.spec import Effect, Field, Kind, Operation, fields

OPERATIONS = all_operations()
FORMATS = (
    "table", "json",
    *(pytest.param(each, marks=pytest.mark.long) for each in ("jsonl", "csv", "name")),
)  # fmt: skip
ENDS = {0, 3, 5, 6, 7, 8, 9, 11}
"""What an answer that means nothing may end in: never a bug (1), never our own usage (2)."""
PROVES = {"log.show", "log.succession", "audit.verify", "audit.proof", "audit.show", "usage.export"}
"""They check what they are told: a sample of a signature is refused, one of a day left out."""

NAMED = {"assignee": "duty-1", "point": "sample"}
"""What an id will not do for: the name of an operator, and a point that the sample has."""

PILOT = """
slug = "a"
title = "A"
models = ["m"]
[stages.limited]
most_partners = 1
longest = "30d"
"""
"""The one file that is read on this side of the wire; any other is sent as it is."""

each_operation = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.id)
each_list = pytest.mark.parametrize(
    "op", [op for op in OPERATIONS if get_origin(op.result) is Page], ids=lambda op: op.id
)
each_change = pytest.mark.parametrize(
    "op", [op for op in OPERATIONS if op.effect is not Effect.READ], ids=lambda op: op.id
)


@pytest.fixture
def any_rig(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    AnyApi(rig.api)
    monkeypatch.setattr(log, "LOG_SECONDS", 0.0)  # its log never has another key
    return rig


def words_of(op: Operation, folder: Path) -> list[str]:
    """Return a command line with the operation's required parameters."""
    words, flags = [], []
    for field in fields(op):
        if not field.required:
            continue
        text = written(field, folder)
        if field.param.positional:
            words.append(text)
        else:
            flags += [f"--{field.flag}", text]
    return [op.noun, op.verb, *words, *flags]


def written(field: Field, folder: Path) -> str:
    if field.name in NAMED:
        return NAMED[field.name]
    match field.param.kind:
        case Kind.CHOICE:
            return field.param.choices[0]
        case Kind.WHEN:
            return "30d"
        case Kind.SINCE:
            return "2h"
        case Kind.DURATION:
            return "30d"
        case Kind.NUMBER | Kind.MONEY:
            return "1"
        case Kind.NETWORK:
            return "203.0.113.0/24"
        case Kind.STAGE:
            return "sandbox:most-partners=1,longest=30d"
        case Kind.FILE:
            (folder / "file").write_text(PILOT)
            return str(folder / "file")
        case Kind.FOLDER:
            return str(folder)
        case Kind.SLUG:
            return "acme"
        case _:
            return "type:a"


def confirmed(rig: Rig, op: Operation, words: list[str]) -> list[str]:
    """Return the command with what confirms it, as its own refusal says it."""
    if op.effect is Effect.READ:
        return words
    asked = rig(*words)
    if asked.exit != ExitCode.NOT_CONFIRMED:
        return [*words, "--yes"]
    line = next(line for line in asked.err.splitlines() if "pilotctl " in line)
    told = shlex.split(line[line.index("pilotctl ") :])
    named = "--confirm" in told
    return [*words, "--confirm", told[told.index("--confirm") + 1]] if named else [*words, "--yes"]


def followed(op: Operation) -> list[str]:
    return ["--no-wait"] if op.converges else []


def check_output(ended: Ended, format: str, op: Operation) -> None:
    assert ended.exit in ENDS, f"{ended.exit}: {ended.err}"
    assert "bug" not in ended.err, ended.err
    assert "\x1b" not in ended.out + ended.err
    if ended.exit not in {0, 8, 9}:
        assert ended.err
        return
    if not ended.out:
        assert op.secret or ended.err
        return
    match format:
        case "json":
            json.loads(ended.out)
        case "jsonl":
            assert all(isinstance(json.loads(line), dict) for line in ended.out.splitlines())
        case "csv":
            rows = list(csv.reader(io.StringIO(ended.out)))
            assert {len(row) for row in rows} == {len(rows[0])}
        case _:
            assert ended.out.endswith("\n")


@pytest.mark.parametrize("format", FORMATS)
@each_operation
def test_each_operation_answers_in_each_format(
    any_rig: Rig, op: Operation, format: str, tmp_path: Path
) -> None:
    words = confirmed(any_rig, op, words_of(op, tmp_path))
    secret = ["--secret-file", str(tmp_path / "key")] if op.secret else []
    ended = any_rig(*words, *followed(op), *secret, "-o", format, NO_COLOR="1")
    check_output(ended, format, op)
    if op.effect is Effect.READ and op.id not in PROVES:
        assert ended.exit == 0, ended.err


@each_list
def test_an_empty_list_is_an_empty_list(rig: Rig, op: Operation, tmp_path: Path) -> None:
    AnyApi(rig.api, items=0)
    words = words_of(op, tmp_path)
    told = rig(*words, "-o", "json")
    assert told.exit == 0, told.err
    assert told.json["items"] == []
    assert rig(*words, "-o", "jsonl").out == ""
    assert rig(*words, "-o", "name").out == ""
    assert len(rig(*words, "-o", "csv").out.splitlines()) == 1
    assert rig(*words).exit == 0


@each_change
def test_without_a_terminal_nothing_is_changed_and_the_exact_command_is_told(
    any_rig: Rig, op: Operation, tmp_path: Path
) -> None:
    told = any_rig(*words_of(op, tmp_path))
    assert told.exit == ExitCode.NOT_CONFIRMED, told.err
    assert f"pilotctl {op.noun} {op.verb}" in told.err
    assert told.out == ""
    assert not changes(any_rig.api)


@each_change
def test_a_dry_run_shows_the_plan_and_changes_nothing(
    any_rig: Rig, op: Operation, tmp_path: Path
) -> None:
    told = any_rig(*words_of(op, tmp_path), "--dry-run")
    assert told.exit == 0, told.err
    assert told.out
    assert not changes(any_rig.api)


@pytest.mark.parametrize(
    "op",
    [o for o in OPERATIONS if o.effect is not Effect.READ and o.direction is Direction.OPENS],
    ids=lambda op: op.id,
)
def test_what_opens_is_refused_on_a_read_only_profile(
    any_rig: Rig, op: Operation, tmp_path: Path
) -> None:
    told = any_rig(*words_of(op, tmp_path), "--yes", "--confirm", "acme", "--read-only")
    assert told.exit == ExitCode.REFUSED, told.err
    assert not any_rig.api.asked


@each_operation
def test_a_mistyped_verb_is_answered_with_the_one_that_was_meant(rig: Rig, op: Operation) -> None:
    others = {each.verb for each in load(op.noun)}
    typo = op.verb[:-1] if op.verb[:-1] not in others else op.verb + "x"
    told = rig(op.noun, typo)
    assert told.exit == ExitCode.USAGE
    assert "did you mean" in told.err
    assert not rig.api.asked


@pytest.mark.parametrize("noun", NOUNS)
def test_a_mistyped_noun_is_answered_with_a_suggestion(rig: Rig, noun: str) -> None:
    told = rig(noun + "z", "list")
    assert told.exit == ExitCode.USAGE
    assert "did you mean" in told.err


def piped(rig: Rig, words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "console", *words], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=ROOT, env=rig.environ,
    )  # fmt: skip


LISTS = [noun for noun in NOUNS if any(op.verb == "list" for op in load(noun))]


@pytest.mark.parametrize("count", [3, pytest.param(len(LISTS), marks=pytest.mark.long, id="all")])
def test_a_reader_that_went_away_ends_each_list_with_141_and_no_word(rig: Rig, count: int) -> None:
    AnyApi(rig.api, items=400)
    seed = random.randrange(1 << 32)
    print(f"{count} of {len(LISTS)} lists, seed {seed}")
    for noun in random.Random(seed).sample(LISTS, count):
        process = piped(rig, [noun, "list", "-o", "jsonl"])
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 141, (noun, said)
        assert said == b""


@pytest.fixture
def slow(rig: Rig) -> Iterator[Rig]:
    """An API that takes what changes things, and answers when the test is over."""
    over = threading.Event()
    with tiny_api() as other:
        any_api = AnyApi(other)

        class Slow(AnyApi):
            def get(self, asked: str) -> Any:
                known = any_api.get(asked)

                def answer(request: Asked) -> Told:
                    if is_change(request):
                        over.wait(60)
                    return known(request)

                return answer

        Slow(other)
        addresses = {f"PILOTCTL_{name}": other.address for name in ("POLICY", "GATEWAY", "AUDIT")}
        rig.environ.update(addresses)
        rig.api = other
        yield rig
        over.set()


def test_ctrl_c_before_anything_was_sent_is_130(slow: Rig) -> None:
    terminal = slow.terminal("lock", "add", "partner", "acme", "--reason", "tests")
    terminal.expect("[y/N]")
    terminal.signal(signal.SIGINT)
    assert terminal.ended() == 130
    assert "nothing was sent" in terminal.seen
    assert not changes(slow.api)


def test_ctrl_c_after_it_was_sent_says_that_it_is_not_known_and_how_to_look(slow: Rig) -> None:
    terminal = slow.terminal("lock", "add", "partner", "acme", "--reason", "tests", "--yes")
    until = time.monotonic() + 60
    while not changes(slow.api):
        assert time.monotonic() < until
        time.sleep(0.02)
    terminal.signal(signal.SIGINT)
    code = terminal.ended()
    assert code not in {0, 130}
    assert "--idempotency-key" in terminal.seen
