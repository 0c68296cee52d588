"""Starting the console: what must be settled before Textual is imported, and after it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from console.errors import ExitCode, PilotError

if TYPE_CHECKING:
    from console.session import Session

PLAIN_TERMS = frozenset({"linux", "vt100", "vt220", "xterm", "screen", "ansi", ""})
"""Terminals whose colours are the sixteen that the operator chose."""


def refusal(environ: Mapping[str, str], *, tty: bool) -> PilotError | None:
    """Return why there can be no screen here; None where there can."""
    if not tty:
        return PilotError(
            "no-terminal",
            "the screen needs a terminal for input and output",
            exit=ExitCode.USAGE,
            hint="every view is a command too: pilotctl help",
        )
    if environ.get("TERM") == "dumb":
        return PilotError(
            "dumb-terminal",
            "TERM=dumb cannot show the screen",
            exit=ExitCode.USAGE,
            hint="every view is a command too: pilotctl alert list, pilotctl help",
        )
    return None


def sixteen(environ: Mapping[str, str]) -> bool:
    """Tell whether to draw with the terminal's own sixteen colours, or none."""
    if "NO_COLOR" in environ:
        return True
    term = environ.get("TERM", "")
    if environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
        return False
    return term in PLAIN_TERMS or not any(mark in term for mark in ("256", "direct", "kitty"))


def ascii_only(environ: Mapping[str, str]) -> bool:
    """Tell whether the locale cannot show more than ASCII."""
    if environ.get("PILOTCTL_ASCII") == "1":
        return True
    # Python turns a C locale's LC_CTYPE into UTF-8 as it starts: what was asked for is in LANG.
    asked = environ.get("LC_ALL") or environ.get("LANG") or ""
    return asked in {"C", "POSIX"} or bool(asked and "utf" not in asked.lower())


def settle(environ: dict[str, str] | os._Environ[str]) -> None:
    """Set what Textual reads from the environment as it is imported; what is set stays.

    Over SSH the parts of an escape sequence may arrive far apart: an arrow key must not
    become letters.
    """
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    for name, value in (
        ("ESCDELAY", "300" if remote else "100"),
        ("TEXTUAL_FPS", "15" if remote else "30"),
        ("TEXTUAL_ANIMATIONS", "none"),
        ("TEXTUAL_SMOOTH_SCROLL", "0"),
    ):
        environ.setdefault(name, value)


def run(session: Session, argv: Sequence[str] = ()) -> int:
    """Show the screen until the operator leaves; return the process's exit code.

    `argv` may hold one command to begin with, like `:alerts severity:critical`. Raises
    `PilotError` where there can be no screen.
    """
    refused = refusal(os.environ, tty=sys.stdin.isatty() and sys.stderr.isatty())
    if refused is not None:
        raise refused
    settle(os.environ)
    from console.config.paths import state_folder  # noqa: PLC0415  # the screen alone needs these
    from console.operations.index import all_operations  # noqa: PLC0415
    from console.tui import crash, lifeline  # noqa: PLC0415
    from console.tui.steer import Console  # noqa: PLC0415
    from console.tui.theme import load_all  # noqa: PLC0415

    palettes, wrong = load_all((_own_themes(os.environ),))
    ansi = sixteen(os.environ)
    wanted = os.environ.get("PILOTCTL_THEME", "")
    name = "ansi16" if ansi else wanted if wanted in palettes else "dark"
    app = Console(
        session,
        all_operations(),
        palettes,
        palettes[name],
        opening=" ".join(argv).lstrip(":"),
        state_folder=state_folder(os.environ),
        ascii_only=ascii_only(os.environ),
        ansi_color=True if ansi else None,
    )
    if wanted and wanted not in palettes:
        wrong.append(f"no theme {wanted!r}; there are {', '.join(palettes)}")
    for each in wrong:
        app.link.note(each, "bad")
    code = app.run(mouse=False)
    lifeline.disarm_backstop()
    lifeline.let_go_of_a_gone_terminal()
    for line in app.unanswered_at_end:
        crash.tell(f"pilotctl: sent, and not answered (unknown): {line}")
    if app.crash_line:
        crash.tell(app.crash_line)
        return int(ExitCode.FAILED)
    return code or 0


def _own_themes(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "pilotctl" / "themes"
