"""What the operator does: keys, commands, filters, and acting on what is under the cursor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from textual.widget import Widget

from console.config.bindings import Binding
from console.errors import PilotError
from console.model.ids import is_id
from console.model.operator import Direction
from console.present.cells import width
from console.tui.actions.exporter import Carrying
from console.tui.app.key_queue import Keyed
from console.tui.app.screen_commands import KEYS, LOCK_WORDS, MOVES, OWN, TABLE_MOVES
from console.tui.app.user_bindings import settle
from console.tui.dialogs.command_palette import Anything, Choice
from console.tui.link.form_values import Doable, from_words, why_not
from console.tui.link.subjects import SUBJECT_OF, lock_target
from console.tui.places import saved_screen
from console.tui.places.place import Place
from console.tui.places.typed_command import Command, nearest, parse
from console.tui.views.list_views import ROWS, narrowed
from console.tui.views.own_tables import own_view
from console.tui.views.story_reader import fields_of
from console.tui.widgets.entry import Entry, pressed
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Lines, Subject


class Help(NamedTuple):
    """A line of the help that runs what it says."""

    key: str
    command: str
    what: str
    why: str
    run: Callable[[], None]


class Console(Carrying, Keyed):
    """The console, steered."""

    def __init__(
        self, *args: Any, opening: str = "", bindings: Iterable[Binding] = (), **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._opening = opening
        self.custom = settle(bindings, self.registry.by_id, self.views)
        self.registry.rekey(self.custom.keys)
        self._bar = ""
        self._filter_before = ""
        self._history: list[str] = []
        self._recalled = 0

    def first_place(self) -> None:
        """Land on what needs someone."""
        self.entry.changed = self._entry_changed
        if self.views:
            self.go("now")
        self._remember()
        if self._opening:
            self.run_command(self._opening)
        self.tell_wrong(self.custom.wrong)

    def _remember(self) -> None:
        """Go where the operator was last time; a command to open with goes before that."""
        if self._state_folder is None or not self.views:
            return
        kept, wrong = saved_screen.load(saved_screen.file_of(self._state_folder, self.link.name))
        if kept is not None:
            self._history = kept.history
            if not self._opening:
                wrong = saved_screen.restore(self, kept)
        if wrong:
            self.say(wrong, "bad")

    async def on_unmount(self) -> None:
        """Keep where the operator is, for the next start."""
        if self._state_folder is not None and self.places:
            with contextlib.suppress(OSError):
                file = saved_screen.file_of(self._state_folder, self.link.name)
                saved_screen.keep(saved_screen.of_place(self.places, self._history), file)

    # keys

    def take_key(self, key: str, character: str | None) -> None:
        """Take a key: into the open bar, else to move, else to act."""
        if self.bar_open:
            self._bar_key(key, character)
            return
        key = pressed(key, character)
        if not self._navigate(key) and not self.view_key(key) and not self._operate(key):
            hotkey = self.custom.hotkeys.get(key)
            if hotkey is not None:
                self.run_command(hotkey.value)

    def _navigate(self, key: str) -> bool:
        do = MOVES.get(key)
        if do is None and isinstance(self.body, Table):
            do = TABLE_MOVES.get(key)
        if do is None:
            return False
        do(self)
        return True

    def step_back(self) -> None:
        """Clear the filter, then the marks, then go back."""
        place = self.place
        if place.view is not None and place.state.filter:
            self.table.set_filter("")
        elif place.state.marks:
            self.table.clear_marks()
        elif not self.back():
            self.say(":q leaves the console")

    def sort_next(self) -> None:
        """Sort by the next column; after the last, leave the rows as they came."""
        names = [column.name for column in self.table.columns]
        state = self.table.state
        at = names.index(state.sort) + 1 if state.sort in names else 0
        if at < len(names):
            self.table.set_sort(names[at])
        else:
            state.sort = ""
            self._fill_table()
        self.say(f"sorted by {state.sort}; S turns it round" if state.sort else "as it came")

    def sort_turn(self) -> None:
        """Turn the order round."""
        if self.table.state.sort:
            self.table.set_sort(self.table.state.sort)

    def _operate(self, key: str) -> bool:
        found = self.registry.for_key(key, self.subject, self.noun, self.link)
        if found is None:
            return False
        self.begin(found.op, found.subject)
        return True

    def on_table_moved(self) -> None:
        """What can be done depends on the row; the key that moved there had the frame drawn."""
        if self.message:
            self.message = []
            self.draw_frame()

    def on_reading_moved(self) -> None:
        """As for a table."""
        self.on_table_moved()

    # bars

    def open_bar(self, sigil: str, typed: str = "") -> None:
        """Turn the hint line into the `:` or `/` bar, with something typed already."""
        if sigil == "/" and not isinstance(self.body, Table):
            self.say("a reading has no filter; :calls, :audit and the other tables do")
            return
        self._bar = sigil
        self._recalled = len(self._history)
        self._filter_before = self.table.state.filter
        self.query_one("#sigil", Lines).set([[Ink(f" {sigil}", "key")]])
        self.query_one("#hint", Widget).display = False
        self.query_one("#bar", Widget).display = True
        self.entry.set(self._filter_before if sigil == "/" else typed)
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
        if self._bar == "/" and self.search_log():
            return
        if self._bar == ":" and line:
            self._history = [*(each for each in self._history if each != line), line][-100:]
            self.run_command(line)

    def _offers(self) -> list[str]:
        typed = self.entry.value.lstrip()
        names = [
            *self.views,
            *OWN,
            *self.custom.aliases,
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
        command = self.custom.expanded(parse(line))
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
                nouns = [op.noun for op in self.registry.by_id.values()]
                known = [*self.views, *OWN, *self.custom.aliases, *nouns]
                near = nearest(command.name, list(dict.fromkeys(known)))
                hint = f"; nearest: {', '.join(near[:3])}" if near else "; ? lists what there is"
                self.say(f"no view or command {command.name!r}{hint}", "bad")
        except KeyError as error:
            self.say(f":{command.name} does not take {error.args[0]!r}", "bad")
        except PilotError as error:
            self.say(f":{command.name}: {error.message}", "bad")

    def _view_named(self, name: str) -> str | None:
        if name in self.views:
            return name
        return next((key for key, view in self.views.items() if name in view.aliases), None)

    def _go_command(self, view: str, command: Command) -> None:
        words, noun = command.words, self.views[view].noun
        singular = len(words) == 1 and (command.name not in self.views or is_id(words[0]))
        subject = Subject(SUBJECT_OF.get(noun, noun), words[0]) if singular else None
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
        raw, left = narrowed(view, words, options or {}) if view.sources else ({}, "")
        place = Place(view.name, view, raw)
        place.state.filter = " ".join(each for each in (left, filter) if each)
        if not raw and not place.state.filter:
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
        elif place.view is not None and (drill := place.view.opens(row, place.raw)) is not None:
            if drill.view:
                self.go(drill.view, (), drill.options)
            else:
                self.say(drill.why)
        elif self.subject is not None and self.subject != place.subject:
            self.open_subject(self.subject)

    def open_subject(self, subject: Subject) -> None:
        """Open the story of a subject."""
        place = Place(subject.noun, subject=subject)
        if subject.value is not None:
            place.lines = fields_of(subject.value, max(20, self.size.width - 2))
        self.enter(place)

    # what keys of a view do

    def begin_named(self, name: str) -> None:
        """Begin an operation by its id."""
        self.begin(self.registry.by_id[name], self.subject)

    # the console's own

    def help(self) -> None:
        """List what can be done here, to search and to run."""
        rows = [
            *self._helped(), *self._helped_custom(), *self._helped_views(), *self._helped_own()
        ]  # fmt: skip
        members = ("key", "command", "what", *(("why",) if any(row.why for row in rows) else ()))
        view = own_view("help", "What can be done here", members)
        self.enter(Place("help", view, local=lambda: rows))

    def _helped(self) -> list[Help]:
        subject = self.subject
        view = self.place.view
        own = [
            Help(each.key, each.label, each.what, "", partial(self.press_view_key, each.key))
            for each in (view.keys if view is not None else ())
        ]
        return own + [
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

    def _helped_custom(self) -> list[Help]:
        """The operator's own, as the configuration has them."""
        custom = self.custom
        rows = [
            Help(key, f":{each.value}", f"hotkey ({each.place})", "",
                 partial(self.run_command, each.value))
            for key, each in custom.hotkeys.items()
        ]  # fmt: skip
        return rows + [
            Help("", f":{name}", f"alias: {each.value} ({each.place})", "",
                 partial(self.run_command, name))
            for name, each in custom.aliases.items()
        ]  # fmt: skip

    def _helped_views(self) -> list[Help]:
        return [
            Help("", f":{name}", view.title, "", partial(self.go, name))
            for name, view in self.views.items()
        ]

    def _helped_own(self) -> list[Help]:
        lock = self.registry.by_id.get("lock.add")
        lock_key = (lock.key,) if lock is not None and lock.key else ()
        keys = [
            Help("", key, what, "", lambda: None)
            for key, what in (*((key, LOCK_WORDS) for key in lock_key), *KEYS)
        ]
        return keys + [
            Help("", f":{name}", what, "", partial(do, self, Command(name, [], {}, "")))
            for name, (what, do) in OWN.items()
        ]

    def anything(self) -> None:
        """Open the palette: every operation, view and command of the screen."""
        here = {each.op.id: each for each in self._here(self.subject)}
        choices = [
            Choice(
                f"{op.noun} {op.verb}", op.summary, op.key, why_not(op, self.link),
                partial(self.begin, op, here[op.id].subject if op.id in here else None),
            )
            for op in sorted(self.registry.by_id.values(), key=lambda op: op.id not in here)
        ]  # fmt: skip
        own = [each for each in self._helped_own() if each.command.startswith(":")]
        rest = [*self._helped_custom(), *self._helped_views(), *own]
        choices += [Choice(each.command, each.what, each.key, each.why, each.run) for each in rest]
        self.open_screen(Anything(self.palette, choices))

    def command_log(self) -> None:
        """Show every request that was made by hand, and the command that does the same."""
        nothing = (
            "Nothing was sent yet.",
            "What you do is listed here, as the command that does it.",
        )
        view = own_view("log", "What was sent, newest first", ("at", "text"), nothing)
        self.enter(Place("log", view, local=lambda: self.link.log[::-1]))

    def hints(self, room: int) -> Line:
        """Return the hint line: what can be done here, what cannot in grey, help at its end."""
        tail: Line = [Ink("  : ", "key"), Ink("go  "), Ink("/ ", "key"), Ink("filter  "),
                      Ink("? ", "key"), Ink("all ")]  # fmt: skip
        left = room - sum(width(ink.text) for ink in tail) - 1
        line: Line = [Ink(" ")]
        parts: list[tuple[str, str, str]] = [("enter", "open", "")]
        view = self.place.view
        parts += [(each.key, each.label, "") for each in (view.keys if view is not None else ())]
        # what the operator set comes before the many that are set for everybody
        parts += [(key, each.value, "") for key, each in self.custom.hotkeys.items()]
        seen = {"", *(key for key, _, _ in parts)}
        for each in self._hinted():
            if each.op.key in seen:
                continue
            seen.add(each.op.key)
            parts.append((each.op.key, each.op.verb if each.op.subject else each.op.title.lower(),
                          each.why))  # fmt: skip
        for key, what, why in parts:
            # in brackets too: grey cannot be seen on every ground
            said = f"{key} ({what})" if why else f"{key} {what}"
            cells = width(said) + 2
            if cells > left:
                break
            token = "dim" if why else ""
            line += [Ink(key, token or "key"), Ink(f"{said[len(key) :]}  ", token)]
            left -= cells
        return [*line, Ink(" " * max(0, left)), *tail]

    def _hinted(self) -> list[Doable]:
        """Return what the row in front is for: its own verbs alone, and its lock if it has one."""
        subject, view = self.subject, self.place.view
        wanted = view.hinted if view is not None else ()
        own = [
            each
            for each in self._here(subject)
            if each.op.id == "lock.add"
            or not each.op.subject
            or (subject is not None and each.op.subject == subject.noun)
        ]
        if subject is None or subject.noun in ROWS or not lock_target(subject)[0]:
            own = [each for each in own if each.op.id != "lock.add"]
        return sorted(own, key=lambda each: (each.op.verb not in wanted, *_closes_first(each)))


def _closes_first(one: Doable) -> tuple[bool, int, bool]:
    """Return what sorts the lock first, then everyday verbs, what else closes, and the rest."""
    rank = _EVERYDAY.index(one.op.verb) if one.op.verb in _EVERYDAY else len(_EVERYDAY)
    return one.op.id != "lock.add", rank, one.op.direction is not Direction.CLOSES


_EVERYDAY = ("acknowledge", "close", "revoke")
"""Verbs that are on the hint line of a narrow terminal."""
