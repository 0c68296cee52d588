"""Two operators on one thing: one wins, the other is told; the same request again is one."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.thread.pilot_rig import (
    Rig,
    accepted,
    granted,
    key_of,
    programme,
    running,
    short_folder,
    vetted,
)
from tests.thread.terminal import Terminal

FIRST = pwd.getpwuid(os.getuid()).pw_name
SECOND = "nobody" if os.geteuid() == 0 else FIRST
"""Root can be another user too. For anyone else the second operator is the same person."""

OPERATORS = f"""
[[operators]]
name = "{FIRST}"
roles = ["admin"]
"""
OPERATORS += '[[operators]]\nname = "nobody"\nroles = ["operator"]\n' if SECOND != FIRST else ""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home", more=OPERATORS) as rig:
        programme(rig)
        (folder / "home").chmod(0o711)
        yield rig


def second(rig: Rig, *words: str) -> Any:
    """Run a command as the second operator."""
    return rig.cli(*words, user=SECOND)


def mended_draft(rig: Rig, partner: str) -> str:
    """A draft of which nothing is missing any more."""
    vetted(rig, partner)
    rig.do("partner.create", slug=f"{partner}-2", name="Two", sponsor=FIRST,
           egress=["127.0.0.0/24"], reason="r")  # fmt: skip
    draft = granted(rig, f"{partner}-2")
    assert draft.state == "draft"
    rig.do("partner.verify", partner=f"{partner}-2", until="90d", evidence="e", reason="r")
    rig.do("terms.accept", pilot="aurora", partner=f"{partner}-2", signatory="s", evidence="e",
           reason="r")  # fmt: skip
    made = rig.do("assessment.create", partner=f"{partner}-2", capability="cyber.vuln-discovery",
                  assessor="risk", summary="low", valid_until="90d",
                  reason="r")  # fmt: skip
    accepted(rig, made.id)
    return str(draft.id)


def test_of_two_who_activate_one_draft_one_wins_and_the_other_sees_the_difference(rig: Rig) -> None:
    draft = mended_draft(rig, "doves")
    first = Terminal(["grant", "activate", draft, "--reason", "mine"], rig.env)
    first.expect("[y/N]")
    won = second(rig, "grant", "activate", draft, "--reason", "theirs", "--yes", "-o", "json")
    assert (won.exit, won.value["state"]) == (0, "active"), won
    first.type("y\n")
    assert first.ended() == 6
    for said in ("state", "draft", "active", "revision: 1 -> "):
        assert said in first.text.rpartition("[y/N]")[2], first.text
    assert f"changed by {SECOND}" in first.text, first.text
    if SECOND != FIRST:
        # the gateway's own acknowledgement came after, and does not hide who won
        assert f'updated_by: "{FIRST}" -> "{SECOND}"' in first.text, first.text
    let_on = rig.until(lambda: rig.events(action="grant.provision", target=draft))
    assert [(each.actor, each.reason) for each in let_on] == [(SECOND, "theirs")]


def test_of_many_at_once_on_the_same_revision_one_wins(rig: Rig) -> None:
    draft = mended_draft(rig, "herons")
    revision = str(rig.do("grant.show", grant=draft).revision)
    words = ("grant", "activate", draft, "--reason", "race", "--yes", "--revision", revision)
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(second if n % 2 else Rig.cli, rig, *words) for n in range(4)]
        done = [each.result() for each in sent]
    assert sorted(each.exit for each in done) == [0, 6, 6, 6], done
    assert len(rig.until(lambda: rig.events(action="grant.provision", target=draft))) == 1


def test_a_replayed_key_issue_has_one_effect_and_no_raw_key(rig: Rig, tmp_path: Path) -> None:
    vetted(rig, "larks")
    grant = granted(rig, "larks").id
    words = ("key", "issue", grant, "--reason", "r", "--yes", "--idempotency-key", "the-same-key",
             "-o", "json")  # fmt: skip
    first = rig.cli(*words, "--secret-file", str(tmp_path / "1"))
    again = rig.cli(*words, "--secret-file", str(tmp_path / "2"))
    piped = rig.cli(*words)
    raw = (tmp_path / "1").read_text().strip()
    assert [each.exit for each in (first, again, piped)] == [0, 0, 0]
    assert rig.call(raw).status_code in {200, 401}
    assert not (tmp_path / "2").exists()
    for each in (again, piped):
        assert raw not in each.out + each.err
        assert each.value["secret"] is None
        assert each.value["credential"]["id"] == first.value["credential"]["id"]
    assert "once" in rig.cli(*words[:-2]).err
    other = rig.cli("key", "issue", grant, "--reason", "another", "--yes", "--idempotency-key",
                    "the-same-key")  # fmt: skip
    assert (other.exit, raw in other.out + other.err) == (6, False)
    theirs = second(rig, *words)
    assert raw not in theirs.out + theirs.err
    mine = [each for each in rig.do("key.list", grant=grant).items if each.created_by == FIRST]
    assert len(mine) == (1 if SECOND != FIRST else len(mine))
    issued = rig.until(lambda: rig.events(action="key.issue", target=mine[0].id))
    assert len(issued) == 1


def test_the_same_key_at_once_mints_one_key(rig: Rig) -> None:
    vetted(rig, "terns")
    grant = granted(rig, "terns").id

    def issue(_: int) -> Any:
        return rig.do("key.issue", key="all-at-once", grant=grant, reason="r")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(issue, range(8)))
    assert len({each.credential.id for each in answers}) == 1
    assert len([each for each in answers if each.secret]) == 1
    assert len(rig.do("key.list", grant=grant).items) == 1


def test_revoking_twice_converges(rig: Rig) -> None:
    vetted(rig, "quails")
    grant = granted(rig, "quails").id
    _, raw = key_of(rig, grant)
    words = ("grant", "revoke", grant, "--reason", "over", "--confirm", "quails", "-o", "json")
    with ThreadPoolExecutor(2) as pool:
        sent = pool.submit(rig.cli, *words), pool.submit(second, rig, *words)
        both = [each.result() for each in sent]
    later = rig.cli(*words)
    for each in (*both, later):
        assert each.exit == 0, each
        assert (each.value["state"], each.value["target"]) == ("verified", grant)
        assert each.value["logged_at"]
    assert len({each.value["event_id"] for each in (*both, later)}) == 1
    assert len(rig.events(action="grant.revoke", target=grant)) == 1
    assert rig.call(raw).json()["error"]["code"] == "grant_revoked"
