"""The console over a pilot whose every text is hostile, as a program of its own.

`^` goes on to the next payload and reads again; `` ` `` writes what the cells hold to the
file that FAKE_CELLS names. With FAKE_CRASH, `~` makes a bug of the payload.
"""

import json
import os
import sys
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from fake_pilot import FakePilot, an_id, salted

from console.errors import PilotError
from console.model.stored import Page
from console.tui.app.console_app import Console
from console.tui.start import run

NAMES = (".id", ".slug", ".partner", ".name", ".state", ".severity", "_id", ".kind", ".target")
"""What a row is found, opened and sorted by."""


def made(kind: Any, at: int = 1, name: str = "") -> Any:
    """Return some value of a type of the model, with every text and list of it filled."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return made(args[0], at, name)
    if origin in {Union, UnionType}:
        return made(next(each for each in args if each is not NoneType), at, name)
    if origin is Page:
        items = [made(args[0], number) for number in range(3)]
        return Page(as_of=datetime.now(UTC), source="fake", items=items)
    if origin in {list, tuple}:
        return [made(args[0], at, name)]
    if origin is dict:
        return {"one": made(args[1], at, name)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(**{
            field.encode_name: made(field.type, at, field.name)
            for field in msgspec.structs.fields(kind)
        })  # fmt: skip
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    plain = {
        str: an_id("xyz", at) if name == "id" else f"text-{name}", int: at, float: 1.0, bool: True,
        date: datetime.now(UTC).date(), datetime: datetime.now(UTC) - timedelta(hours=at),
        bytes: b"x",
    }  # fmt: skip
    return plain.get(kind)


class HostilePilot(FakePilot):
    """Answers every route that its contract has, and salts every text of every answer."""

    payloads: list[str]
    turn = 0
    """How often it went on. Names are hostile with every second."""

    def __post_init__(self) -> None:
        self.payloads = json.loads(Path(os.environ["FAKE_PAYLOADS"]).read_text())
        super().__post_init__()

    def salting(self, where: str, value: str) -> str:
        if where == "Operator.roles" or not value or (where == "list" and value == "admin"):
            return value
        if not self.turn % 2 and where.endswith(NAMES):
            return value
        self.told.add(where)
        return value[:2] + self.payload + value[2:]

    @property
    def payload(self) -> str:
        return self.payloads[self.turn % len(self.payloads)]

    def answer(self, call: Any) -> Any:
        answer = super().answer(call)
        poor = isinstance(answer, PilotError) or (isinstance(answer, Page) and not answer.items)
        if poor and call.route.answer is not None and not call.route.writes:
            try:
                answer = made(call.route.answer)
            except (TypeError, StopIteration, msgspec.ValidationError):
                answer = PilotError("not-found", f"no {call.route.id}", hint="none")
        if isinstance(answer, PilotError):
            said = f"it{self.payload}said"
            return PilotError(answer.code, said, exit=answer.exit, hint=self.payload)
        return salted(answer, self.salting)


def main() -> int:
    HostilePilot.told = set()
    pilot = HostilePilot()
    kept = Console._operate

    def operate(self: Console, key: str) -> bool:
        if key == "^":
            pilot.turn += 1
            self.reload()
        elif key == "`":
            turn, told = pilot.turn % len(pilot.payloads), sorted(pilot.told)
            report = {"turn": turn, "cells": self._canvas.text(), "told": told}
            # another name first: what is read is whole
            file = Path(os.environ["FAKE_CELLS"])
            file.with_suffix(".new").write_text(json.dumps(report))
            file.with_suffix(".new").replace(file)
        elif key == "~":
            raise ValueError(f"could not use {pilot.payload}")
        else:
            return kept(self, key)
        return True

    Console._operate = operate
    return run(pilot, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
