"""Hostile text through every field, by operators and partners, and back out: only ever text."""

from __future__ import annotations

import json
import random
import re
import socket
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from console.cli.main import main
from console.errors import PilotError
from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    faults_of,
    granted,
    key_of,
    programme,
    running,
    short_folder,
    vetted,
)
from tests.thread.terminal import Terminal
from tests.vectors import vectors

PAYLOADS = [
    "\x1b]52;c;cm0gLXJmIH4=\x07",  # OSC 52: writes the clipboard
    "\x1b]8;;https://example.net\x1b\\click\x1b]8;;\x1b\\",  # OSC 8: a link under other words
    "\x1bP+q544e\x1b\\",  # DCS: asks the terminal, which types the answer
    "\x9b31mC1\x9bm \x9d0;title\x9c",  # the same in C1
    "\x1b[2J\x1b[H\x1b[?1049h\x1bc",
    "access\u202edeliver\u202c \u2066x\u2069 \u061c\u200f",
    "zero\u200bwidth\u2060 \ufeff\u00ad tag\U000e0041\U000e007f",
    "first\r\x08\x08\x08second\x0b\x0c\x7f",
    "line\u2028para\u2029next\x85end",
    '=HYPERLINK("http://example.net","x")',
    "+cmd|' /C calc'!A0",
    "-1+1",
    "@SUM(1)",
    "[bold red]markup[/] [@click=app.bell()]x[/]",
    "e" + "\u0301" * 300,
    "\ue000\U000f0000 \u3164 \u2800",
    '"quoted",comma;semi\ttab\nbreak',
]

NOT_IN_A_HEADER = bytes([*range(32), 127])
"""RFC 9110 §5.5 lets none of these into a header's value; what is above 127 is opaque."""

HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def hidden_in(text: str) -> set[str]:
    """Return what would act, hide or reorder on a terminal. Lines end in a line feed."""
    return {c for c in set(text) if c != "\n" and unicodedata.category(c) in HIDDEN}


def naughty() -> list[str]:
    """Return every string of the list, and our own, that text can be: all but the empty."""
    read: list[str] = json.loads(vectors("blns/blns.json").read_text())
    return [*filter(None, read), *PAYLOADS]


def some_naughty() -> list[str]:
    """Return our own strings, and a fifth of the list by a seed that is printed."""
    every = naughty()
    seed = random.randrange(1 << 16)
    print(f"seed {seed}")
    return [*random.Random(seed).sample(every, len(every) // 5), *PAYLOADS]


def packed(strings: list[str], most: int, glue: str) -> list[str]:
    """Return them all in few texts of at most `most` characters."""
    packs = [""]
    for each in strings:
        if len(packs[-1]) + len(glue) + len(each) > most:
            packs.append("")
        packs[-1] += (glue if packs[-1] else "") + each
    return packs


class Went(dict[str, list[str]]):
    """What was written, by the list and the field in which it must be found again."""

    def put(self, field: str, text: str) -> str:
        self.setdefault(field, []).append(text)
        return text


@pytest.fixture(
    scope="module", params=[some_naughty, pytest.param(naughty, marks=pytest.mark.long)]
)
def strings(request: pytest.FixtureRequest) -> list[str]:
    made: list[str] = request.param()
    return made


@pytest.fixture(scope="module")
def rig(strings: list[str]) -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig)
        yield rig


@pytest.fixture(scope="module")
def went(rig: Rig, strings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Went:
    """Write every string into every free-text field of every noun."""
    went = Went()
    _free_text(rig, went, strings, tmp_path_factory.mktemp("t") / "terms.txt")
    _names(rig, went, strings)
    _by_partners(rig, went, strings)
    rig.logged()
    return went


def _free_text(rig: Rig, went: Went, strings: list[str], file: Path) -> None:
    texts = [*packed(strings, 4000, "\n"), *PAYLOADS]

    def reason(text: str) -> str:
        return went.put("audit list:reason", text)

    rig.do("partner.create", slug="bare", name="B", sponsor=rig.operator,
           egress=["127.0.0.0/24"], reason=reason(texts[0]))  # fmt: skip
    whole = "\n".join(strings)
    file.write_text(went.put("terms list:text", whole))
    rig.do("terms.publish", pilot="aurora", title="T", text=str(file), reason=reason(texts[1]),
           reaccept_by="30d")  # fmt: skip
    for text in texts:
        rig.do(
            "grant.create", partner="bare", pilot="aurora", stage="limited",
            capabilities=[CAPABILITY], models=["aurora-1"], expires_at="30d",
            purpose=went.put("grant list:purpose", text), reason=reason(text),
        )  # fmt: skip
        made = rig.do(
            "assessment.create", partner="bare", capability=CAPABILITY, assessor="risk",
            summary=went.put("assessment list:summary", text), valid_until="180d",
            reason=reason(text),
        )  # fmt: skip
        rig.do("assessment.reject", assessment=made.id, reason=reason(text))
        lock = rig.do(
            "lock.add", seconds=0, kind="partner", target="bare",
            reason=went.put("lock list:reason", reason(text)),
            message=went.put("lock list:message", text),
        )  # fmt: skip
        went.put("receipt list:reason", text)
        rig.do("lock.release", lock=lock.lock_id, reason=reason(text))
    grant = granted(rig).id
    for text in texts:
        key, _ = key_of(rig, grant)
        went.put("receipt list:reason", text)
        rig.do("key.revoke", seconds=0, credential=key, reason=reason(text))


def _names(rig: Rig, went: Went, strings: list[str]) -> None:
    """One-line names: what is printable goes in, what is not is refused and leaves no trace."""
    clean = [each for each in strings if not hidden_in(each) and "\n" not in each]
    for place, text in enumerate(packed(clean, 200, " ")):
        slug = f"named-{place}"
        if len(text) > 200:
            continue
        rig.do("partner.create", slug=slug, name=text, sponsor=rig.operator, reason="r")
        went.put("partner list:name", text)
        rig.do("partner.verify", partner=slug, until="9d", reason="r",
               evidence=went.put("partner list:verification", text))  # fmt: skip
        if place % 8 == 0:
            rig.do("terms.accept", pilot="aurora", partner=slug, reason="r",
                   signatory=went.put("terms acceptances:signatory", text),
                   evidence=went.put("terms acceptances:evidence", text))  # fmt: skip
            rig.do("assessment.create", partner=slug, capability=CAPABILITY, summary="s",
                   assessor=went.put("assessment list:assessor", text), valid_until="9d",
                   reason="r")  # fmt: skip
    assert len(went["partner list:name"]) > len(strings) / 40
    for text in strings:
        # A private or unassigned character may stand in a name: it is escaped where it is shown.
        if {unicodedata.category(each) for each in hidden_in(text)} - {"Cn", "Co"}:
            with pytest.raises(PilotError) as bad:
                rig.do("partner.create", slug="x", name=text, sponsor=rig.operator, reason="r")
            assert bad.value.exit == 2


def _by_partners(rig: Rig, went: Went, strings: list[str]) -> None:
    vetted(rig, "egress")
    rig.do("partner.declare", partner="egress", egress=["192.0.2.0/24"], reason="r")
    _, key = key_of(rig, granted(rig, "egress").id)
    url = urlsplit(rig.points()[0])
    address = (str(url.hostname), int(url.port or 0))
    roles = cycle(["user", "system"])

    def called(text: str) -> int:
        agent = text.encode().translate(None, NOT_IN_A_HEADER)
        asked = {"model": text, "messages": [{"role": next(roles), "content": text}], "user": text}
        return _post(address, key, agent, json.dumps(asked).encode())

    with ThreadPoolExecutor(16) as callers:  # one alone waits for each record to be kept
        for text, status in zip(strings, callers.map(called, strings), strict=True):
            assert 400 <= status < 500, (status, text)
            went.put("call list:model", text[:200])
    for agent in (b"\x1b]52;c;x\x07", b"\xff\xfe\x9b2J", b"\xed\xa0\x80", b"a" * 7000):
        assert 400 <= _post(address, key, agent, b'{"model":"\\ud800\\u0000","messages":[]}') < 500
    for line in (b"X-Pilot-Capability: " + b"\x9b2J", b"X-Request-Id: " + b"\xe2\x80\xae" * 9):
        body = b'{"model":"aurora-1","messages":[{"role":"user","content":"hi"}]}'
        assert _post(address, key, b"a", body, line) < 500


def _post(address: tuple[str, int], key: str, agent: bytes, body: bytes, line: bytes = b"") -> int:
    """Send a request as no client library would; return the status of the answer."""
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nAuthorization: Bearer " + key.encode() + b"\r\n"
            b"User-Agent: " + agent + b"\r\n" + (line + b"\r\n" if line else b"")
            + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )  # fmt: skip
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1])


LISTS = [
    ["partner", "list"], ["grant", "list"], ["terms", "list"], ["terms", "acceptances"],
    ["assessment", "list"], ["key", "list"], ["lock", "list"], ["receipt", "list"],
    ["alert", "list"], ["call", "list"], ["audit", "list"],
]  # fmt: skip


def printed(rig: Rig, capfd: Any, *words: str) -> str:
    """Run `pilotctl` in this process; return what it wrote to standard output."""
    capfd.readouterr()
    code = main(list(words), rig.env)
    out, err = capfd.readouterr()
    assert code == 0, (words, err)
    assert not hidden_in(err)
    return str(out)


def test_json_gives_every_text_back_exactly(
    rig: Rig, went: Went, strings: list[str], capfd: Any
) -> None:
    for words in LISTS:
        out = printed(rig, capfd, *words, "--limit", "0", "-o", "json")
        assert not hidden_in(out), words
        items = json.loads(out)["items"]
        for place, wanted in went.items():
            listed, _, field = place.partition(":")
            if listed == " ".join(words):
                missing = set(wanted) - {item[field] for item in items}
                assert not missing, (place, missing)
    agents = {each.encode().translate(None, NOT_IN_A_HEADER).decode() for each in strings}
    calls = json.loads(printed(rig, capfd, "call", "list", "--limit", "0", "-o", "json"))["items"]
    kept = {item["user_agent"] for item in calls}
    assert {each.strip()[:200] for each in agents} <= kept


@pytest.mark.parametrize("format", ["table", "csv", "jsonl", "name"])
def test_nothing_written_acts_hides_or_reorders(
    rig: Rig, went: Went, capfd: Any, format: str
) -> None:
    for words in LISTS:
        out = printed(rig, capfd, *words, "--limit", "0", "-o", format)
        assert len(out) > 40, words
        assert not hidden_in(out), (words, hidden_in(out))


def test_csv_has_no_formula_and_one_line_a_row(rig: Rig, went: Went, capfd: Any) -> None:
    out = printed(rig, capfd, "grant", "list", "--limit", "0", "-o", "csv", "--fields", "purpose")
    rows = out.splitlines()[1:]
    assert len(rows) == len(rig.do("grant.list", limit="0").items)
    cells = [row.strip('"') for row in rows]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]


def test_single_things_too(rig: Rig, went: Went, capfd: Any) -> None:
    shown = [
        ["terms", "show", next(e.id for e in rig.do("terms.list").items if e.version == 2)],
        *(["grant", "show", each.id] for each in rig.do("grant.list", limit="8").items),
        *(["lock", "show", each.id] for each in rig.do("lock.list", limit="8").items),
        *(["assessment", "show", each.id] for each in rig.do("assessment.list", limit="4").items),
        *(["receipt", "show", each.id] for each in rig.do("receipt.list", limit="4").items),
        *(["call", "explain", each.id] for each in rig.do("call.list", limit="20").items),
        *(["audit", "show", each.id] for each in rig.do("audit.list", limit="10").items),
        *(["alert", "show", each.id] for each in rig.do("alert.list").items),
    ]
    for words in shown:
        for way in ("table", "json", "csv"):
            out = printed(rig, capfd, *words, "-o", way)
            # A text of many lines keeps its tabs where it is shown alone.
            assert not hidden_in(out) - {"\t"}, (words, way, hidden_in(out))
    whole = json.loads(printed(rig, capfd, *shown[0], "-o", "json"))
    assert whole["text"] == went["terms list:text"][0]


@pytest.mark.parametrize("format", ["table", "csv", "json"])
def test_a_terminal_gets_nothing_of_it_either(rig: Rig, went: Went, format: str) -> None:
    for words in (["grant", "list"], ["call", "list"], ["lock", "list"]):
        on = Terminal([*words, "--limit", "60", "-o", format], {**rig.env, "NO_COLOR": "1"})
        assert on.ended() == 0, on.text
        assert len(on.text) > 100
        # the one sequence that is ours names a column of a table
        text = re.sub(r"\x1b\[\d+G\x1b\[K", "", on.text) if format == "table" else on.text
        assert not hidden_in(text.replace("\r\n", "\n")), (words, format)


def test_events_with_hostile_text_are_valid_ocsf_and_the_log_verifies(rig: Rig, went: Went) -> None:
    events = rig.logged()
    assert faults_of(events) == []
    assert rig.json("audit", "verify")["good"]


def test_nul_is_refused_where_text_goes(rig: Rig) -> None:
    before = rig.changes()
    body = {"target": {"kind": "partner", "id": "acme"}, "reason": "a\u0000b"}
    done = rig.cli("api", "POST", "gateway/v1/locks", "--data", json.dumps(body), "--yes")
    assert (done.exit, "reason" in done.err) == (2, True)
    assert rig.changes() == before
