"""Starting the console: what must be settled before Textual is imported, and after it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from console.errors import ExitCode, PilotError

if TYPE_CHECKING:
    from console.session.session import Session
    from console.tui.terminal.small_app import Small
    from console.tui.theme.library import Themes
    from console.tui.theme.palette import Palette


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
        ("TEXTUAL_FPS", "30" if remote else "120"),
        ("TEXTUAL_ANIMATIONS", "none"),
        ("TEXTUAL_SMOOTH_SCROLL", "0"),
    ):
        environ.setdefault(name, value)


def run(session: Session, argv: Sequence[str] = (), *, theme: str = "") -> int:
    """Show the screen until the operator leaves; return the process's exit code.

    `argv` may hold one command to begin with, like `:alerts severity:critical`. `theme` is a
    theme's name, or its file's path, in place of the profile's. Raises `PilotError`
    where there can be no screen.
    """
    refused = refusal(os.environ, tty=sys.stdin.isatty() and sys.stderr.isatty())
    if refused is not None:
        raise refused
    look = _look(theme or str(session.profile.setting("theme")))
    from console.operations.index import all_operations  # noqa: PLC0415  # after `settle`
    from console.tui.app.console_app import Console  # noqa: PLC0415
    from console.tui.terminal import crash_report, lifeline  # noqa: PLC0415

    opening = " ".join(argv).lstrip(":")
    app = Console(
        session, all_operations(), *look.palettes,
        opening=opening, bindings=session.profile.bindings, **look.options,
    )  # fmt: skip
    app.themes = look.themes
    code = app.run(mouse=False)
    lifeline.disarm_backstop()
    lifeline.let_go_of_a_gone_terminal()
    for line in app.unanswered_at_end:
        crash_report.tell(f"pilotctl: sent, and not answered (unknown): {line}")
    if app.crash_line:
        crash_report.tell(app.crash_line)
        return int(ExitCode.FAILED)
    return code or 0


class _Look(NamedTuple):
    """What every screen of this terminal is drawn with."""

    themes: Themes
    palettes: tuple[dict[str, Palette], Palette]
    options: dict[str, Any]


def _look(wanted: str) -> _Look:
    """Settle what must be before the toolkit is imported, and choose theme and colours."""
    settle(os.environ)
    from console.config.paths import state_folder  # noqa: PLC0415  # the screen alone needs these
    from console.tui.terminal.paste import install  # noqa: PLC0415
    from console.tui.theme.library import Depth, Themes, depth_of, own_themes  # noqa: PLC0415

    install()
    depth = depth_of(os.environ)
    if os.environ.get("NO_COLOR") == "":
        # to the toolkit an empty value asks for no colour, by the convention it does not
        del os.environ["NO_COLOR"]
    themes = Themes(own_themes(os.environ), wanted, depth)
    return _Look(
        themes,
        (themes.palettes, themes.worn()),
        {
            "state_folder": state_folder(os.environ),
            "ascii_only": ascii_only(os.environ),
            "ansi_color": None if depth is Depth.FULL else True,
        },
    )


def pick(session: Session, noun: str) -> str:
    """Let the operator choose one of `noun`; return its slug or id, empty for none.

    Drawn on the terminal, whatever the streams are. Raises `PilotError` where there is no
    terminal for it, no such list, or where the list could not be had.
    """
    from console.tui.terminal.tty import own_terminal  # noqa: PLC0415  # only a choice needs it

    with own_terminal():
        if (refused := refusal(os.environ, tty=True)) is not None:
            raise refused
        look = _look(str(session.profile.setting("theme")))
        from console.operations.index import find  # noqa: PLC0415  # after `settle`
        from console.tui.app.picker_app import Picker  # noqa: PLC0415
        from console.tui.views.list_views import view_of  # noqa: PLC0415

        op = find(f"{noun}.list")
        view = view_of(op)
        if view is None:
            raise PilotError(
                "usage", f"there is no list of {noun} to pick from", exit=ExitCode.USAGE
            )
        app = Picker(session, op, view, *look.palettes, **look.options)
        _shown(app)
    if not app.picked and app.fault is not None:
        raise app.fault
    return app.picked


def _shown(app: Small) -> int:
    """Show a screen of its own until it ends; return its exit code. A bug in it is told."""
    from console.tui.terminal import crash_report, lifeline  # noqa: PLC0415  # after `settle`

    no_color = os.environ.get("NO_COLOR")
    code = app.run(mouse=False)
    if no_color is not None:
        os.environ["NO_COLOR"] = no_color  # the toolkit takes it out
    lifeline.disarm_backstop()
    lifeline.let_go_of_a_gone_terminal()
    if app.crash_line:
        crash_report.tell(app.crash_line)
        raise SystemExit(int(ExitCode.FAILED))
    return code or 0


def first_run(config: Path) -> str:
    """Offer the ways to begin; return `demo`, `up`, `connected PROFILE`, or nothing.

    A profile that was typed and checked is in the new file `config` by then.
    """
    if (refused := refusal(os.environ, tty=True)) is not None:
        raise refused
    look = _look(os.environ.get("PILOTCTL_THEME", ""))
    from console.tui.app.first_run_app import FirstRun  # noqa: PLC0415  # after `settle`

    app = FirstRun(*look.palettes, config=config, **look.options)
    _shown(app)
    return app.chosen
