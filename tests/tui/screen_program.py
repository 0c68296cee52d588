"""The console over a pilot in memory, as a program of its own, for tests in a terminal."""

import json
import os
import sys

from fake_pilot import FakePilot

from console.errors import PilotError
from console.tui.start import run


def _plant_a_bug(secret: str) -> None:
    """Make one key fail, with a secret in its locals and in its message."""
    from console.tui.app.console_app import Console

    kept = Console._operate

    def broken(self, key):
        if key == "~":
            local = secret
            raise ValueError(f"could not use {local}")
        return kept(self, key)

    Console._operate = broken


def main() -> int:
    options = json.loads(os.environ.get("FAKE_PILOT", "{}"))
    payload = os.environ.get("FAKE_PAYLOAD", "")
    keep = {
        "Grant.state", "Alert.state", "Alert.severity", "Lock.state", "Lock.kind", "Receipt.state",
        "PointProof.state", "PointProof.method", "Receipt.id", "Receipt.event_id", "Receipt.action",
        "Receipt.target", "Lock.receipt_id", "Operator.name", "Credential.grant_id",
        "Alert.grant_id", "Alert.credential_id",
    }  # fmt: skip
    if payload:
        text = json.loads(payload)

        def salt(where: str, value: str) -> str:
            if where in keep or where.endswith((".id", ".slug", ".partner")) or not value:
                return value
            if where == "list" and value == "admin":
                return value
            return value[:4] + text + value[4:]

        pilot = FakePilot(salt=salt, **options)
    else:
        pilot = FakePilot(**options)
    if secret := os.environ.get("FAKE_CRASH"):
        _plant_a_bug(secret)
    try:
        return run(pilot, sys.argv[1:])
    except PilotError as error:
        print(error.message, file=sys.stderr)
        return int(error.exit)


if __name__ == "__main__":
    sys.exit(main())
