"""What the operator does: keys, commands, filters, and acting on what is under the cursor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from textual.events import Event, Key, Paste
from textual.screen import Screen
from textual.widget import Widget

from console.api.flow import Report
from console.errors import ExitCode, PilotError
from console.model.traffic import UsageRow
from console.operations.spec import Effect, Operation
from console.present.cells import width
from console.present.diff import difference_lines
from console.tui.act import Act, Confirmed
from console.tui.app import Frame
from console.tui.command import Command, nearest, parse
from console.tui.entry import Entry
from console.tui.ink import Ink, Line
from console.tui.lines import Lines, ReadLine, Subject
from console.tui.operate import (
    Doable,
    asked,
    cli_line,
    first_values,
    from_words,
    params_of,
    said_of,
    why_not,
)
from console.tui.outcome import Doing, SecretShown
from console.tui.own import own_view
from console.tui.place import Place
from console.tui.story import fields_of
from console.tui.table import Table
from console.tui.views import narrowed
from console.tui.work import begin

LOOK_AGAIN_SECONDS = 3.0


class Help(NamedTuple):
    """A line of the help that runs what it says."""

    key: str
    command: str
    what: str
    why: str
    run: Callable[[], None]


class Console(Frame):
    """The console, steered."""

    def __init__(self, *args: Any, opening: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self._opening = opening
        self.unanswered_at_end: list[str] = []
        self._writes: dict[asyncio.Task[None], str] = {}
        self._bar = ""
        self._filter_before = ""
        self._history: list[str] = []
        self._recalled = 0
        self._leaving = False
        self._typed: deque[Key | Paste] = deque()
        self._coming: Screen[Any] | None = None
        self._turns: list[Subject] = []
        self._of = 1
        self.look_again = LOOK_AGAIN_SECONDS

    def first_place(self) -> None:
        """Land on what needs someone."""
        self.entry.changed = self._entry_changed
        if self.views:
            self.go("now")
        if self._opening:
            self.run_command(self._opening)

    def say(self, text: str, token: str = "") -> None:
        """Show a message on the hint line, until the next key."""
        self.message = [Ink(" "), Ink(text, token)]
        self.draw_frame()

    # keys

    async def on_event(self, event: Event) -> None:
        """Take keys here, one after another, whatever is in focus.

        Textual hands each key to the widget that has the focus when it arrives; what is typed
        ahead of a bar or a dialogue would run as commands.
        """
        if isinstance(event, Key | Paste) and self.places:
            self._typed.append(event)
            self._take_typed()
        else:
            await super().on_event(event)

    def screen_ready(self, screen: Screen[Any]) -> None:
        """Let a dialogue that was just opened have what was typed ahead."""
        if screen is self._coming:
            self._coming = None
            self.call_later(self._take_typed)

    def open_screen(self, screen: Screen[Any]) -> None:
        """Open a dialogue; keys wait until it can take them."""
        self._coming = screen
        self.push_screen(screen)

    def _take_typed(self) -> None:
        while self._typed and self._coming is None:
            event = self._typed.popleft()
            if isinstance(event, Paste):
                self._take_paste(event.text)
            else:
                self._take_key(event.key, event.character)
        self.draw_frame()

    def _take_paste(self, text: str) -> None:
        if len(self.screen_stack) > 1:
            paste = getattr(self.screen, "take_paste", None)
            if paste is not None:
                paste(text)
        elif self.bar_open:
            self.entry.insert(text)

    def _take_key(self, key: str, character: str | None) -> None:
        if key == "ctrl+l":
            self.redraw()
        elif key == "ctrl+z":
            self.action_suspend_process()
        elif key == "ctrl+q":
            self.leave_console()
        elif len(self.screen_stack) > 1:
            self.screen.take(key, character)  # type: ignore[attr-defined]  # all of ours do
        else:
            self.message = []
            if self.bar_open:
                self._bar_key(key, character)
            elif not self._navigate(key):
                self._operate(key, character)

    def _navigate(self, key: str) -> bool:
        body = self.body
        moves: dict[str, Callable[[], object]] = {
            "up": lambda: body.move(-1), "k": lambda: body.move(-1),
            "down": lambda: body.move(1), "j": lambda: body.move(1),
            "pageup": lambda: body.page(-1), "pagedown": lambda: body.page(1),
            "home": lambda: body.go(0), "end": lambda: body.go(10**9),
            "colon": lambda: self.open_bar(":"), "slash": lambda: self.open_bar("/"),
            "question_mark": self.help, "at": self.command_log,
            "enter": self.open_row, "escape": self._escape,
            "alt+left": self.back, "alt+right": self.forward,
            "ctrl+r": self.reload, "y": self.copy_command,
            "ctrl+c": lambda: self.say(":q leaves (or ctrl+q); esc goes back"),
        }  # fmt: skip
        if isinstance(body, Table):
            moves |= {
                "space": body.mark, "ctrl+space": body.mark_range,
                "ctrl+backslash": body.clear_marks,
                "s": self._sort_next, "S": self._sort_turn,
            }  # fmt: skip
        do = moves.get(key)
        if do is None:
            return False
        do()
        return True

    def _escape(self) -> None:
        place = self.place
        if place.view is not None and place.state.filter:
            self.table.set_filter("")
        elif place.state.marks:
            self.table.clear_marks()
        elif not self.back():
            self.say(":q leaves the console")

    def _sort_next(self) -> None:
        names = [column.name for column in self.table.columns]
        state = self.table.state
        at = names.index(state.sort) + 1 if state.sort in names else 0
        if at < len(names):
            self.table.set_sort(names[at])
        else:
            state.sort = ""
            self._fill_table()
        self.say(f"sorted by {state.sort}; S turns it round" if state.sort else "as it came")

    def _sort_turn(self) -> None:
        if self.table.state.sort:
            self.table.set_sort(self.table.state.sort)

    def _operate(self, key: str, character: str | None) -> bool:
        pressed = character if character and character.isprintable() else key
        found = self.registry.for_key(pressed, self.subject, self.noun, self.link)
        if found is None:
            return False
        self.begin(found.op, found.subject)
        return True

    def on_table_moved(self) -> None:
        """What can be done depends on the row."""
        self.message = []
        self.draw_frame()

    def on_reading_moved(self) -> None:
        """As for a table."""
        self.on_table_moved()

    # bars

    def open_bar(self, sigil: str) -> None:
        """Turn the hint line into the `:` or `/` bar."""
        if sigil == "/" and not isinstance(self.body, Table):
            self.say("a reading has no filter; :calls, :audit and the other tables do")
            return
        self._bar = sigil
        self._recalled = len(self._history)
        self._filter_before = self.table.state.filter
        self.query_one("#sigil", Lines).set([[Ink(f" {sigil}", "key")]])
        self.query_one("#hint", Widget).display = False
        self.query_one("#bar", Widget).display = True
        self.entry.set(self._filter_before if sigil == "/" else "")
        self.screen.set_focus(self.entry)

    def close_bar(self) -> None:
        """Turn it back."""
        self.query_one("#bar", Widget).display = False
        self.query_one("#hint", Widget).display = True
        self.screen.set_focus(self.body)

    def _bar_key(self, key: str, character: str | None) -> None:
        if self.entry.edit(key, character):
            return
        if key == "enter":
            self._bar_entered()
        elif key == "escape":
            if self._bar == "/":
                self.table.set_filter(self._filter_before)
            self.close_bar()
        elif key == "tab" and self._bar == ":":
            offers = self._offers()
            if offers:
                self.entry.set(offers[0] + " ")
        elif key in {"up", "down"} and self._bar == ":" and self._history:
            step = -1 if key == "up" else 1
            self._recalled = max(0, min(len(self._history), self._recalled + step))
            recalled = [*self._history, ""][self._recalled]
            self.entry.set(recalled)

    def _entry_changed(self, _: Entry) -> None:
        """Filter as it is typed."""
        if self.bar_open and self._bar == "/":
            self.table.set_filter(self.entry.value)

    def _bar_entered(self) -> None:
        """Run the command, or keep the filter."""
        line = self.entry.value.strip()
        self.close_bar()
        self.message = []
        if self._bar == ":" and line:
            self._history = [*(each for each in self._history if each != line), line][-100:]
            self.run_command(line)

    def _offers(self) -> list[str]:
        typed = self.entry.value.lstrip()
        names = [
            *self.views,
            *OWN,
            *(f"{op.noun} {op.verb}" for op in self.registry.by_id.values()),
        ]
        return [each for each in names if each.startswith(typed) and each != typed]

    def offered(self) -> Line:
        """Return what the `:` bar may become; tab takes the first."""
        if self._bar == "/":
            names = " ".join(f"{column.name}:" for column in self.table.columns)
            return [Ink(f" word  !word  {names} count>=10", "dim")]
        offers = self._offers()
        if not offers:
            return []
        return [Ink(" tab ", "key"), Ink("  ".join(offers), "dim")]

    # commands

    def run_command(self, line: str) -> None:
        """Do what a `:` line says."""
        command = parse(line)
        own = OWN.get(command.name)
        named = self.registry.named([command.name, *command.words])
        try:
            if own is not None:
                own[1](self, command)
            elif named is not None:
                op, words = named
                values = from_words(op, words, command.options)
                self.begin(op, self.subject, values)
            elif (view := self._view_named(command.name)) is not None:
                self._go_command(view, command)
            else:
                known = [*self.views, *OWN, *(op.noun for op in self.registry.by_id.values())]
                near = nearest(command.name, list(dict.fromkeys(known)))
                hint = f"; nearest: {', '.join(near[:3])}" if near else "; ? lists what there is"
                self.say(f"no view or command {command.name!r}{hint}", "bad")
        except KeyError as error:
            self.say(f":{command.name} does not take {error.args[0]!r}", "bad")

    def _view_named(self, name: str) -> str | None:
        if name in self.views:
            return name
        return next((key for key, view in self.views.items() if name in view.aliases), None)

    def _go_command(self, view: str, command: Command) -> None:
        singular = command.name not in self.views and len(command.words) == 1
        subject = Subject(self.views[view].noun, command.words[0]) if singular else None
        if subject is not None and self.registry.show_op(subject.noun) and not command.options:
            self.open_subject(subject)
        else:
            self.go(view, command.words, command.options, command.filter)

    def go(
        self,
        name: str,
        words: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        filter: str = "",
    ) -> None:
        """Go to a view. A top view without arguments starts the crumbs anew."""
        view = self.views[name]
        raw = narrowed(view, words, options or {}) if view.sources else {}
        place = Place(view.name, view, raw)
        place.state.filter = filter
        if not raw and not filter:
            same = next((each for each in self.places if each.name == name and not each.raw), None)
            if same is not None:
                place = same
            self.leave()
            self.places.clear()
        self.enter(place)

    def open_row(self) -> None:
        """Open what is under the cursor."""
        place = self.place
        row = self.table.current if place.view is not None else None
        if isinstance(row, Help):
            self.back()
            row.run()
        elif isinstance(row, UsageRow):
            by = str(place.raw.get("by", "partner"))
            option = {"key": "credential"}.get(by, by)
            if option in {"partner", "grant", "credential", "model"}:
                self.go("calls", (), {option: row.group})
            else:
                self.say(f"calls cannot be narrowed to a {by}")
        elif self.subject is not None and self.subject != place.subject:
            self.open_subject(self.subject)

    def open_subject(self, subject: Subject) -> None:
        """Open the story of a subject."""
        place = Place(subject.noun, subject=subject)
        if subject.value is not None:
            place.lines = fields_of(subject.value, max(20, self.size.width - 2))
        self.enter(place)

    def show_text(self, title: str, lines: Sequence[ReadLine]) -> None:
        """Put some lines in front, to be read."""
        self.enter(Place(title, lines=list(lines)))

    # acting

    def begin(
        self, op: Operation, subject: Subject | None, values: Mapping[str, str] | None = None
    ) -> None:
        """Open the dialogue of an operation, or say why it cannot be done."""
        if why := why_not(op, self.link):
            self.say(f"{op.title}: {why}", "bad")
            return
        self._turns = []
        if values is None and op.effect is not Effect.READ and subject is not None:
            subject, *self._turns = self._marked(op) or [subject]
        self._of = 1 + len(self._turns)
        filled = {**first_values(op, subject), **(values or {})}
        if op.effect is Effect.READ and not asked(op, filled):
            self._ask(op, filled)
            return
        self._open_act(op, filled, whole=False)

    def _open_act(self, op: Operation, values: Mapping[str, str], *, whole: bool) -> None:
        turn = f"  ({self._of - len(self._turns)} of {self._of} marked)" if self._of > 1 else ""
        self.open_screen(
            Act(
                op, self.link, self.palette, values, whole=whole, done=self.act_done, turn=turn,
                again=lambda typed: self._open_act(op, typed, whole=True),
            )
        )  # fmt: skip

    def _marked(self, op: Operation) -> list[Subject]:
        """Return what the marked rows are about, where `op` acts on that."""
        view = self.place.view
        if view is None or not self.place.state.marks:
            return []
        found = [view.subject(row) for row in self.table.marked]
        return [each for each in found if each is not None and op.subject in {"", each.noun}]

    def _next_turn(self, confirmed: Confirmed) -> None:
        """Go on to the next marked row: each has its own plan and its own confirmation."""
        if not self._turns:
            return
        subject = self._turns.pop(0)
        values = first_values(confirmed.op, subject)
        reason = getattr(confirmed.params, "reason", "")
        self._open_act(confirmed.op, {**values, "reason": reason}, whole=False)

    def _ask(self, op: Operation, values: Mapping[str, str]) -> None:
        try:
            params = params_of(op, values, datetime.now(UTC))
        except PilotError as error:
            self.say(error.message, "bad")
            return
        self.act_done(Confirmed(op, params, None, cli_line(op, params)))

    def act_done(self, confirmed: Confirmed | None) -> None:
        """Send what was agreed to."""
        if confirmed is None:
            left = f", and not for {len(self._turns)} more" if self._turns else ""
            self._turns = []
            self.say(f"cancelled: nothing was sent{left}")
            return
        self.link.note(f"$ {confirmed.line}", "title")
        if confirmed.op.effect is Effect.READ:
            begin(self, partial(self._answer, confirmed))
            return
        doing = Doing(
            self.palette, confirmed.op, confirmed.line, partial(self._next_turn, confirmed)
        )
        self.open_screen(doing)
        task = asyncio.get_running_loop().create_task(self._write(confirmed, doing))
        self._writes[task] = confirmed.line
        task.add_done_callback(lambda done: self._writes.pop(done, None))

    async def _answer(self, confirmed: Confirmed) -> None:
        op = confirmed.op
        self.say(f"{op.title} …")
        try:
            result = await self.link.read(
                op.run(confirmed.params, self.link.session.engines, None), quiet=False
            )
        except PilotError as error:
            self.say(error.message + (f": {error.hint}" if error.hint else ""), "bad")
            return
        self.message = []
        room = max(20, self.size.width - 2)
        self.show_text(op.title, fields_of(result, room))

    async def _write(self, confirmed: Confirmed, doing: Doing) -> None:
        """Send a change and see it through: nobody cancels this."""
        op = confirmed.op
        key = ""
        while True:
            flow = op.run(confirmed.params, self.link.session.engines, confirmed.plan)
            try:
                result = await self.link.write(flow, partial(self._heard, doing), key=key)
            except PilotError as error:
                key = str(error.detail.get("idempotency_key", ""))
                unknown = error.code == "unknown-outcome" and bool(key)
                doing.fail(error, unknown=unknown)
                self.link.note(error.message, "bad")
                if unknown:
                    # the same key again: done once at most, and the answer says what became of it
                    await asyncio.sleep(self.look_again)
                    continue
                self._failed(confirmed, error)
                return
            except Exception as error:
                words = self.note_bug(error)
                doing.fail(
                    PilotError("bug", f"{words}: what was sent may have been done; look"),
                    unknown=False,
                )
                return
            self._done(op, result, doing)
            return

    def _heard(self, doing: Doing, step: Report) -> None:
        doing.report(step)
        task = asyncio.current_task()
        if task in self._writes:
            # It was answered: what follows can be read again, so leaving loses nothing.
            self._writes[task] = ""

    def _failed(self, confirmed: Confirmed, error: PilotError) -> None:
        current = error.detail.get("current")
        subject = confirmed.plan.subject if confirmed.plan else None
        if error.exit is ExitCode.CONFLICT and current is not None and subject is not None:
            lines = [ReadLine([Ink("It changed since you looked:", "bad")]), ReadLine([])]
            lines += [ReadLine([Ink(line)]) for line in difference_lines(subject, current)]
            self.show_text("what changed", lines)

    def _done(self, op: Operation, result: Any, doing: Doing) -> None:
        if op.secret:
            self._hand_over(op, result, doing)
        else:
            doing.finish(result)
            self.link.note(f"{op.id}: {said_of(result)}", "good")
        self.reload()

    def _hand_over(self, op: Operation, result: Any, doing: Doing) -> None:
        secret = result
        for name in op.secret.split("."):
            secret = getattr(secret, name, None)
        if doing.is_current:
            self.pop_screen()
        if not isinstance(secret, str):
            self.say("issued before: the key itself was shown then, once")
            return
        notes = [f"use it at  {url}" for url in getattr(result, "base_urls", [])]
        self.open_screen(SecretShown(self.palette, f"{op.title}: {said_of(result)}", secret, notes))
        self.link.note(f"{op.id}: {said_of(result)}", "good")

    # the console's own

    def help(self) -> None:
        """List what can be done here, to search and to run."""
        rows = [*self._helped(), *self._helped_views(), *self._helped_own()]
        view = own_view("help", "What can be done here", ("key", "command", "what", "why"))
        self.enter(Place("help", view, local=lambda: rows))

    def _helped(self) -> list[Help]:
        subject = self.subject
        return [
            Help(
                each.op.key, f"{each.op.noun} {each.op.verb}", each.op.summary, each.why,
                partial(self.begin, each.op, each.subject),
            )
            for each in self._here(subject)
        ]  # fmt: skip

    def _here(self, subject: Subject | None) -> list[Doable]:
        here = self.registry.here(subject, self.noun, self.link)
        lock = self.registry.by_id.get("lock.add")
        if lock is not None and not any(each.op is lock for each in here):
            here.append(Doable(lock, subject, why_not(lock, self.link)))
        return here

    def _helped_views(self) -> list[Help]:
        return [
            Help("", f":{name}", view.title, "", partial(self.go, name))
            for name, view in self.views.items()
        ]

    def _helped_own(self) -> list[Help]:
        keys = [Help("", key, what, "", lambda: None) for key, what in KEYS]
        return keys + [
            Help("", f":{name}", what, "", partial(do, self, Command(name, [], {}, "")))
            for name, (what, do) in OWN.items()
        ]

    def command_log(self) -> None:
        """Show every request that was made by hand, and the command that does the same."""
        view = own_view("log", "What was sent, newest first", ("at", "text"))
        self.enter(Place("log", view, local=lambda: self.link.log[::-1]))

    def copy_command(self) -> None:
        """Copy the command that leads here, through the terminal (OSC 52)."""
        self.copy_to_clipboard(f":{self.place.command}")
        self.say(f"sent to the terminal's clipboard (unverified): :{self.place.command}")

    def hints(self, room: int) -> Line:
        """Return the hint line: what can be done here, what cannot in grey, help at its end."""
        tail: Line = [Ink("  : ", "key"), Ink("go  "), Ink("/ ", "key"), Ink("filter  "),
                      Ink("? ", "key"), Ink("all ")]  # fmt: skip
        left = room - sum(width(ink.text) for ink in tail) - 1
        line: Line = [Ink(" ")]
        parts: list[tuple[str, str, str]] = [("enter", "open", "")]
        seen = {""}
        here = self._here(self.subject)
        for each in sorted(here, key=lambda one: one.op.id != "lock.add"):
            if each.op.key in seen:
                continue
            seen.add(each.op.key)
            parts.append((each.op.key, each.op.verb if each.op.subject else each.op.title.lower(),
                          each.why))  # fmt: skip
        for key, what, why in parts:
            cells = width(key) + width(what) + 3
            if cells > left:
                break
            token = "dim" if why else ""
            line += [Ink(f"{key} ", token or "key"), Ink(f"{what}  ", token)]
            left -= cells
        return [*line, Ink(" " * max(0, left)), *tail]

    def leave_console(self) -> None:
        """Leave; with a write on its way, only when asked twice."""
        waiting = [line for line in self._writes.values() if line]
        if waiting and not self._leaving:
            self._leaving = True
            self.say(f"{len(waiting)} on its way; again to leave it unknown: {waiting[0]}", "bad")
            return
        self.end(0)

    def end(self, code: int) -> None:
        """Leave; what was sent and not answered is told on stderr afterwards."""
        self.unanswered_at_end = [line for line in self._writes.values() if line]
        super().end(code)


def _quit(console: Console, _: Command) -> None:
    console.leave_console()


def _write_mode(console: Console, _: Command) -> None:
    console.link.read_only = not console.link.read_only
    console.say("read-only for what opens" if console.link.read_only else "writing, this session")


def _net(console: Console, _: Command) -> None:
    count = console.count
    how = console.display_status
    console.say(
        f"{count.frames} frames, {count.dropped} held back, {count.sent:,} bytes; by {how.why}"
    )


def _theme(console: Console, command: Command) -> None:
    name = command.words[0] if command.words else ""
    palette = console.palettes.get(name)
    if palette is None:
        console.say(f"themes: {', '.join(console.palettes)}", "bad" if name else "")
        return
    console.palette_now = palette
    console.theme = palette.theme().name
    console.screen.refresh(layout=True)
    for widget in console.screen.query(Widget):
        widget.refresh()
    console.say(f"theme {name}")


def _sort(console: Console, command: Command) -> None:
    names = [column.name for column in console.table.columns]
    name = " ".join(command.words)
    if name in names:
        console.table.set_sort(name)
    else:
        console.say(f"columns: {', '.join(names)}", "bad" if name else "")


OWN: dict[str, tuple[str, Callable[[Console, Command], None]]] = {
    "help": ("what can be done here", lambda console, _: console.help()),
    "log": ("what was sent, and the commands that do the same",
            lambda console, _: console.command_log()),
    "write": ("lift or set read-only for what opens, this session", _write_mode),
    "net": ("frames and bytes sent to this terminal", _net),
    "theme": ("use another theme", _theme),
    "sort": ("sort by a column; the same again turns it round", _sort),
    "redraw": ("draw the whole screen again", lambda console, _: console.redraw()),
    "quit": ("leave", _quit),
    "q": ("leave", _quit),
}  # fmt: skip
"""The commands that are about the screen and not about the pilot."""

KEYS = (
    ("enter", "open what is under the cursor"),
    ("esc", "clear the filter, or go back as it was"),
    ("alt+left alt+right", "back and forward"),
    ("L", "lock whatever is under the cursor"),
    ("R", "revoke the grant or key under the cursor"),
    ("space ctrl+space", "mark, mark up to here"),
    ("ctrl+\\", "unmark all"),
    ("s S", "sort by the next column, turn the order round"),
    ("y", "copy the command that leads here"),
    ("@", "the command log"),
    ("ctrl+r ctrl+l", "read again, draw again"),
    ("ctrl+z ctrl+q", "suspend, leave"),
)
"""What keys do everywhere, for the help."""
