"""What a rule tells the person on call to do can be done."""

import re
import tomllib
from pathlib import Path

import console
from console.operations.index import all_operations

RULES = Path(console.__file__).parent / "services" / "audit" / "rules" / "shipped"


def test_each_command_of_a_runbook_exists() -> None:
    known = {op.id.replace(".", " ") for op in all_operations()}
    named = {
        (file.name, command)
        for file in RULES.glob("*.toml")
        for command in re.findall(
            r"`pilotctl ([a-z-]+ [a-z-]+)", tomllib.loads(file.read_text())["runbook"]
        )
    }
    assert named
    assert {each for each in named if each[1] not in known} == set()
