"""A table on a terminal keeps its columns, whatever cells the terminal gives a name."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.cli.output import Output
from console.cli.stderr import Stderr
from console.cli.table import table_lines
from console.cli.terminal import Terminal
from console.model.access import PilotText, Stage
from console.operations.pilot_toml import write
from console.present.cells import Certainty, anchored, certainty, char_width, width
from console.present.columns import Column
from console.present.safe import is_safe, safe, toml_escaped
from tests.tui.odd_terminal import OddTerminal

NAMES = ["plain", "हिन्दी", "\u1112\u1161\u11ab", "🇩🇪🇫🇷", "a🏻a🏻", "தமிழ்", "e\u0301", "漢字", "①Ω"]
NAME = st.sampled_from(NAMES) | st.text(st.sampled_from("".join(NAMES)), max_size=12)


class Row(NamedTuple):
    name: str
    calls: int
    state: str


COLUMNS = (
    Column("name", lambda row: row.name, 0),
    Column("calls", lambda row: str(row.calls), 0, align="right"),
    Column("state", lambda row: row.state, 0),
)
ROWS = st.lists(st.builds(Row, NAME, st.integers(0, 99999), st.sampled_from(["VERIFIED", "no"])),
                min_size=1, max_size=5)  # fmt: skip


def table(rows: list[Row], room: int | None) -> list[str]:
    return table_lines(rows, COLUMNS, datetime.now(UTC), room)[0]


@settings(max_examples=60)
@given(ROWS, st.integers(0, 2))
@example([Row("\u1112\u1161\u11ab", 1, "no"), Row("🇩🇪", 22, "VERIFIED")], 2)
@example([Row("á\u0301\u0301\u0301Ώ\u0301\u0301", 0, "no")], 2)
def test_every_fact_stands_under_its_head_in_every_terminal(rows, odd):
    def taken(char: str) -> int:
        if certainty(char) is Certainty.SURE:
            return char_width(char)
        return odd if char_width(char) == 0 else max(1, odd)

    lines = table(rows, 78)
    terminal = OddTerminal(80, len(lines), taken)
    terminal.feed("\r\n".join(map(anchored, lines)))
    head = lines[0]
    calls, state = head.index("CALLS"), head.index("STATE")
    for row, cells in zip(rows, terminal.cells[1:], strict=True):
        shown = [text[:1] for text, _ in cells]
        assert "".join(shown[state : state + 8]).strip() == row.state
        assert "".join(shown[state - 2 - 5 : state - 2]).strip() == str(row.calls)
        assert calls < state


@given(st.text(max_size=30))
def test_what_is_anchored_says_the_same_and_no_other_control(text):
    line = safe(text)
    assert re.sub(r"\x1b\[[0-9]{1,3}G\x1b\[K", "", anchored(line)) == line


def test_only_a_terminal_that_moves_a_cursor_is_told_where_columns_are(capfdbinary):
    line = "हिन्दी  1"

    def written(terminal: Terminal, text: str = line) -> str:
        Output(terminal, Stderr(terminal)).lines([text])
        return capfdbinary.readouterr().out.decode()

    assert written(Terminal(stdout_tty=True)) == f"हिन्दी\x1b[{width('हिन्दी') + 1}G\x1b[K  1\n"
    assert written(Terminal(stdout_tty=True, dumb=True)) == f"{line}\n"
    assert written(Terminal()) == f"{line}\n"
    wide = line + "x" * 80
    assert written(Terminal(stdout_tty=True), wide) == f"{wide}\n"


ODD_TITLES = [
    "\u3164\u2800 \u034f", "\u0301x", "e" + "\u0301" * 9, "\U000e0041\u202e", "ᄒ\u1161\u1160",
    '"\\', "a\nb\u2028\x0b",
]  # fmt: skip


@given(st.text(min_size=1, max_size=20) | st.sampled_from(ODD_TITLES))
def test_an_exported_pilot_hides_nothing_and_is_read_back_as_it_was(title):
    stage = Stage(key="limited", most_partners=1, longest_grant_seconds=60, criteria=[title])
    pilot = PilotText(
        slug="aurora", title=title, models=["a"], grace_seconds=60, content="off",
        stages=[stage], capabilities={},
    )  # fmt: skip
    shown = toml_escaped(write(pilot))
    assert all(map(is_safe, shown.split("\n")))
    assert tomllib.loads(shown) == tomllib.loads(write(pilot))
    assert tomllib.loads(shown)["title"] == title
