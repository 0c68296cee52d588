"""The console over a pilot that stands still and whose models and partners have odd names.

`^` gives them the next names and reads again; `` ` `` writes the turn and what the cells hold
to the file that FAKE_CELLS names. With each turn the other half of the partners is not verified.
"""

import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from still_pilot import NOW, StillPilot, stop_the_clock

from console.model.access import Partner
from console.model.traffic import CallRecord
from console.tui import start
from console.tui.app.console_app import Console


class OddlyNamed(StillPilot):
    """`StillPilot` with names of `FAKE_NAMES` in what partners may name themselves."""

    turn = 0

    def until(self, at: int) -> datetime | None:
        """Return how long a partner is verified, or None."""
        return None if (at + self.turn) % 2 else NOW + timedelta(days=90 + at)

    def rename(self) -> None:
        names: list[str] = json.loads(os.environ["FAKE_NAMES"])

        def renamed(kind: type, *members: str) -> list[Any]:
            return [
                msgspec.structs.replace(
                    each,
                    **{member: names[(at + self.turn) % len(names)] for member in members},
                    **({"verified_until": self.until(at)} if kind is Partner else {}),
                )
                for at, each in enumerate(self.all[kind])
            ]

        self.all[CallRecord] = renamed(CallRecord, "model")
        self.all[Partner] = renamed(Partner, "name", "sponsor")


def main() -> int:
    stop_the_clock(SimpleNamespace(setattr=setattr))
    pilot = OddlyNamed()
    pilot.rename()
    kept = Console._operate

    def operate(self: Console, key: str) -> bool:
        if key == "^":
            pilot.turn += 1
            pilot.rename()
            self.reload()
        elif key == "`":
            file = Path(os.environ["FAKE_CELLS"])
            report = {"turn": pilot.turn, "cells": self._canvas.text()}
            file.with_suffix(".new").write_text(json.dumps(report))
            file.with_suffix(".new").replace(file)
        else:
            return kept(self, key)
        return True

    Console._operate = operate
    return start.run(pilot, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
