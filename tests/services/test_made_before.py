"""A pilot made by commit 989f527 opens with today's code and has everything that it had.

The archive holds its state folder, with keys of its own that nothing else uses; the JSON file
beside it lists what that code said of it on the day it was made.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from console.config.profile import load_profile
from console.errors import ExitCode, PilotError
from console.model.text import now
from console.operations.index import find
from console.operations.values import build
from console.services import supervisor
from console.services.settings import prepare
from console.session.session import Session
from tests import nursery
from tests.thread.pilot_rig import Rig, short_folder

FIXTURES = Path(__file__).parents[1] / "fixtures"
HELD = json.loads((FIXTURES / "pilot-989f527.json").read_text())


def opened(home: Path) -> Rig:
    """Unpack the state folder into `home`."""
    prepare(home)
    with tarfile.open(FIXTURES / "pilot-989f527.tar.xz") as tar:
        tar.extractall(home, filter="data")
    home.chmod(0o700)
    return Rig(home)


def differs(was: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The members of a thing that are no longer what they were."""
    return {name: (value, now.get(name)) for name, value in was.items() if now.get(name) != value}


def test_a_pilot_of_an_earlier_version_opens_with_everything_that_it_had() -> None:
    with short_folder() as folder:
        rig = opened(folder / "home")
        try:
            supervisor.start(rig.home, program=nursery.program("console.services.supervisor"))
            for noun, was in HELD["held"].items():
                named = "slug" if noun == "operator" else "id"
                found = {
                    each[named]: each for each in rig.json(noun, "list", "--limit", "0")["items"]
                }
                lost = [each[named] for each in was if each[named] not in found]
                assert not lost, f"{noun}: lost {lost}"
                changed = {
                    each[named]: other
                    for each in was
                    if (other := differs(each, found[each[named]]))
                }
                assert not changed, f"{noun}: changed {changed}"
            for name, (_, raw) in HELD["keys"].items():
                # after months without policy, a point serves when it has heard of it again
                rig.until(lambda: rig.call(raw).status_code == HELD["codes"][name], what=name)  # noqa: B023 - called here
            named = {
                each["found"].split()[0]
                for each in rig.json("doctor")["items"]
                if each["check"] == "grant scope"
            }
            assert named == {
                grant["id"]
                for grant in HELD["held"]["grant"]
                if grant["state"] == "active" and grant["tier"] >= 2 and not grant["principals"]
            }
            rig.ok("audit", "verify")
            log = rig.json("log", "show")
            assert log["origin"] == HELD["log"]["origin"]
            assert log["tree_size"] > HELD["log"]["tree_size"]
            assert len(rig.json("call", "list", "--limit", "0")["items"]) >= HELD["calls"]
            for name, token in HELD["tokens"].items():
                ended = name in {"mallory", "carol-replaced", "break-glass-1"}
                assert signs_in(rig, token) is not ended, name
        finally:
            rig.close()
            supervisor.stop(rig.home)


def signs_in(rig: Rig, token: str) -> bool:
    """Whether a token is let in."""
    environ = {**rig.env, "PILOTCTL_TOKEN": token}
    session = Session(load_profile(environ), environ)
    op = find("lock.list")
    try:
        session.run(op.run(build(op, {}, now=now()), None))
    except PilotError as error:
        if error.exit != ExitCode.SIGN_IN:
            raise
        return False
    else:
        return True
    finally:
        session.close()
