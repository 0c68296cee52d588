"""Closing a pilot: one person, one write, for ever; with policy and audit down too."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from console.operations import closing
from tests.thread.pilot_rig import (
    Rig,
    assessed,
    capability,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)

WHY = "the programme is over"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home", points=2) as found:
        programme(found, partners=("acme", "globex"))
        other_pilot(found)
        yield found


def other_pilot(rig: Rig) -> None:
    """A second pilot, that goes on."""
    rig.do(
        "pilot.create", slug="borealis", title="Borealis", models=["aurora-1"],
        stages=["limited:most-partners=9,longest=90d"], reason=WHY,
    )  # fmt: skip
    capability(rig, "text.review", 1, pilot="borealis")
    file = str(rig.home.parent / "terms.txt")
    rig.do("terms.publish", pilot="borealis", title="Terms", text=file, reason=WHY)
    rig.do(
        "terms.accept", pilot="borealis", partner="acme", signatory="counsel", evidence="a copy",
        reason=WHY,
    )  # fmt: skip
    assessed(rig, "acme", "text.review")


def test_one_write_ends_everything_of_a_pilot_while_policy_and_audit_are_down(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # commands run in this process, and wait for the log in vain
    monkeypatch.setattr(closing, "LOG_SECONDS", 0.3)
    keys = [key_of(rig, granted(rig, partner).id)[1] for partner in ("acme", "globex")]
    _, living = key_of(rig, granted(rig, "acme", "text.review", pilot="borealis").id)
    draft = granted(rig, "globex", "text.review", pilot="borealis", models=["aurora-1"])
    assert draft.state == "draft"
    text = rig.ok("pilot", "export", "aurora")
    rig.logged()
    rig.stop("policy", "audit")
    # One person, who types the name; the plan says what ends.
    said = rig.cli("pilot", "close", "aurora", "--reason", WHY, "--yes")
    assert said.exit == 10, said.err
    assert "--confirm aurora" in said.err
    planned = rig.ok("pilot", "close", "aurora", "--reason", WHY, "--dry-run")
    assert "acme, globex" in planned
    assert "never used again" in planned
    closed = rig.cli(
        "pilot", "close", "aurora", "--reason", WHY, "--confirm", "aurora", "-o", "json"
    )
    assert closed.exit == 9, "ended and verified, and not yet in the log"
    receipt = json.loads(closed.out)
    assert receipt["state"] == "verified"
    assert receipt["credentials"] == 2
    for base in rig.points():
        assert {rig.call(key, base=base).status_code for key in keys} == {403}
        assert rig.call(living, base=base).status_code == 200
    rig.start("policy", "audit")
    rig.until(lambda: rig.do("pilot.show", pilot="aurora").state == "closed")
    states = {each.state for each in rig.do("grant.list", pilot="aurora", limit="0").items}
    assert states == {"revoked"}
    again = rig.do("pilot.close", pilot="aurora", reason="again")
    assert again.id == receipt["id"]
    assert again.state == "verified"
    assert again.log is not None
    refuses_the_slug(rig, text)
    assert {"pilot.close", "pilot.end"} <= set(rig.actions())


def refuses_the_slug(rig: Rig, text: str) -> None:
    """Nothing opens in a closed pilot, and nothing takes its name."""
    file = rig.home.parent / "aurora.toml"
    file.write_text(text)
    how = ("--reason", WHY, "--yes", "-o", "json")
    tries = [
        ("pilot", "create", "aurora", "--title", "Again", "--model", "aurora-1", "--stage",
         "limited:most-partners=1,longest=9d"),
        ("pilot", "import", str(file)),
        ("pilot", "stage", "aurora", "expanded:most-partners=9,longest=9d"),
        ("terms", "publish", "aurora", "--title", "T", "--file", str(file), "--reaccept-by", "1d"),
        ("capability", "create", "new.thing", "--title", "T", "--pilot", "aurora", "--category",
         "general", "--tier", "0", "--model", "aurora-1", "--route", "messages", "--longest", "9d"),
        ("grant", "create", "acme", "--pilot", "aurora", "--stage", "limited", "--capability",
         "cyber.vuln-discovery", "--model", "aurora-1", "--purpose", "x", "--expires", "9d"),
    ]  # fmt: skip
    for words in tries:
        done = rig.cli(*words, *how)
        assert done.exit == 6, (words, done.exit, done.err)
        assert "was closed" in done.err, (words, done.err)


def test_a_pilot_that_is_not_there_is_named_with_what_there_is(rig: Rig) -> None:
    done = rig.cli("pilot", "close", "nowhere", "--reason", WHY, "--confirm", "nowhere")
    assert done.exit == 3
    assert "knows no pilot 'nowhere'" in done.err
