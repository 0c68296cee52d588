"""What the screen keeps from one start to the next: where the operator was, per profile.

It is a place and what was made of it, and the commands that were typed; never a row. A file
that cannot be read is left out, with a word.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

import msgspec

from console.private_files import make_private_folder
from console.tui.link.form_values import Registry
from console.tui.places.place import Place
from console.tui.views.list_views import ROWS, View, narrowed
from console.tui.widgets.text_lines import Subject

MAX_BYTES = 1 << 20
MAX_MARKS = 1000
MAX_HISTORY = 100


class Kept(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of one profile's screen."""

    version: Literal[1]
    view: str = ""
    raw: dict[str, str] = {}
    filter: str = ""
    sort: str = ""
    descending: bool = False
    cursor: str = ""
    """The id of the row under the cursor; empty to begin at the first."""
    index: int = 0
    follow: bool = False
    marks: list[str] = []
    noun: str = ""
    """Instead of a view: what was being read, by noun and id."""
    id: str = ""
    history: list[str] = []


def file_of(state: Path, profile: str) -> Path:
    """Return the file of a profile, in the state folder."""
    return state / "screen" / f"{quote(profile, safe='')}.json"


def load(file: Path) -> tuple[Kept | None, str]:
    """Return what was kept, and what is wrong with it in words."""
    try:
        with file.open("rb") as source:
            data = source.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return None, f"too long to be where you were, left out: {file}"
        return msgspec.json.decode(data, type=Kept), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, msgspec.DecodeError, ValueError):
        return None, f"where you were last time cannot be read, left out: {file}"


def keep(kept: Kept, file: Path) -> None:
    """Write what is kept, 0600, whole or not at all."""
    make_private_folder(file.parent)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "wb") as out:
            out.write(msgspec.json.encode(kept))
        part.replace(file)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def of_place(places: list[Place], history: list[str]) -> Kept:
    """Return what is kept: the last place that another start can lead back to."""
    typed = history[-MAX_HISTORY:]
    place = next((each for each in reversed(places) if _returns(each)), None)
    if place is None:
        return Kept(version=1, history=typed)
    if place.subject is not None:
        return Kept(version=1, noun=place.subject.noun, id=place.subject.id, history=typed)
    state = place.state
    # what needs someone is looked at from its top: it is another by then
    cursor = "" if place.name == "now" else state.cursor
    return Kept(
        version=1, view=place.name, raw=dict(place.raw), filter=state.filter, sort=state.sort,
        descending=state.descending, cursor=cursor, index=state.index if cursor else 0,
        follow=state.follow, marks=sorted(state.marks)[:MAX_MARKS], history=typed,
    )  # fmt: skip


def _returns(place: Place) -> bool:
    if place.subject is not None:
        return place.subject.noun not in ROWS
    return place.view is not None and place.local is None


class Navigator(Protocol):
    """What goes from place to place, and can show every view and subject."""

    @property
    def registry(self) -> Registry:
        """The operations that can be done."""

    @property
    def views(self) -> Mapping[str, View]:
        """The views by name."""

    @property
    def place(self) -> Place:
        """The place in front."""

    def enter(self, place: Place) -> None:
        """Put a place in front."""

    def open_subject(self, subject: Subject) -> None:
        """Put the story of a subject in front."""

    def show(self) -> None:
        """Show the place in front as it was left."""


def restore(navigator: Navigator, kept: Kept) -> str:
    """Go where the operator was, over what needs someone; return what is wrong with it."""
    if kept.noun and kept.id:
        if navigator.registry.show_op(kept.noun) is None:
            return f"there is no {kept.noun} to be shown here any more"
        navigator.open_subject(Subject(kept.noun, kept.id))
        return ""
    view = navigator.views.get(kept.view)
    if view is None:
        return f"there is no view {kept.view} any more" if kept.view else ""
    try:
        raw = narrowed(view, (), kept.raw)[0] if view.sources else {}
    except KeyError as error:
        return f"{kept.view} takes no {error.args[0]} any more"
    same = view.name == navigator.place.name and not raw
    place = navigator.place if same else Place(view.name, view, raw)
    state = place.state
    state.filter, state.sort, state.descending = kept.filter, kept.sort, kept.descending
    state.marks = set(kept.marks)
    if kept.cursor:
        state.cursor, state.index = kept.cursor, max(0, kept.index)
        state.tail, state.follow = view.tail is not None, kept.follow
    if same:
        navigator.show()
    else:
        navigator.enter(place)
    return ""
