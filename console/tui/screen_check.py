"""What the console will do on this terminal, for `pilotctl doctor`: looked at, not drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from console.config.bindings import Binding
from console.operations.index import all_operations
from console.tui.app.user_bindings import settle
from console.tui.link.log_proofs import Proofs
from console.tui.start import ascii_only
from console.tui.terminal.display import display_status
from console.tui.theme.library import Themes, depth_of, own_themes
from console.tui.views.view_registry import described


class Fact(NamedTuple):
    """One thing that was looked at. `state` is `ok` or `note`."""

    check: str
    state: str
    found: str
    mend: str = ""


def facts(
    environ: Mapping[str, str], wanted: str, bindings: Sequence[Sequence[Any]] = ()
) -> list[Fact]:
    """Return the display layer, theme, colours, characters, clipboard and keys of `environ`.

    `wanted` is the theme that the profile names, `bindings` its aliases, hotkeys and keys,
    as JSON holds them.
    """
    return [
        _display(), *_theme(environ, wanted), _characters(environ), _clipboard(environ),
        *_custom([Binding(*each)._replace(file=Path(each[3])) for each in bindings]),
    ]  # fmt: skip


def _custom(bindings: Sequence[Binding]) -> Iterator[Fact]:
    if not bindings:
        return
    operations = {op.id: op for op in all_operations()}
    # its views are looked at and never read: no link is asked for anything
    views = described(operations, Proofs(cast(Any, None)))
    custom = settle(bindings, operations, views)
    counts = {"aliases": len(custom.aliases), "hotkeys": len(custom.hotkeys)}
    said = [f"{count} {name}" for name, count in counts.items() if count]
    if custom.keys:
        said.append(f"keys of {len(custom.keys)} operations")
    yield Fact("own keys", "ok", ", ".join(said) or "none holds")
    for each in custom.wrong:
        yield Fact("own keys", "note", each, "the rest of [console] holds")


def _display() -> Fact:
    status = display_status()
    if status.diff:
        return Fact("display", "ok", "only cells that changed are sent")
    return Fact(
        "display", "note", f"stock drawing, with many more bytes: {status.why}",
        "install the version of textual that pilotctl pins",
    )  # fmt: skip


def _theme(environ: Mapping[str, str], wanted: str) -> Iterator[Fact]:
    depth = depth_of(environ)
    themes = Themes(own_themes(environ), wanted, depth)
    worn = themes.worn()
    wrong = [*themes.wrong, *themes.notes]
    asked = f", asked for as {wanted}" if wanted and wanted != worn.name else ""
    yield Fact("theme", "ok" if not asked else "note", f"{worn.name}{asked}")
    for each in wrong:
        yield Fact("theme", "note", each, f"own themes are in {themes.own}")
    why = "NO_COLOR" if environ.get("NO_COLOR") else f"TERM={environ.get('TERM', '')}"
    if not environ.get("NO_COLOR") and (colorterm := environ.get("COLORTERM")):
        why += f" COLORTERM={colorterm}"
    yield Fact("colours", "ok", f"{depth} ({why})")


def _characters(environ: Mapping[str, str]) -> Fact:
    if ascii_only(environ):
        return Fact(
            "characters", "note", "ASCII: the locale is not UTF-8",
            "set LC_ALL=C.UTF-8 where the terminal shows UTF-8",
        )  # fmt: skip
    return Fact("characters", "ok", "UTF-8")


def _clipboard(environ: Mapping[str, str]) -> Fact:
    """OSC 52 has no answer: that it arrived cannot be known."""
    term = environ.get("TERM", "")
    if term in {"dumb", "linux", "vt100", "vt220", ""}:
        return Fact("clipboard", "note", f"none: TERM={term} has no sequence for it (OSC 52)")
    if environ.get("TMUX"):
        return Fact(
            "clipboard", "ok", "OSC 52 through tmux, unverified",
            "where it does not arrive: tmux set -g set-clipboard on",
        )  # fmt: skip
    if environ.get("STY") or term.startswith("screen"):
        return Fact("clipboard", "ok", "OSC 52 through screen, unverified")
    return Fact("clipboard", "ok", "OSC 52, unverified: some terminals ask or refuse")
