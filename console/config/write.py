"""Writing the configuration file: the only place that does, and never looser than 0600."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomli_w

from console.errors import ExitCode, PilotError
from console.private_files import make_private_folder


def create_config(file: Path, document: dict[str, Any], *, heading: str = "") -> None:
    """Write `document` to the new file `file` (0600). An existing file is never replaced."""
    make_private_folder(file.parent)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PilotError(
            "config-exists",
            f"{file} exists and is left as it is",
            exit=ExitCode.CONFLICT,
            hint="edit it, or name another with --config",
        ) from None
    except OSError as error:
        raise PilotError("config-unwritable", f"{file} cannot be written: {error}") from error
    text = "".join(f"# {line}\n" for line in heading.splitlines()) + tomli_w.dumps(document)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
