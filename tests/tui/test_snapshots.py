"""Pictures of the main screens over a pilot that stands still, one function a picture.

A screen that differs is shown beside its picture in `snapshot_report.html`. Look at it, then
accept it with `pytest tests/tui/test_snapshots.py --snapshot-update`. The README shows these files.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from still_pilot import StillPilot, an_id, stop_the_clock

from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.places import rows_view
from console.tui.theme.palette import load_all

TESTS = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "__snapshots__" / "test_snapshots"

NARROW, WIDE = (80, 24), (120, 40)
SETTLE_SECONDS = 60
OPERATIONS = all_operations()
PALETTES, _ = load_all()
FONT_FACES = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
FETCHED = re.compile(r"@font-face|@import|href=|url\((?!#)")


class SnapshotConsole(Console):
    """The console, whose picture depends on nothing but what it shows."""

    TITLE = "pilotctl"

    def export_screenshot(self, **options: Any) -> str:
        """Return the screen as SVG without fonts to fetch and without blanks at a line's end."""
        svg = FONT_FACES.sub("", super().export_screenshot(**options))
        return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"

    def first_place(self) -> None:
        """Land once the screen has its size: as many rows are proven as there is room for."""
        self.call_after_refresh(super().first_place)

    def is_read(self) -> bool:
        """Tell whether everything that the screen shows has been read and proven."""
        if not self.places:
            return False
        place = self.place
        sources = range(len(place.view.sources) if place.view is not None else 1)
        return (
            all(place.part(at).heard is not None for at in sources)
            and all(health.heard is not None for health in self.link.health.values())
            and self.link.health["audit"].proven >= 0
            and not self._proving
            and (not self._pane_room() or bool(self._pane_lines))
        )


@pytest.fixture
def frozen_clock() -> Iterator[None]:
    """Stop the clock, in UTC, and show the pane only once its story has been read."""
    with pytest.MonkeyPatch.context() as patch:
        stop_the_clock(patch)
        patch.setattr(rows_view, "PANE_PAUSE", 0)
        patch.setattr(rows_view, "PANE_WAIT_SECONDS", SETTLE_SECONDS)
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def matches_picture(snap_compare: Callable[..., bool], frozen_clock: None) -> Callable[..., bool]:
    """Return what tells whether the screen that a command opens is its test's picture."""

    def compare(command: str, size: tuple[int, int] = NARROW) -> bool:
        app = SnapshotConsole(StillPilot(), OPERATIONS, PALETTES, PALETTES["dark"], opening=command)

        async def settle(pilot: Any) -> None:
            """Wait until everything has been read and nothing changes any more."""
            end = time.monotonic() + SETTLE_SECONDS
            before: list[str] = []
            unchanged = 0
            while unchanged < 4:
                text = app._canvas.text()
                assert time.monotonic() < end, "\n".join(text)
                assert not app.message, app.message
                unchanged = unchanged + 1 if app.is_read() and text == before else 0
                before = text
                await pilot.pause(0.02)

        return snap_compare(app, terminal_size=size, run_before=settle)

    return compare


def test_now(matches_picture):
    assert matches_picture("now")


def test_now_wide(matches_picture):
    assert matches_picture("now", WIDE)


def test_alerts(matches_picture):
    assert matches_picture("alerts")


def test_alerts_wide(matches_picture):
    assert matches_picture("alerts", WIDE)


def test_alert(matches_picture):
    assert matches_picture(f"alert {an_id('alr', 0)}")


def test_partner(matches_picture):
    assert matches_picture("partner acme")


def test_pilot(matches_picture):
    assert matches_picture("pilot aurora")


def test_policy(matches_picture):
    assert matches_picture("policy")


def test_grants(matches_picture):
    assert matches_picture("grants")


def test_keys_wide(matches_picture):
    assert matches_picture("keys", WIDE)


def test_locks(matches_picture):
    assert matches_picture("locks")


def test_calls(matches_picture):
    assert matches_picture("calls")


def test_calls_of_nobody(matches_picture):
    assert matches_picture("calls nobody")


def test_usage(matches_picture):
    assert matches_picture("usage")


def test_usage_wide(matches_picture):
    assert matches_picture("usage", WIDE)


def test_usage_by_hour(matches_picture):
    assert matches_picture("usage by=hour since=24h")


def test_usage_of_a_week_wide(matches_picture):
    assert matches_picture("usage by=hour since=7d", WIDE)


def test_audit(matches_picture):
    assert matches_picture("audit")


def test_audit_wide(matches_picture):
    assert matches_picture("audit", WIDE)


def test_event(matches_picture):
    assert matches_picture(f"event {an_id('evt', 60)}")


def test_receipt_verified(matches_picture):
    assert matches_picture(f"receipt {an_id('rcp', 1)}")


def test_receipt_unverified(matches_picture):
    assert matches_picture(f"receipt {an_id('rcp', 2)}")


def test_every_picture_belongs_to_a_test():
    expected = {
        PICTURES / f"{name}.svg"
        for name, value in globals().items()
        if name.startswith("test_") and "matches_picture" in inspect.signature(value).parameters
    }
    found = {path for path in TESTS.rglob("__snapshots__/**/*") if path.is_file()}
    assert found <= expected, f"no test compares {sorted(found - expected)}"


def test_no_picture_fetches_anything():
    for path in PICTURES.iterdir():
        assert not FETCHED.search(path.read_text()), path.name
