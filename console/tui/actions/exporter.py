"""What the operator carries away: what is shown as a file, a command or an id as a copy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from console.errors import PilotError
from console.present.cells import width
from console.tui.actions.actions import Acting
from console.tui.actions.export_file import Shown, save, shown_object, shown_rows, target
from console.tui.dialogs.copy_dialog import SENT, Copied
from console.tui.link.form_values import cli_line, params_of
from console.tui.terminal.clipboard import fault, sequence
from console.tui.views.list_views import ROWS, item_type
from console.tui.widgets.background import begin


class Carrying(Acting):
    """The frame, with what leaves it for the operator's own hands."""

    # copies

    def copy_text(self, text: str) -> None:
        """Send `text` to the terminal's clipboard, and show it: nobody says whether it came."""
        why = fault(text, os.environ)
        if not why and not self.send(sequence(text, os.environ)):
            why = "the link is behind; again when it has caught up"
        self.open_screen(Copied(self.palette, text, why, self.take_key))
        self.say(f"not copied: {why}" if why else f"{SENT}: {text}", "bad" if why else "")

    def copy_command(self) -> None:
        """Copy the command that shows the same."""
        self.copy_text(self.command_here())

    def copy_id(self) -> None:
        """Copy the id of what is under the cursor."""
        subject = self.subject
        if subject is None or (subject.noun in ROWS and not getattr(subject.value, "id", "")):
            self.say("nothing here has an id")
        else:
            self.copy_text(subject.id)

    def command_here(self) -> str:
        """Return the command that shows what is in front: a list, an object, or this view."""
        place = self.place
        if place.subject is not None and place.subject.noun in ROWS and len(self.places) > 1:
            place = self.places[-2]  # a row that no command shows: its list does
        now = datetime.now(UTC)
        try:
            if place.subject is not None:
                op = self.registry.show_op(place.subject.noun)
                if op is not None:
                    return cli_line(op, params_of(op, {op.subject: place.subject.id}, now))
            elif place.view is not None and len(place.view.sources) == 1:
                source = place.view.sources[0]
                asked = source.asks(place.raw)
                values = {**source.raw, **({} if asked is None else asked)}
                return cli_line(source.op, params_of(source.op, values, now))
        except PilotError:
            pass  # what it was asked is no command's: the console's own line leads here
        return f"pilotctl :{place.command}"

    # files

    def export_rows(self) -> None:
        """Save what is shown as CSV, into the state folder."""
        self.save_shown([])

    def save_shown(self, words: Sequence[str]) -> None:
        """Save what is shown as `:save` was told: a format, a path, both or neither."""
        kind, path = target(words)
        dumps = self._state_folder / "dumps" if self._state_folder else None
        begin(self, partial(self._save, self.shown(), kind, path, dumps))

    def shown(self) -> Shown:
        """Return what is in front, as data: the rows in their order, or the object."""
        place = self.place
        if place.view is not None:
            view, table = place.view, self.table
            kind = item_type(view.sources[0].op) if view.joined is None else None
            return shown_rows(place.title, table.columns, table.rows, table.now, kind)
        value = place.subject.value if place.subject is not None else None
        return shown_object(place.title, value, self.reading.lines)

    async def _save(self, shown: Shown, format: str, path: str, dumps: Path | None) -> None:
        try:
            file = await asyncio.to_thread(save, shown, format, path, dumps)
        except PilotError as error:
            self.say(error.message, "bad")
            return
        count = len(shown.rows)
        what = "1 object" if shown.single else f"{count:,} row{'' if count == 1 else 's'}"
        self.link.note(f"saved {what}: {file}", "good")
        room = self.size.width - width(what) - 10
        self.say(f"saved {what}: {_ending(str(file), room)}", "good")


def _ending(path: str, room: int) -> str:
    """Return a path cut at its front: its end is what tells files apart."""
    while width(path) > room and len(path) > 1:
        path = "…" + path.lstrip("…")[1:]
    return path
