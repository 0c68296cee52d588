"""What a restore replaces is moved aside, whole, but for what must not outlive its day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from console.services.backup.swap import PENDING, exchange, finish
from console.services.gateway.decision.content_crypto import ContentKeys, seal, unseal
from console.services.home import Home, prepare

DAY = date(2026, 3, 5)


def staged(home: Home) -> Path:
    """Make new keys ready, as where the log must begin anew."""
    staging = home.path / ".restore-1.ready"
    (staging / "keys").mkdir(parents=True)
    (staging / "keys" / "log.key").write_text("new")
    return staging


def test_the_keys_of_content_are_not_kept_aside_and_are_deleted_when_their_day_is_over(
    tmp_path: Path,
) -> None:
    home = prepare(tmp_path / "home")
    (home.keys / "log.key").write_text("old")
    sealed = seal(ContentKeys(home).public(DAY), "req_1", b"words")
    aside = home.path / ".replaced-1"

    exchange(home, staged(home), aside, ["keys"])

    assert (home.keys / "log.key").read_text() == "new"
    assert (aside / "keys" / "log.key").read_text() == "old"
    after = ContentKeys(home)
    private = after.private(DAY)
    assert private is not None
    assert unseal(private, "req_1", sealed) == b"words", "what is kept can be read until then"
    assert [path.parent for path in home.path.rglob("2026-*.key")] == [home.keys / "content"]
    after.delete_before(date(2026, 3, 6))
    assert list(home.path.rglob("2026-*.key")) == []


@pytest.mark.parametrize("moved", [0, 1])
def test_a_crash_among_the_moves_leaves_no_key_of_content_aside_once_it_is_finished(
    tmp_path: Path, moved: int
) -> None:
    home = prepare(tmp_path / "home")
    keys = ContentKeys(home)
    for day in (DAY, DAY.replace(day=6)):
        keys.public(day)
    staging, aside = staged(home), home.path / ".replaced-1"
    aside.mkdir()
    home.keys.rename(aside / "keys")
    (staging / "keys").rename(home.keys)
    if moved:  # the crash came after the first of them
        (home.keys / "content").mkdir()
        name = f"{DAY}.key"
        (aside / "keys" / "content" / name).rename(home.keys / "content" / name)
    said = {"staging": staging.name, "aside": aside.name, "names": ["keys"]}
    (home.path / PENDING).write_bytes(msgspec.json.encode(said))

    assert finish(home)

    found = sorted(path.relative_to(home.path) for path in home.path.rglob("2026-*.key"))
    assert found == [Path("keys/content") / f"2026-03-0{day}.key" for day in (5, 6)]
