"""The `pilotctl` command: the console on a terminal without arguments, else the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.streams import (
    hold_streams,
    ignore_interrupts,
    restrict_umask,
    say,
    settle_streams,
)

if TYPE_CHECKING:
    from console.session.session import Session


def _leave_working_directory() -> None:
    """Import nothing more from the working directory, which `python -m console` looks in."""
    import os  # noqa: PLC0415  # it is loaded already; the name is for here alone

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if sys.flags.safe_path or not sys.path:
        return
    first = os.path.realpath(sys.path[0])
    if first == os.path.realpath(os.curdir) and first != os.path.realpath(root):
        del sys.path[0]


_leave_working_directory()


def main() -> int:
    """Run one of the two fronts, and return the exit code, whatever comes at the end."""
    hold_streams()
    restrict_umask()
    argv = sys.argv[1:]
    if argv in (["--version"], ["-V"]):
        # answered here: it is asked in loops, and needs nothing
        from console import __version__  # noqa: PLC0415

        return say(f"pilotctl {__version__}\n")
    try:
        return _run_front(argv)
    except KeyboardInterrupt:
        # it came while the front was loading: later ones are taken in `told`
        ignore_interrupts()
        from console.cli.main import interrupted  # noqa: PLC0415  # as below

        return interrupted(argv)
    finally:
        ignore_interrupts()
        settle_streams()


def _run_front(argv: list[str]) -> int:
    """Run one of the two fronts, importing only that one; return the exit code."""
    from console.cli.main import main as cli  # noqa: PLC0415  # `--version` needs no front
    from console.cli.main import only_common  # noqa: PLC0415

    if only_common(argv) and sys.stdin.isatty() and sys.stdout.isatty():
        return _screen(argv)
    from console.cli.gc_tuning import ending, starting  # noqa: PLC0415

    starting()
    try:
        return cli(argv, picker=_pick)
    finally:
        ending()


def _begin() -> int | None:
    """Offer the ways to begin; return the exit code, or None where the console can open now."""
    import os  # noqa: PLC0415  # as above

    from console.cli.main import main as cli  # noqa: PLC0415
    from console.config.paths import config_file  # noqa: PLC0415
    from console.tui.start import first_run  # noqa: PLC0415

    begun = first_run(config_file(os.environ))
    if begun == "demo":
        return cli(["demo"])
    if begun == "up":
        return cli(["up"]) or None
    return None if begun else 0


def _pick(session: Session, noun: str) -> str:
    """Let the operator choose one of `noun` on the terminal."""
    from console.tui.start import pick  # noqa: PLC0415  # only `pilotctl pick` opens a screen

    return pick(session, noun)


def _screen(argv: Sequence[str]) -> int:
    """Open the console on the profile that the flags and the environment name."""
    import os  # noqa: PLC0415  # as above

    from console.cli.main import screen_flags, told  # noqa: PLC0415

    def opened() -> int:
        from console.config.first_run import nothing_set_up  # noqa: PLC0415  # within `told`
        from console.config.profile import load_profile  # noqa: PLC0415  # within `told`, for errors
        from console.session.session import Session  # noqa: PLC0415
        from console.tui.start import run  # noqa: PLC0415

        flags, theme = screen_flags(argv)
        if not (flags.profile or flags.config) and nothing_set_up(os.environ):
            begun = _begin()
            if begun is not None:
                return begun
        profile = load_profile(
            os.environ, profile=flags.profile, config=flags.config, read_only=flags.read_only
        )
        session = Session(profile)
        try:
            return run(session, theme=theme)
        finally:
            session.close()

    return told(opened, argv, os.environ)


if __name__ == "__main__":
    raise SystemExit(main())
