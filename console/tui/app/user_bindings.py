"""The operator's own commands and keys: what of the configuration can be had, and what not.

A built-in command or key never gives way to one that merely took its place: the entry is
left out and told. Who wants that key gives the operation that has it another, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from console.config.bindings import Binding, key_of
from console.operations.spec import Operation
from console.tui.app.screen_commands import NEEDED, OWN
from console.tui.places.typed_command import Command, nearest, parse
from console.tui.views.list_views import View

SPLIT = frozenset("ABCDFHOPQ[~0123456789")
"""What a slow link may make of an arrow key: no operation is begun by one of them."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Custom(NamedTuple):
    """What holds."""

    aliases: dict[str, Binding]
    """By the command's name."""
    hotkeys: dict[str, Binding]
    """By the key."""
    keys: dict[str, str]
    """The key of each operation that has another than its own."""
    wrong: list[str]
    """What was left out, and why: one line each, with the file's line."""

    def expanded(self, command: Command) -> Command:
        """Return what `command` stands for, with what was typed after it."""
        found = self.aliases.get(command.name)
        if found is None:
            return command
        meant = parse(found.value)
        return Command(
            meant.name,
            [*meant.words, *command.words],
            {**meant.options, **command.options},
            f"{meant.filter} {command.filter}".strip(),
        )


NONE = Custom({}, {}, {}, [])


def settle(
    bindings: Iterable[Binding], operations: Mapping[str, Operation], views: Mapping[str, View]
) -> Custom:
    """Return what of `bindings` holds over these operations and views."""
    return _Settling(bindings, operations, views).settled()


class _Settling:
    """The entries on their way in: keys first, as they free what hotkeys may want."""

    def __init__(
        self,
        bindings: Iterable[Binding],
        operations: Mapping[str, Operation],
        views: Mapping[str, View],
    ) -> None:
        self._bindings = list(bindings)
        self._operations = operations
        aliases = (alias for view in views.values() for alias in view.aliases)
        self._alone = list(dict.fromkeys([*views, *aliases, *OWN, *operations]))
        self._commands = [*self._alone, *dict.fromkeys(op.noun for op in operations.values())]
        self._of_views = {
            each.key: f"{each.label!r} in {name}" for name, view in views.items()
            for each in view.keys
        }  # fmt: skip
        self._out = Custom({}, {}, {}, [])

    def settled(self) -> Custom:
        self._take_keys([each for each in self._bindings if each.table == "keys"])
        for each in self._bindings:
            if each.table == "aliases" and each.value:
                self._take_alias(each)
        for each in self._bindings:
            if each.table == "hotkeys" and each.value:
                self._take_hotkey(each)
        return self._out

    def _refuse(self, entry: Binding, why: str) -> None:
        self._out.wrong.append(f"{entry.place}: {entry.table}: {why}")

    # operations' keys

    def _take_keys(self, entries: Sequence[Binding]) -> None:
        known: list[tuple[Binding, Operation]] = []
        for each in entries:
            op = self._operations.get(each.name)
            if op is None:
                near = nearest(each.name, list(self._operations))
                hint = f"; nearest: {', '.join(near[:3])}" if near else ""
                self._refuse(each, f"no operation {each.name!r}{hint}")
            else:
                known.append((each, op))
        # what is moved away frees its key for the others, in whatever order they stand
        named = {op.id for _, op in known}
        holders = [op for op in self._operations.values() if op.key and op.id not in named]
        for entry, op in known:
            key, why = key_of(entry.value) if entry.value else ("", "")
            if key and key != op.key:
                why = self._kept(key)
                if not why and key in SPLIT:
                    why = "may be a piece of an arrow key on a slow link"
            if key and not why:
                why = _holder(key, op, holders)
            if why:
                self._refuse(entry, f"{op.id}: {entry.value!r} {why}")
                key = op.key if op.key and not _holder(op.key, op, holders) else ""
            self._out.keys[op.id] = key
            if key:
                holders.append(op._replace(key=key))

    def _kept(self, key: str) -> str:
        if key in NEEDED:
            return "is a key that the screen itself needs"
        return f"is {self._of_views[key]}" if key in self._of_views else ""

    # commands

    def _take_alias(self, entry: Binding) -> None:
        if not _NAME.fullmatch(entry.name):
            self._refuse(entry, f"{entry.name!r} is no name: small letters, digits, - and _")
        elif entry.name in self._commands:
            self._refuse(entry, f"{entry.name!r} is a command already")
        elif why := self._unknown(parse(entry.value.lstrip(": "))):
            self._refuse(entry, f"{entry.name!r}: {why}")
        else:
            self._out.aliases[entry.name] = entry._replace(value=entry.value.lstrip(": "))

    def _unknown(self, command: Command, more: Iterable[str] = ()) -> str:
        """Return why there is no such command, or nothing."""
        verb = f"{command.name}.{command.words[0]}" if command.words else ""
        if command.name in self._alone or command.name in more or verb in self._operations:
            return ""
        near = nearest(command.name, [*self._alone, *more])
        hint = f"; nearest: {', '.join(near[:3])}" if near else ""
        return f"no view or command {command.name!r}{hint}"

    def _take_hotkey(self, entry: Binding) -> None:
        key, why = key_of(entry.name)
        if not why:
            why = self._kept(key)
        if not why and key in self._out.hotkeys:
            why = f"runs :{self._out.hotkeys[key].value} already"
        if not why:
            taken = [
                op.id for op in self._operations.values()
                if self._out.keys.get(op.id, op.key) == key
            ]  # fmt: skip
            why = f"is the key of {taken[0]}" if taken else ""
        if why:
            self._refuse(entry, f"{entry.name!r} {why}")
        elif why := self._unknown(parse(entry.value.lstrip(": ")), self._out.aliases):
            self._refuse(entry, f"{entry.name!r}: {why}")
        else:
            self._out.hotkeys[key] = entry._replace(value=entry.value.lstrip(": "))


def _holder(key: str, op: Operation, holders: Sequence[Operation]) -> str:
    """Return who has `key` where `op` would, in words; nothing where it is free there.

    One key may be of two operations where they act on different things.
    """
    for other in holders:
        apart = op.subject and other.subject and op.subject != other.subject
        if other.key == key and not apart:
            return f"is the key of {other.id}"
    return ""
