"""The manual page: made from the registry, carried by the wheel, read by real roff."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pilot_rig import ROOT

from console.cli.commands.manpage import page
from console.cli.parser import example
from console.operations.index import all_operations

SHIPPED = ROOT / "console/cli/man/pilotctl.1"


def test_the_shipped_page_is_what_the_registry_says() -> None:
    if os.environ.get("PILOTCTL_UPDATE_MAN"):
        SHIPPED.write_text(page())
    assert SHIPPED.read_text() == page(), "PILOTCTL_UPDATE_MAN=1 pytest tests/cli/test_manpage.py"


def rendered(tmp_path: Path) -> str:
    if not shutil.which("groff"):
        pytest.skip("groff is not installed here")
    file = tmp_path / "pilotctl.1"
    file.write_text(page())
    run = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=400n", str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    return run.stdout


def test_roff_reads_it_without_a_warning_and_every_verb_is_in_it(tmp_path: Path) -> None:
    text = rendered(tmp_path)
    for op in all_operations():
        assert " ".join(example(op).split()[:3]) in text
    for heading in ("NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "FILES"):
        assert f"\n{heading}\n" in text
