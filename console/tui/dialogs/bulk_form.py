"""The dialogue of an operation on the marked rows: one plan of all, one confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from console.errors import ExitCode, PilotError
from console.model.operator import Direction
from console.operations.spec import Effect, Operation
from console.operations.values import parse
from console.present.cells import fit
from console.present.safe import safe
from console.tui.dialogs.dialog import Dialogue
from console.tui.dialogs.operation_form import PLACEHOLDER, PLAN_PAUSE, Confirmed
from console.tui.link.api_link import Link
from console.tui.link.form_values import cli_line, raw_of
from console.tui.link.marked_rows import (
    Chosen,
    Item,
    Prepared,
    asked_of,
    line_of,
    reach,
    refused,
    together,
)
from console.tui.theme.palette import Palette
from console.tui.widgets.background import begin, ready
from console.tui.widgets.buttons import Buttons, go
from console.tui.widgets.entry import Entry
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, wrap

AT_ONCE = 4
"""Plans that are asked for at the same time."""
BESIDE = 12
"""Lines of the screen that are not the list of what is acted on."""


class Agreed:
    """What the operator agreed to: the items that are sent, and those that are not and why."""

    def __init__(
        self, op: Operation, sent: list[tuple[Item, Confirmed]], held: list[Prepared]
    ) -> None:
        self.op = op
        self.sent = sent
        self.held = held


class Bulk(Dialogue):
    """The dialogue of one operation on several things."""

    CSS = """
    Bulk { align: center middle; background: transparent; }
    Bulk > Vertical { width: 92%; max-width: 100; height: auto; max-height: 100%;
                      background: $background; border: solid $foreground; padding: 0 1; }
    Bulk Horizontal { height: 1; }
    Bulk .label { height: 1; width: 14; }
    Bulk #title, Bulk #keys { height: 1; }
    Bulk #items, Bulk #sum { height: auto; }
    """

    def __init__(
        self,
        op: Operation,
        link: Link,
        palette: Callable[[], Palette],
        chosen: Chosen,
        *,
        hiding: str,
        done: Callable[[Agreed | None], None],
    ) -> None:
        super().__init__()
        self.op = op
        self._link = link
        self._palette = palette
        self._chosen = chosen
        self._filter = hiding
        self._done = done
        self._asked = asked_of(op, chosen.items)
        self._prepared: list[Prepared] = []
        self._planned: dict[str, str] | None = None
        self._fault = ""
        self._top = 0

    def compose(self) -> ComposeResult:
        """Lay out title, items, what they reach together, fields, count and buttons."""
        with Vertical():
            yield Lines(self._palette, id="title")
            yield Lines(self._palette, id="items")
            yield Lines(self._palette, id="sum")
            for field in self._asked:
                with Horizontal():
                    label = Lines(self._palette)
                    label.add_class("label")
                    label.set([[Ink(field.flag.replace("-", " ").capitalize(), "title")]])
                    yield label
                    yield Entry(self._palette, ghost=field.param.help, id=f"field-{field.name}")
            with Horizontal(id="count-row"):
                label = Lines(self._palette, id="count-label")
                label.add_class("label")
                yield label
                yield Entry(self._palette, id="count")
            yield Buttons(self._palette, self.op.title.split()[0].lower())
            yield Lines(self._palette, id="keys")

    def on_mount(self) -> None:
        """Start with the first thing to fill in; with nothing to fill in, on Cancel."""
        count = len(self._chosen.items)
        self.part("title", Lines).set(
            [[Ink(f"{self.op.title}: {count} marked", "title")]]
        )  # fmt: skip
        self.part("count-row", Horizontal).display = False
        self.part("keys", Lines).set(
            [[Ink("tab", "key"), Ink(" on  "), Ink("pgdn pgup", "key"), Ink(" the list  "),
              Ink("esc", "key"), Ink(" cancel")]]
        )  # fmt: skip
        entries = list(self.query(Entry))
        self.set_focus(entries[0] if self._asked else self.part("buttons", Buttons))
        for each in entries:
            each.changed = self._entry_changed
        self._replan()
        self._hold()
        ready(self)

    # filling in

    def _typed(self) -> dict[str, str]:
        return {field.name: self.part(f"field-{field.name}", Entry).value for field in self._asked}

    def _entry_changed(self, entry: Entry) -> None:
        if entry.id not in {"count", "field-reason"}:
            self._replan()
        self._hold()

    def take(self, key: str, character: str | None) -> None:
        """Take a key: into the field in focus, else to move, else to press."""
        at = self.focused
        if key == "escape":
            self._leave(None)
        elif (isinstance(at, Entry) and at.edit(key, character)) or (
            isinstance(at, Buttons) and at.choose(key)
        ):
            self._hold()
        elif isinstance(at, Buttons) and key == "enter":
            if at.yes:
                self._agree()
            elif not at.meant:
                self._leave(None)
        elif key in {"pagedown", "pageup"}:
            self._top += self._most * (1 if key == "pagedown" else -1)
            self._draw()
        elif key in {"tab", "down", "enter"}:
            go(self, 1)
        elif key in {"shift+tab", "up"}:
            go(self, -1)

    def take_paste(self, text: str) -> None:
        """Take a paste into the field in focus."""
        if isinstance(self.focused, Entry):
            self.focused.insert(text)

    # the plan of all

    def _replan(self) -> None:
        typed = {name: value for name, value in self._typed().items() if name != "reason"}
        if typed == self._planned:
            return
        self._planned = typed
        self._prepared = []
        self._draw()
        begin(self, partial(self._prepare, typed), "plan")

    async def _prepare(self, typed: dict[str, str]) -> None:
        await asyncio.sleep(PLAN_PAUSE if typed else 0)
        if any(field.name == "reason" for field in self._asked):
            typed = {**typed, "reason": PLACEHOLDER}
        room = asyncio.Semaphore(AT_ONCE)

        async def one(item: Item) -> Prepared:
            async with room:
                return await self._one(item, typed)

        self._prepared = list(await asyncio.gather(*map(one, self._chosen.items)))
        wanted = self._wanted
        self.part("count-row", Horizontal).display = bool(wanted)
        self.part("count-label", Lines).set([[Ink("Type "), Ink(wanted, "title"), Ink(":")]])
        if wanted and isinstance(self.focused, Buttons):
            # As in one dialogue: whoever went past the fields types what is asked for now.
            self.set_focus(self.part("count", Entry))
        self._draw()
        self._hold()

    async def _one(self, item: Item, typed: dict[str, str]) -> Prepared:
        try:
            params = line_of(self.op, item, typed, datetime.now(UTC))
            if self.op.plan is None:
                return Prepared(item)
            flow = self.op.plan(params)
            return Prepared(item, await self._link.read(flow, awaited_api=self.op.awaited_api))
        except PilotError as error:
            if self.op.direction is Direction.CLOSES and error.exit is ExitCode.UNAVAILABLE:
                return Prepared(item, fault=error.message, blind=True)
            return Prepared(item, fault=refused(error))

    @property
    def _sendable(self) -> list[Prepared]:
        return [each for each in self._prepared if not each.fault or each.blind]

    @property
    def _wanted(self) -> str:
        """The count that must be typed; empty where nothing must."""
        far = any(each.blind or (each.plan and each.plan.name) for each in self._sendable)
        return str(len(self._sendable)) if far or self.op.effect is Effect.DESTRUCTIVE else ""

    def _hold(self) -> None:
        why = ""
        raw = raw_of(self.op, self._typed())
        for field in self._asked:
            if field.name not in raw:
                why = f"{field.flag} is needed"
                break
            try:
                parse(field, raw[field.name], now=datetime.now(UTC))
            except PilotError as error:
                why = f"{field.flag}: {error.message}"
                break
        passing = not why and not self._prepared
        if not self._prepared:
            why = "the plan is not there yet"
        elif not self._sendable:
            why = "none of them can be"
        elif not why and self._wanted and self.part("count", Entry).value != self._wanted:
            why = f"type {self._wanted} first"
        self._fault = why
        self.part("buttons", Buttons).hold(why, passing=passing)

    # drawing

    @property
    def _room(self) -> int:
        return max(20, min(100, self.app.size.width * 92 // 100) - 4)

    @property
    def _most(self) -> int:
        return max(2, self.app.size.height - BESIDE - len(self._asked) - self._summed)

    @property
    def _summed(self) -> int:
        return len(self._sum())

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        planned = {id(each.item): each for each in self._prepared}
        lines = [self._item(item, planned.get(id(item))) for item in self._chosen.items]
        most = self._most
        self._top = max(0, min(self._top, len(lines) - most))
        shown = lines[self._top : self._top + most]
        if len(lines) > most:
            last = self._top + len(shown)
            shown.append([Ink(f"{self._top + 1} to {last} of {len(lines)}", "dim")])
        self._put("items", shown)
        self._put("sum", self._sum())

    def _put(self, name: str, lines: Sequence[Line]) -> None:
        box = self.part(name, Lines)
        box.styles.height = len(lines)
        box.set(lines)

    def _item(self, item: Item, prepared: Prepared | None) -> Line:
        said, token = "planning …", "dim"
        if prepared is not None and prepared.blind:
            said, token = f"its reach is not known: {prepared.fault}", "mark"
        elif prepared is not None and prepared.fault:
            said, token = f"not sent: {prepared.fault}", "bad"
        elif prepared is not None:
            said, token = reach(prepared.plan) if prepared.plan else "", ""
        hidden = [Ink("hidden  ", "mark")] if item.hidden else []
        return [Ink(fit(safe(item.name), 26, "left") + "  "), *hidden, Ink(said, token)]

    def _sum(self) -> list[Line]:
        out: list[Line] = []
        plans = [each.plan for each in self._prepared if each.plan is not None]
        if words := together(plans):
            out += [[Ink(line, "title")] for line in wrap(f"Together: {words}", self._room, "  ")]
        elif plans:
            out.append([Ink(f"Together: {len(plans)} changes", "title")])
        if blind := sum(each.blind for each in self._prepared):
            said = f"Unknown: what {blind} of them would end could not be counted"
            out += [[Ink(line, "bad")] for line in wrap(said, self._room, "  ")]
        hidden = [item.name for item in self._chosen.items if item.hidden]
        if hidden:
            said = f"{len(hidden)} hidden by /{self._filter}: {', '.join(hidden)}"
            out += [[Ink(line, "mark")] for line in wrap(said, self._room, "  ")[:3]]
        if self._chosen.left_out:
            said = f"Marked, and not acted on: {', '.join(self._chosen.left_out)}"
            out += [[Ink(line, "mark")] for line in wrap(said, self._room, "  ")[:3]]
        final = next((plan.irreversible for plan in plans if plan.irreversible), "")
        if final:
            out += [[Ink(line, "bad")] for line in wrap(f"Cannot be undone: {final}", self._room)]
        return out

    # the end

    def _leave(self, agreed: Agreed | None) -> None:
        self.app.pop_screen()
        self._done(agreed)

    def _agree(self) -> None:
        self._hold()
        if self._fault:
            return
        typed = self._typed()
        now = datetime.now(UTC)
        sent: list[tuple[Item, Confirmed]] = []
        for each in self._sendable:
            params: Any = line_of(self.op, each.item, typed, now)
            line = cli_line(self.op, params)
            sent.append((each.item, Confirmed(self.op, params, each.plan, line)))
        held = [each for each in self._prepared if each.fault and not each.blind]
        self._leave(Agreed(self.op, sent, held))
