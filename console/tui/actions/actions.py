"""Acting: from a key or a command to the dialogue, to the APIs, to what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from console.api.flow import Report, Waiting
from console.errors import ExitCode, PilotError
from console.model.content import CallContent
from console.operations.spec import Effect, Operation
from console.present.diff import difference_lines
from console.tui.dialogs.bulk_form import Agreed, Bulk
from console.tui.dialogs.bulk_results import Followed, Part, Results
from console.tui.dialogs.operation_form import Act, Confirmed
from console.tui.dialogs.write_progress import Doing, SecretShown
from console.tui.link.form_values import asked, cli_line, first_values, params_of, said_of, why_not
from console.tui.link.marked_rows import Chosen, chosen
from console.tui.places.place import Place
from console.tui.places.reader import Reads
from console.tui.views.story_reader import fields_of
from console.tui.widgets.background import begin
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import ReadLine, Subject

LOOK_AGAIN_SECONDS = 3.0
MANY_AT_ONCE = 4
"""Writes of one confirmation that are on their way at the same time."""


class Acting(Reads):
    """The frame, with operations that can be begun and are seen through."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writes: dict[asyncio.Task[None], str] = {}
        """What is on its way: its command, or nothing once it has been answered."""
        self._turns: list[Subject] = []
        self._of = 1
        self._leaving = False
        self.look_again = LOOK_AGAIN_SECONDS
        self.unanswered_at_end: list[str] = []

    def show_text(self, title: str, lines: Sequence[ReadLine]) -> None:
        """Put some lines in front, to be read."""
        self.enter(Place(title, lines=list(lines)))

    def begin(
        self, op: Operation, subject: Subject | None, values: Mapping[str, str] | None = None
    ) -> None:
        """Open the dialogue of an operation, or say why it cannot be done."""
        if why := why_not(op, self.link):
            self.say(f"{op.title}: {why}", "bad")
            return
        self._turns = []
        if values is None and op.effect is not Effect.READ and self._of_marked(op):
            found = self._chosen(op)
            if not found.items:
                self.say(f"{op.title}: none of the marked rows has what it acts on", "bad")
                return
            if not op.secret:
                self._open_bulk(op, found)
                return
            subject, *self._turns = [item.subject for item in found.items]
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

    def _of_marked(self, op: Operation) -> bool:
        """Whether `op` acts on the marked rows: there are some, and it acts on rows."""
        place = self.place
        about_rows = bool(op.subject) or op.id == "lock.add"
        return about_rows and place.view is not None and bool(self.table.marked)

    def _chosen(self, op: Operation) -> Chosen:
        """Return what the marked rows come to, for `op`; those that a filter hides say so."""
        view = self.place.view
        assert view is not None
        shown = {view.row_id(row) for row in self.table.rows}
        ids = [(row, view.row_id(row)) for row in self.table.marked]
        return chosen(op, [(view.subject(row), own, own not in shown) for row, own in ids])

    def _open_bulk(self, op: Operation, found: Chosen) -> None:
        self.open_screen(
            Bulk(
                op,
                self.link,
                self.palette,
                found,
                hiding=self.place.state.filter,
                done=self._agreed,
            )
        )

    def _agreed(self, agreed: Agreed | None) -> None:
        """Send each of what was agreed to, a few at a time."""
        if agreed is None:
            self.say("cancelled: nothing was sent")
            return
        results = Results(self.palette, agreed.op)
        for prepared in agreed.held:
            part = Part(agreed.op, prepared.item, results.draw)
            part.held(prepared.fault)
            results.parts.append(part)
        room = asyncio.Semaphore(MANY_AT_ONCE)
        place = self.place
        for item, confirmed in agreed.sent:
            part = Part(agreed.op, item, results.draw)
            results.parts.append(part)
            task = asyncio.get_running_loop().create_task(self._write_part(confirmed, part, room))
            self._writes[task] = confirmed.line
            task.add_done_callback(lambda done: self._writes.pop(done, None))
        results.closed = partial(self._unmark, place, results)
        self.open_screen(results)

    def _unmark(self, place: Place, results: Results) -> None:
        """Take the marks off what is done; what is not stays marked, to be tried again."""
        for part in results.parts:
            if part.good:
                place.state.marks -= part.item.rows
        self.table.refresh()
        good = all(part.good for part in results.parts)
        self.say(f"{results.op.title}: {results.words()}", "good" if good else "bad")

    async def _write_part(self, confirmed: Confirmed, part: Part, room: asyncio.Semaphore) -> None:
        await room.acquire()
        released = False

        def release() -> None:
            # one whose answer is lost is asked for again, and holds nobody up meanwhile
            nonlocal released
            if not released:
                released = True
                room.release()

        part.answered = release
        part.begun()
        self.link.note(f"$ {confirmed.line}", "title")
        try:
            await self._write(confirmed, part)
        finally:
            release()

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
            result = await self.link.read(op.run(confirmed.params, None), quiet=False)
        except PilotError as error:
            self.say(error.message + (f": {error.hint}" if error.hint else ""), "bad")
            return
        self.message = []
        room = max(20, self.size.width - 2)
        self.show_text(op.title, fields_of(result, room))

    async def _write(self, confirmed: Confirmed, doing: Followed) -> None:
        """Send a change and see it through: nobody cancels this."""
        op = confirmed.op
        key = ""
        while True:
            flow = op.run(confirmed.params, confirmed.plan)
            try:
                result = await self.link.write(
                    flow,
                    partial(self._heard, doing),
                    key=key,
                    awaited_api=op.awaited_api,
                    is_given_up=lambda: doing.given_up,
                )
            except PilotError as error:
                key = str(error.detail.get("idempotency_key", ""))
                unknown = error.code == "unknown-outcome" and bool(key)
                doing.fail(error, unknown=unknown)
                self.link.note(error.message, "bad")
                if unknown:
                    # the same key again: done once at most, and the answer says what became of it
                    await asyncio.sleep(self.look_again)
                    continue
                if isinstance(doing, Doing):
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

    def _heard(self, doing: Followed, step: Report) -> None:
        doing.report(step)
        task = asyncio.current_task()
        if task in self._writes and not isinstance(step.state, Waiting):
            # It was answered: what follows can be read again, so leaving loses nothing.
            self._writes[task] = ""

    def _failed(self, confirmed: Confirmed, error: PilotError) -> None:
        current = error.detail.get("current")
        subject = confirmed.plan.subject if confirmed.plan else None
        if error.exit is not ExitCode.CONFLICT or current is None or subject is None:
            return
        if changed := difference_lines(subject, current):
            lines = [ReadLine([Ink(error.message, "bad")]), ReadLine([])]
            self.show_text("what changed", [*lines, *(ReadLine([Ink(line)]) for line in changed)])

    def _done(self, op: Operation, result: Any, doing: Followed) -> None:
        if op.secret and isinstance(doing, Doing):
            self._hand_over(op, result, doing)
        elif isinstance(result, CallContent) and isinstance(doing, Doing) and doing.is_current:
            # It is long and meant to be read: the box of a write has no room for it.
            self.pop_screen()
            self.show_text(op.title, fields_of(result, max(20, self.size.width - 2)))
            self.link.note(f"{op.id}: {said_of(result)}", "good")
        else:
            doing.finish(result)
            self.link.note(f"{op.id}: {said_of(result)}", "good")
        self.reload()

    def _hand_over(self, op: Operation, result: Any, doing: Doing) -> None:
        secret = result
        for name in op.secret.split("."):
            secret = getattr(secret, name, None)
        after = doing.after if doing.is_current else _nothing
        if doing.is_current:
            self.pop_screen()
        if not isinstance(secret, str):
            self.say("issued before: the key itself was shown then, once")
            after()
            return
        notes = [f"use it at  {url}" for url in getattr(result, "base_urls", [])]
        self.open_screen(
            SecretShown(self.palette, f"{op.title}: {said_of(result)}", secret, notes, after)
        )
        self.link.note(f"{op.id}: {said_of(result)}", "good")

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


def _nothing() -> None:
    """Nothing comes after it."""
