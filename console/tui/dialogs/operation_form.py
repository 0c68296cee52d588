"""The dialogue of an operation: its form, its plan, its confirmation.

Nothing is sent before the plan has been on the screen. Cancel has the focus; where the
effect is destructive, the name must be typed. What is confirmed is handed to the app,
which sends it: closing this screen never stops a write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Resize

from console.api.flow import Report
from console.errors import ExitCode, PilotError
from console.model.operator import Direction
from console.operations.spec import Effect, Field, Operation, Plan, fields
from console.operations.values import parse
from console.present.cells import width
from console.present.columns import name_of
from console.present.plan import plan_lines
from console.tui.dialogs.dialog import Dialogue
from console.tui.link.api_link import Link
from console.tui.link.form_values import cli_line, near_line, params_of, raw_of
from console.tui.theme.palette import Palette
from console.tui.widgets.background import begin, ready
from console.tui.widgets.buttons import Buttons, go
from console.tui.widgets.entry import Entry
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, wrap

PLAN_PAUSE = 0.25
PLACEHOLDER = "-"
"""What the plan is asked with while the reason has not been typed: plans do not read it."""
MAX_NOTES = 3
"""Lines that say what is wrong with a value."""
BESIDE = 5
"""Lines of the dialogue that do not scroll: border, title, buttons, keys."""


class Confirmed(NamedTuple):
    """What the operator agreed to."""

    op: Operation
    params: Any
    plan: Plan | None
    line: str
    """The equivalent command."""


class Act(Dialogue):
    """The dialogue of one operation."""

    CSS = """
    Act { align: center middle; background: transparent; }
    Act > Vertical { width: 92%; max-width: 100; height: auto; max-height: 96%;
                     background: $background; border: solid $foreground; padding: 0 1; }
    Act VerticalScroll { height: auto; scrollbar-size: 0 0; }
    Act Horizontal { height: 1; }
    Act .label, Act #name-label { height: 1; }
    Act #keys { height: 1; }
    Act .note { height: 1; display: none; }
    Act .plan { height: auto; }
    Act #suggest { height: auto; max-height: 4; display: none; }
    Act #cli { height: auto; max-height: 3; margin-top: 1; }
    Act #title { height: 1; }
    """

    def __init__(
        self,
        op: Operation,
        link: Link,
        palette: Callable[[], Palette],
        values: Mapping[str, str],
        *,
        done: Callable[[Confirmed | None], None],
        again: Callable[[dict[str, str]], None],
        whole: bool = False,
        turn: str = "",
    ) -> None:
        super().__init__()
        self._turn = turn
        self._done = done
        self._again = again
        self.op = op
        self._link = link
        self._palette = palette
        self._values = dict(values)
        self._whole = whole
        self._plan: Plan | None = None
        self._planned: dict[str, Any] | None = None
        self._fault = ""
        self._planning = False
        self._blind = ""
        """What must be typed to send without a plan, where the plan cannot be had."""
        self._choices: dict[str, list[str]] = {}
        open_question = not any(values.get(f.name) for f in fields(op) if f.param.asked)
        self._asked = [
            field
            for field in fields(op)
            if whole
            or (field.required and field.name == "reason")
            or (field.required and not values.get(field.name))
            or (field.param.asked and open_question)
        ]

        labels = [width(_label(field)) for field in self._asked]
        self._label_room = max(12, *labels) + 2 if labels else 14

    # what it is made of

    def compose(self) -> ComposeResult:
        """Lay out title, plan, fields, command line and buttons."""
        with Vertical():
            yield Lines(self._palette, id="title")
            yield from self._composed_middle()
            yield Buttons(self._palette, self.op.title.split()[0].lower())
            yield Lines(self._palette, id="keys")

    def _composed_middle(self) -> ComposeResult:
        """Lay out what scrolls where the screen is too small for it: plan, fields, command."""
        with VerticalScroll(id="middle", can_focus=False):
            yield Lines(self._palette, id="plan")
            for field in self._asked:
                with Horizontal():
                    label = Lines(self._palette)
                    label.add_class("label")
                    label.styles.width = self._label_room
                    label.set([[Ink(_label(field), "title")]])
                    yield label
                    entry = Entry(
                        self._palette,
                        self._values.get(field.name, ""),
                        ghost=_ghost(field),
                        id=f"field-{field.name}",
                    )
                    yield entry
                note = Lines(self._palette, id=f"note-{field.name}")
                note.add_class("note")
                yield note
            with Horizontal(id="name-row"):
                yield Lines(self._palette, id="name-label")
                yield Entry(self._palette, id="name")
            yield Lines(self._palette, id="suggest")
            yield Lines(self._palette, id="cli")

    def on_resize(self, _: Resize) -> None:
        """Leave the title and the buttons on the screen, whatever the plan takes."""
        room = self.size.height * 96 // 100 - BESIDE
        for box in self.query(VerticalScroll):  # none before it is composed
            box.styles.max_height = max(3, room)

    def on_mount(self) -> None:
        """Start with the first thing to fill in; with nothing to fill in, on Cancel."""
        self.part("title", Lines).set([[Ink(self.op.title, "title"), Ink(self._turn, "mark")]])
        self.part("name-row", Horizontal).display = False
        self.part("plan", Lines).display = self.op.plan is not None
        self._show_keys()
        entries = list(self.query(Entry))
        first = next((each for each in entries if each.id != "name" and not each.value), None)
        self.set_focus(first or self.part("buttons", Buttons))
        for each in entries:
            each.changed = self._entry_changed
        self._refresh_texts()
        self._replan()
        ready(self)

    # filling in

    def _typed(self) -> dict[str, str]:
        values = dict(self._values)
        for field in self._asked:
            values[field.name] = self.part(f"field-{field.name}", Entry).value
        return values

    def _entry_changed(self, entry: Entry) -> None:
        """Check in place, and plan again where the plan would be another."""
        self._refresh_texts()
        if entry.id not in {"name", "field-reason"}:
            self._replan()

    def take(self, key: str, character: str | None) -> None:
        """Take a key: into the field in focus, else to move, else to press."""
        at = self.focused
        if key == "escape":
            self._leave(None)
        elif isinstance(at, Entry) and at.edit(key, character):
            self._refresh_texts()
        elif isinstance(at, Buttons) and at.choose(key):
            self._hold()
        elif isinstance(at, Buttons) and key == "enter":
            if not at.meant:
                self._press(yes=at.yes)
        elif key in {"tab", "down", "enter"}:
            if key == "tab":
                self._complete()
            # Enter goes on to the next field, and ends on Cancel: it never confirms.
            go(self, 1)
        elif key in {"shift+tab", "up"}:
            go(self, -1)
        elif key in {"pageup", "pagedown"}:
            by = 4 if key == "pagedown" else -4
            self.part("middle", VerticalScroll).scroll_relative(y=by, animate=False)
        elif key == "ctrl+t" and not self._whole:
            values = self._typed()
            self.app.pop_screen()
            self._again(values)

    def take_paste(self, text: str) -> None:
        """Take a paste into the field in focus."""
        if isinstance(self.focused, Entry):
            self.focused.insert(text)

    def _leave(self, confirmed: Confirmed | None) -> None:
        self.app.pop_screen()
        self._done(confirmed)

    def _complete(self) -> None:
        """Complete the field in focus, where what was typed begins only one name."""
        entry = self.focused
        if not isinstance(entry, Entry):
            return
        kept, typed = self._last(entry)
        whole = typed in self._known(entry)
        if typed and not whole and len(offered := self._offered(entry)) == 1:
            entry.set(kept + offered[0])

    def _field_of(self, entry: Entry) -> Field | None:
        name = (entry.id or "").removeprefix("field-")
        return next((each for each in self._asked if each.name == name), None)

    def _last(self, entry: Entry) -> tuple[str, str]:
        """Return what is completed, of a list its last item only, and what stands before it."""
        field = self._field_of(entry)
        if field is None or not field.param.repeats:
            return "", entry.value
        before, comma, last = entry.value.rpartition(",")
        return before + comma, last.strip()

    def _known(self, entry: Entry) -> list[str]:
        field = self._field_of(entry)
        if field is None:
            return []
        return list(field.param.choices) or self._choices.get(field.param.completes, [])

    def _offered(self, entry: Entry) -> list[str]:
        kept, typed = self._last(entry)
        held = {each.strip() for each in kept.split(",")}
        # what merely holds the letters somewhere is another name, and none that was meant
        return [each for each in self._known(entry) if each.startswith(typed) and each not in held]

    def on_descendant_focus(self) -> None:
        """Offer what the field in focus may be."""
        self._load_choices()
        self._refresh_texts()

    def _load_choices(self) -> None:
        entry = self.focused
        if not isinstance(entry, Entry):
            return
        field = self._field_of(entry)
        if field is None or not field.param.completes or field.param.completes in self._choices:
            return
        self._choices[field.param.completes] = []
        wanted = field.param.completes
        begin(self, partial(self._fetch_choices, wanted))

    async def _fetch_choices(self, id: str) -> None:
        op = getattr(self.app, "registry").by_id.get(id)  # noqa: B009  the app is known at run time
        if op is None:
            return
        try:
            params = params_of(op, {"limit": "200"}, datetime.now(UTC))
            page = await self._link.read(op.run(params, None))
        except PilotError:
            return
        self._choices[id] = [name_of(row) for row in page.items]
        self._refresh_texts()

    # saying how it stands

    def _refresh_texts(self) -> None:
        now = datetime.now(UTC)
        values = self._typed()
        self._fault = ""
        raw = raw_of(self.op, values)
        for field in self._asked:
            note = self.part(f"note-{field.name}", Lines)
            wrong = ""
            if field.name in raw:
                try:
                    parse(field, raw[field.name], now=now)
                except PilotError as error:
                    said = error.message.removeprefix(f"--{field.flag}: ")
                    wrong = said + (f": {error.hint}" if error.hint else "")
            pieces = wrap(wrong, self._room - 2)[:MAX_NOTES] if wrong else []
            note.display = bool(wrong)
            note.styles.height = max(1, len(pieces))
            note.set([[Ink(f"  {piece}", "bad")] for piece in pieces])
            if wrong or (field.required and field.name not in raw):
                fault = "cannot be that" if wrong else "is missing"
                self._fault = self._fault or f"{_label(field).lower()} {fault}"
        lines = wrap(near_line(self.op, values, now), self._room - 10, "  ")
        cli = self.part("cli", Lines)
        cli.styles.height = min(3, len(lines))
        cli.set(
            [[Ink("same as  " if at == 0 else "         ", "dim"), Ink(line)]
             for at, line in enumerate(lines[:3])]
        )  # fmt: skip
        self._suggest()
        self._hold()

    def _suggest(self) -> None:
        box = self.part("suggest", Lines)
        entry = self.focused
        offered = self._offered(entry) if isinstance(entry, Entry) else []
        if isinstance(entry, Entry) and offered == [entry.value]:
            offered = []
        box.display = bool(offered)
        more = f"  and {len(offered) - 12} more" if len(offered) > 12 else ""
        box.set(
            [[Ink("  tab  ", "key"), Ink("  ".join(offered[:12]) + more, "dim")]] if offered else []
        )

    def _hold(self) -> None:
        why = self._fault
        if not why and self.op.plan is not None and self._plan is None and not self._blind:
            why = "the plan is not there yet" if self._planning else "there is no plan"
        wanted = self._plan.name if self._plan else self._blind
        if not why and wanted and self.part("name", Entry).value != wanted:
            why = f"type {wanted} first"
        passing = self._planning and not self._fault
        self.part("buttons", Buttons).hold(why, passing=passing)

    def _replan(self) -> None:
        if self.op.plan is None:
            return
        values = self._typed()
        if "reason" in {field.name for field in fields(self.op)}:
            values["reason"] = PLACEHOLDER
        if values == self._planned:
            return
        self._planned = values
        self._plan = None
        self._blind = ""
        self._show_plan([[Ink("planning …", "dim")]])
        self._planning = True
        self._hold()
        begin(self, partial(self._make_plan, values), "plan")

    async def _make_plan(self, values: dict[str, str]) -> None:
        await asyncio.sleep(PLAN_PAUSE if len(self._asked) > 1 else 0)
        try:
            params = params_of(self.op, values, datetime.now(UTC))
        except PilotError as error:
            missing = error.code == "missing-value"
            self._show_plan(
                [[Ink("The plan comes when the form is filled in.", "dim")]]
                if missing
                else self._wrapped(error.message, "bad")
            )
            return
        assert self.op.plan is not None
        try:
            plan = await self._link.read(
                self.op.plan(params),
                awaited_api=self.op.awaited_api,
                on_report=self._plan_waits,
            )
        except PilotError as error:
            lines = self._wrapped(error.message, "bad")
            if error.hint:
                lines += self._wrapped(error.hint, "dim")
            if self.op.direction is Direction.CLOSES and error.exit is ExitCode.UNAVAILABLE:
                # What closes waits for nothing: it can be sent without its plan.
                said = [values.get(f.name, "") for f in fields(self.op) if f.param.positional]
                self._blind = next((each for each in reversed(said) if each), self.op.verb)
                self._ask_name(self._blind)
                lines += self._wrapped("What it reaches is not known. It can be sent.", "mark")
            self._show_plan(lines)
            return
        self._plan = plan
        self._show_plan(self._plan_ink(plan))
        self._ask_name(plan.name)

    def _plan_waits(self, step: Report) -> None:
        """Say what the plan waits for: nothing was sent, and Escape leaves it so."""
        self._show_plan(self._wrapped(step.text, "mark"))
        self._planning = True
        self._hold()

    def _ask_name(self, name: str) -> None:
        self.part("name-row", Horizontal).display = bool(name)
        label = self.part("name-label", Lines)
        label.styles.width = max(self._label_room, width(name) + 7)
        label.set([[Ink("Type "), Ink(name, "title"), Ink(":")]])
        if name and isinstance(self.focused, Buttons):
            # Whoever was past the fields before the plan came would type the name into a button.
            self.set_focus(self.part("name", Entry))
        self._hold()

    @property
    def _room(self) -> int:
        return max(20, min(100, self.size.width * 92 // 100) - 4)

    def _wrapped(self, text: str, token: str) -> list[Line]:
        return [[Ink(line, token)] for line in wrap(text, self._room)]

    def _plan_ink(self, plan: Plan) -> list[Line]:
        title, *rest = plan_lines(plan)
        self.part("title", Lines).set([[Ink(title, "title"), Ink(self._turn, "mark")]])
        out: list[Line] = []
        section = ""
        for line in rest:
            if not line.startswith(" ") and line.endswith(":"):
                section = line[:-1]
                continue
            head, body = (section, line.strip()) if line.startswith(" ") else ("", line)
            token = "bad" if line.startswith("Cannot") or section == "Missing" else ""
            room = self._room - (14 if line.startswith(" ") else 0)
            for at, piece in enumerate(wrap(body, room)):
                lead = f"{head if at == 0 else '':<14}" if line.startswith(" ") else ""
                out.append([Ink(lead, "dim"), Ink(piece, token)])
            section_done = line.startswith(" ")
            if section_done:
                section = "" if section != "Missing" else "Missing"
        return out

    def _show_plan(self, lines: list[Line]) -> None:
        box = self.part("plan", Lines)
        box.styles.height = max(1, len(lines)) + 1
        box.set(lines)
        self._planning = False
        self._hold()
        self.call_after_refresh(self._see_focus)

    def _show_keys(self) -> None:
        more = [] if self._whole else [Ink("  ctrl+t", "key"), Ink(" every parameter")]
        if any(box.max_scroll_y for box in self.query(VerticalScroll)):
            more = [Ink("  pgup pgdn", "key"), Ink(" the rest"), *more]
        keys = [Ink("tab", "key"), Ink(" on"), Ink("  esc", "key"), Ink(" cancel"), *more]
        self.part("keys", Lines).set([keys])

    def _see_focus(self) -> None:
        """Keep the field in focus on a screen too small for all of it."""
        if not self.is_open:
            return
        self._show_keys()
        if self.focused is not None:
            self.focused.scroll_visible(animate=False)

    # the end

    def _press(self, *, yes: bool) -> None:
        """Cancel, or hand over what was agreed to."""
        if not yes:
            self._leave(None)
            return
        now = datetime.now(UTC)
        try:
            params = params_of(self.op, self._typed(), now)
        except PilotError as error:
            self._show_plan(self._wrapped(error.message, "bad"))
            return
        if self.op.effect is not Effect.READ and self._plan is None and not self._blind:
            return
        self._leave(Confirmed(self.op, params, self._plan, cli_line(self.op, params)))


def _label(field: Field) -> str:
    return field.flag.replace("-", " ").capitalize()


def _ghost(field: Field) -> str:
    return field.param.help
