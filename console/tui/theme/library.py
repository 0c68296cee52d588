"""The themes that can be worn here, and the one that is: found, fitted, read again.

Shipped themes come first, the operator's own (`$XDG_DATA_HOME/pilotctl/themes`) win over
them by name, and a file that is named by its path is read whatever its folder. None of
them can stop the console: what is wrong with one is told, and another is worn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from rich.style import Style

from console.parsing.suggest import suggest
from console.tui.theme.contrast import ENOUGH, faint
from console.tui.theme.palette import TIERS, TOKENS, Palette, ThemeError, load_all, read, shipped

PLAIN_TERMS = frozenset({"linux", "vt100", "vt220", "xterm", "screen", "ansi", ""})
"""Terminals whose colours are the sixteen that the operator chose."""

DEFAULT, TERMINAL = "dark", "ansi16"


class Depth(StrEnum):
    """What colours are drawn with."""

    FULL = "256 or more colours"
    SIXTEEN = "the terminal's own sixteen colours"
    NONE = "no colour"


def depth_of(environ: Mapping[str, str]) -> Depth:
    """Return what the terminal of this environment can show, or was asked to (NO_COLOR)."""
    if environ.get("NO_COLOR"):
        return Depth.NONE
    term = environ.get("TERM", "")
    if environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
        return Depth.FULL
    plain = term in PLAIN_TERMS or not any(mark in term for mark in ("256", "direct", "kitty"))
    return Depth.SIXTEEN if plain else Depth.FULL


def own_themes(environ: Mapping[str, str]) -> Path:
    """Return the folder of the operator's own themes, by the XDG specification."""
    named = Path(environ.get("XDG_DATA_HOME", ""))
    # the specification has a relative path ignored
    home = Path(environ.get("HOME") or "~").expanduser()
    base = named if named.is_absolute() else home / ".local/share"
    return base / "pilotctl" / "themes"


PLAIN = Palette(
    "plain",
    True,
    True,
    {token: Style() for token in TOKENS}
    | {token: Style(reverse=True) for token in ("bar", "cursor", "entry-focus", *TIERS)},
)
"""What is worn where not even a shipped theme can be read."""


class Themes:
    """Every theme that reads. `wanted` is the one to wear: a name, or a file's path."""

    def __init__(self, own: Path, wanted: str, depth: Depth) -> None:
        self.own = own
        self.wanted = wanted
        self.depth = depth
        self.palettes: dict[str, Palette] = {}
        self.wrong: list[str] = []
        """What is wrong: a file that does not read, a name that is none."""
        self.notes: list[str] = []
        """What is worn and hard to read."""
        self._named = ""
        self._stamps: dict[Path, tuple[int, int]] = {}
        self.load()

    def load(self) -> None:
        """Read all of them again."""
        self._stamps = self._look()
        found, self.wrong = load_all((self.own,))
        if self._by_path:
            path = Path(self.wanted).expanduser()
            try:
                palette = read(path)
            except ThemeError as error:
                self.wrong.append(str(error))
            else:
                found[palette.name] = palette
                self._named = palette.name
        self.notes = [
            f"theme {name}: {pair.token} on {pair.ground} is {pair.ratio:.1f}:1, "
            f"{ENOUGH:g}:1 can be read"
            for name, palette in found.items()
            for pair in faint(palette)[:1]
        ]
        terminal = found.get(TERMINAL)
        self.palettes = {
            name: fitted(palette, self.depth, terminal) for name, palette in found.items()
        }

    @property
    def _by_path(self) -> bool:
        return "/" in self.wanted or self.wanted.endswith(".toml")

    def worn(self) -> Palette:
        """Return the theme to wear: the one wanted, else the default, and why in `wrong`."""
        name = self._named if self._by_path else self.wanted
        if name in self.palettes:
            return self.palettes[name]
        if self.wanted and not self._by_path:
            self.wrong.append(self.unknown(self.wanted))
        last = DEFAULT if self.depth is Depth.FULL else TERMINAL
        return self.palettes.get(last) or next(iter(self.palettes.values()), PLAIN)

    def unknown(self, name: str) -> str:
        """Return that there is no theme `name`, and which is nearest."""
        near = suggest(name, self.palettes)
        hint = f"nearest: {near}" if near else f"there are {', '.join(self.palettes)}"
        return f"no theme {name!r}; {hint}"

    def changed(self) -> bool:
        """Whether a file of theirs is another than when they were read, by its time and size."""
        return self._look() != self._stamps

    def _look(self) -> dict[Path, tuple[int, int]]:
        paths = [*shipped().glob("*.toml"), *self.own.glob("*.toml")]
        if self._by_path:
            paths.append(Path(self.wanted).expanduser())
        stamps = {}
        for path in paths:
            try:
                found = path.lstat()
            except OSError:
                continue
            stamps[path] = (found.st_mtime_ns, found.st_size)
        return stamps


def fitted(palette: Palette, depth: Depth, terminal: Palette | None) -> Palette:
    """Return `palette` as it can be drawn with `depth`; `terminal` is the sixteen's own."""
    if depth is Depth.FULL:
        return palette
    plain = palette.on_sixteen(terminal or PLAIN)
    return plain if depth is Depth.SIXTEEN else plain.without_colour()
