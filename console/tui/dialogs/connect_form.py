"""The form that connects to a pilot elsewhere: typed, checked against it, written 0600."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from console.api.status import STATUS
from console.config.profile import Profile, Value
from console.config.profile_settings import BY_NAME, SETTINGS, Tier
from console.config.write import create_config
from console.errors import PilotError
from console.session.session import Session
from console.tui.dialogs.dialog import Dialogue
from console.tui.link.api_link import APIS, LOOK_SECONDS
from console.tui.theme.palette import Palette
from console.tui.widgets.background import begin
from console.tui.widgets.entry import Entry
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines


class Asked(NamedTuple):
    """One line of the form."""

    name: str
    label: str
    ghost: str
    value: str = ""


FORM = (
    Asked("profile", "profile", "a name for it", "pilot"),
    Asked("gateway", "gateway", "https://gateway.example.org or unix:/path"),
    Asked("policy", "policy", "https://policy.example.org or unix:/path"),
    Asked("audit", "audit", "https://audit.example.org or unix:/path"),
    Asked("tier", "tier", "development, staging or production", "production"),
    Asked("token", "token from", "none | file PATH | env NAME | command WORDS", "none"),
)


def token_of(text: str) -> dict[str, Any]:
    """Return the token source that a line of the form says; checked by the settings."""
    source, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    match source:
        case "file":
            return {"source": "file", "path": rest}
        case "env":
            return {"source": "env", "variable": rest}
        case "command":
            return {"source": "command", "argv": rest.split()}
        case "keyring":
            service, _, account = rest.partition(" ")
            given = {"service": service, "account": account.strip()}
            return {"source": "keyring", **{name: word for name, word in given.items() if word}}
        case _:
            return {"source": source}


def faults_of(typed: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with each line of the form; empty where it can be tried."""
    faults = {}
    name = typed["profile"]
    if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        faults["profile"] = "is not a plain word"
    for key in (*APIS, "tier"):
        value = typed[key]
        if fault := BY_NAME[key].check(value) if value else "is missing":
            faults[key] = fault
    if fault := BY_NAME["token"].check(token_of(typed["token"])):
        faults["token"] = fault
    return faults


def document_of(typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that the form says."""
    section: dict[str, Any] = {"tier": typed["tier"]}
    section |= {api: typed[api] for api in ("policy", "gateway", "audit")}
    if (token := token_of(typed["token"])) != {"source": "none"}:
        section["token"] = token
    if typed["tier"] == Tier.PRODUCTION:
        section["read_only"] = True
    return {"default_profile": typed["profile"], "profiles": {typed["profile"]: section}}


def profile_of(typed: Mapping[str, str], file: Path) -> Profile:
    """Return the profile that the form says, before it is written."""
    section = document_of(typed)["profiles"][typed["profile"]]
    values = {
        setting.name: Value(section.get(setting.name, setting.default), "typed")
        for setting in SETTINGS
    }
    return Profile(typed["profile"], "typed", True, values, file)


class Connect(Dialogue):
    """The form. Enter checks; what answers is written; what does not can be written anyway."""

    CSS = """
    Connect { align: center middle; background: transparent; }
    Connect > Vertical { width: 78; max-width: 100%; height: auto; max-height: 100%;
                         background: $background; border: solid $foreground; padding: 0 1; }
    Connect Horizontal { height: 1; }
    Connect .label { width: 12; height: 1; }
    Connect #head { height: 2; }
    Connect #said { height: 8; }
    """

    def __init__(
        self, palette: Callable[[], Palette], config: Path, done: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._palette = palette
        self._file = config
        self._done = done
        self._at = 0
        self._checked: dict[str, str] | None = None
        self._busy = False

    def compose(self) -> ComposeResult:
        """Lay out the lines of the form, and what is said of them."""
        with Vertical():
            head = Lines(self._palette, id="head")
            head.set([[Ink("Connect to a pilot", "title")]])
            yield head
            for asked in FORM:
                with Horizontal():
                    label = Lines(self._palette)
                    label.add_class("label")
                    label.set([[Ink(asked.label, "title")]])
                    yield label
                    yield Entry(
                        self._palette, asked.value, ghost=asked.ghost, id=f"field-{asked.name}"
                    )
            yield Lines(self._palette, id="said")

    def on_mount(self) -> None:
        """Begin with the first address."""
        self._entries = [self.part(f"field-{asked.name}", Entry) for asked in FORM]
        for entry in self._entries:
            entry.changed = lambda _: self._typed()
        self._go(1)
        self._typed()

    @property
    def values(self) -> dict[str, str]:
        """What is typed so far."""
        pairs = zip(FORM, self._entries, strict=True)
        return {asked.name: entry.value.strip() for asked, entry in pairs}

    def take(self, key: str, character: str | None) -> None:
        """Type, go from line to line, check, write, or go back."""
        if key == "escape":
            self.app.pop_screen()
        elif self._busy:
            return
        elif key in {"down", "tab"}:
            self._go(self._at + 1)
        elif key in {"up", "shift+tab"}:
            self._go(self._at - 1)
        elif key == "enter":
            if not self._entries[self._at].value and self._at < len(FORM) - 1:
                self._go(self._at + 1)
            else:
                self._check()
        elif key == "ctrl+w" and self._checked:
            self._write()
        else:
            self._entries[self._at].edit(key, character)

    def take_paste(self, text: str) -> None:
        """Put it where the caret is."""
        self._entries[self._at].insert(text.strip())

    def _go(self, at: int) -> None:
        self._at = at % len(FORM)
        self.set_focus(self._entries[self._at])

    def _typed(self) -> None:
        self._checked = None
        self._say([])

    def _say(self, lines: list[Line]) -> None:
        keys: Line = [
            Ink("tab ", "key"),
            Ink("next  "),
            Ink("enter ", "key"),
            Ink("check and write  "),
        ]
        if self._checked:
            keys += [Ink("ctrl+w ", "key"), Ink("write it all the same  ")]
        keys += [Ink("esc ", "key"), Ink("back")]
        room = 7 - len(lines)
        self.part("said", Lines).set([[], *lines, *[[]] * max(0, room - 1), keys])

    def _check(self) -> None:
        typed = self.values
        faults = faults_of(typed)
        if faults:
            name = next(iter(faults))
            self._go([asked.name for asked in FORM].index(name))
            self._say(
                [[Ink(f"{key} ", "title"), Ink(fault, "bad")] for key, fault in faults.items()]
            )
            return
        self._busy = True
        self._say([[Ink("asking all three …", "pending")]])
        begin(self, self._ask, "check")

    async def _ask(self) -> None:
        session = Session(profile_of(self.values, self._file), os.environ)
        try:
            found = await asyncio.gather(*(answered(session, api) for api in APIS))
        finally:
            await session.aclose()
            self._busy = False
        self._checked = dict(zip(APIS, found, strict=True))
        if any(found):
            self._say(
                [
                    [
                        Ink(f"{api:<9}", "title"),
                        Ink("answers", "good") if not why else Ink(why, "bad"),
                    ]
                    for api, why in self._checked.items()
                ]
            )
        else:
            self._write()

    def _write(self) -> None:
        typed = self.values
        try:
            create_config(
                self._file, document_of(typed), heading="pilotctl: see `pilotctl help profiles`"
            )
        except PilotError as error:
            self._say([[Ink(error.message, "bad")], [Ink(error.hint)]])
            return
        self._done(typed["profile"])


async def answered(session: Session, api: str) -> str:
    """Ask one API how it is; return why that failed, or an empty text."""
    try:
        flow = STATUS[api]()
        await asyncio.wait_for(session.arun(flow), LOOK_SECONDS)
    except PilotError as error:
        # the address stands in the form: what is said of it is worth the room
        address = str(session.profile.setting(api))
        return error.message.replace(f"{api} {address}", "").strip(" :")
    except TimeoutError:
        return f"no answer in {LOOK_SECONDS:g} s"
    return ""
