"""Reading profiles: flag > environment > profile > the file's defaults > built in.

Every value keeps where it came from. A key that is not known is an error that names the
file, the line and the nearest key: a setting that is silently ignored is a trap.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from console.config.bindings import TABLES, Binding, entries
from console.config.paths import config_file, local_home
from console.config.profile_settings import BY_NAME, SETTINGS, TOP_LEVEL, Setting, Tier
from console.errors import ExitCode, PilotError
from console.parsing.suggest import suggest
from console.parsing.toml_file import line_of, toml_table

LOCAL = "local"
"""The built-in profile: the services of `pilotctl up` on this machine."""

_TRUE = {"1": True, "true": True, "yes": True, "on": True}
_FALSE = {"0": False, "false": False, "no": False, "off": False}


class Value(NamedTuple):
    """One setting, and where it came from in words."""

    value: Any
    source: str


class Profile(NamedTuple):
    """Everything that a session needs to know. `explicit`: it was named for this run."""

    name: str
    chosen_by: str
    explicit: bool
    values: dict[str, Value]
    file: Path
    bindings: tuple[Binding, ...] = ()
    """The console's aliases, hotkeys and keys: a profile's own win, one by one."""

    def setting(self, name: str) -> Any:
        """Return the value of the setting `name`."""
        return self.values[name].value

    @property
    def tier(self) -> Tier:
        """How much care this environment asks."""
        return Tier(self.setting("tier"))

    @property
    def read_only(self) -> bool:
        """Whether what opens access is refused."""
        return bool(self.setting("read_only"))

    def read_only_refusal(self, what: str) -> PilotError:
        """Return the error for `what`, which opens access, where this profile is read-only."""
        return PilotError(
            "read-only",
            f"the profile {self.name!r} is read-only, and {what} opens access",
            exit=ExitCode.REFUSED,
            hint=f"read_only comes from {self.values['read_only'].source}",
        )


def load_profile(
    environ: Mapping[str, str],
    *,
    profile: str = "",
    config: str = "",
    read_only: bool = False,
) -> Profile:
    """Return the profile to use, from the flags given, the environment and the file.

    Raises `PilotError` (exit 2) where the file or a value in it is wrong, or the profile
    does not exist.
    """
    file = Path(config).expanduser() if config else config_file(environ)
    document = _Document.read(file, must_exist=bool(config or environ.get("PILOTCTL_CONFIG")))
    name, chosen_by = _choose(document, environ, profile)
    section = document.profile(name)
    if section is None and name != LOCAL:
        raise _no_profile(name, chosen_by, document)
    values = {}
    for setting in SETTINGS:
        found = _from_environ(setting, environ)
        if found is None and setting.name in (section or {}):
            found = document.value(setting, f"profiles.{name}", section or {})
        if found is None and setting.name in document.defaults:
            found = document.value(setting, "defaults", document.defaults)
        if found is None:
            found = _built_in(setting, name, environ)
        values[setting.name] = found
    if read_only:
        values["read_only"] = Value(True, "flag --read-only")
    if sealed := environ.get("PILOTCTL_BREAK_GLASS"):
        token = {"source": "file", "path": sealed}
        values["token"] = Value(token, "environment PILOTCTL_BREAK_GLASS")
    elif environ.get("PILOTCTL_TOKEN"):
        token = {"source": "env", "variable": "PILOTCTL_TOKEN"}
        values["token"] = Value(token, "environment PILOTCTL_TOKEN")
    if values["token"].value["source"] == "command":
        _refuse_writable(file)
    explicit = chosen_by.startswith(("flag", "environment"))
    return Profile(name, chosen_by, explicit, values, file, document.bindings(name))


def profile_names(environ: Mapping[str, str], *, config: str = "") -> list[str]:
    """Return the profiles that can be chosen, the built-in one last unless it is defined."""
    file = Path(config).expanduser() if config else config_file(environ)
    names = list(_Document.read(file, must_exist=False).profiles)
    return names if LOCAL in names else [*names, LOCAL]


class _Document:
    """A configuration file: its tables, checked, and its text for line numbers."""

    def __init__(self, file: Path, text: str, table: dict[str, Any]) -> None:
        self.file = file
        self.text = text
        self.table = table
        self._known(table, "", TOP_LEVEL)
        self.default_profile = table.get("default_profile", "")
        if not isinstance(self.default_profile, str):
            raise self.fault("default_profile", "", "is not text")
        self.defaults = self._table(table.get("defaults", {}), "defaults", "")
        self._known(self.defaults, "defaults", tuple(BY_NAME))
        self.profiles = self._table(table.get("profiles", {}), "profiles", "")
        for name, section in self.profiles.items():
            self._table(section, name, "profiles")
            self._known(section, f"profiles.{name}", (*BY_NAME, "console"))
            self._check_bindings(section, f"profiles.{name}")
        self._check_bindings(table, "")

    @classmethod
    def read(cls, file: Path, *, must_exist: bool) -> _Document:
        try:
            text = file.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            if must_exist:
                raise PilotError(
                    "config-missing",
                    f"there is no configuration file {file}",
                    exit=ExitCode.USAGE,
                    hint="`pilotctl config init` writes one",
                ) from None
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise PilotError(
                "config-unreadable", f"{file} cannot be read: {error}", exit=ExitCode.USAGE
            ) from error
        try:
            table = toml_table(text)
        except tomllib.TOMLDecodeError as error:
            raise PilotError(
                "config-malformed", f"{file} is not TOML: {error}", exit=ExitCode.USAGE
            ) from error
        return cls(file, text, table)

    def profile(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.profiles.get(name)
        return found

    def value(self, setting: Setting, where: str, section: dict[str, Any]) -> Value:
        value = section[setting.name]
        if fault := setting.check(value):
            raise self.fault(setting.name, where, fault)
        return Value(value, f"{self.file}:{self.line(where, setting.name)} [{where}]")

    def bindings(self, profile: str) -> tuple[Binding, ...]:
        """Return the console's tables as `profile` has them: its own entries, then the rest."""
        found: dict[tuple[str, str], Binding] = {}
        # the profile's own first: where two want one key, the first has it
        for above, where in ((self.profile(profile), f"profiles.{profile}"), (self.table, "")):
            for each in self._bindings(above or {}, where):
                found.setdefault((each.table, each.name), each)
        return tuple(found.values())

    def _bindings(self, above: dict[str, Any], where: str) -> Iterator[Binding]:
        inside = _inside(where)
        for table, section in above.get("console", {}).items():
            for name, value in entries(table, section):
                line = self.line(f"{inside}.{table}", name)
                yield Binding(table, name, value, self.file, line, f"{inside}.{table}")

    def _check_bindings(self, above: dict[str, Any], where: str) -> None:
        inside = _inside(where)
        console = self._table(above.get("console", {}), "console", where)
        self._known(console, inside, tuple(TABLES))
        for table, section in console.items():
            for name, value in entries(table, self._table(section, table, inside)):
                if not isinstance(value, str):
                    raise self.fault(name, f"{inside}.{table}", "is not text")

    def line(self, where: str, key: str) -> int:
        return line_of(self.text, (where, key) if where else (key,)) or 1

    def fault(self, key: str, where: str, fault: str) -> PilotError:
        return PilotError(
            "config-value",
            f"{self.file}:{self.line(where, key)}: {key} {fault}",
            exit=ExitCode.USAGE,
        )

    def _table(self, value: Any, key: str, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fault(key, where, "is not a table")
        return value

    def _known(self, table: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
        for key in table:
            if key in known:
                continue
            near = suggest(key, known)
            raise PilotError(
                "config-unknown-key",
                f"{self.file}:{self.line(where, key)}: unknown key {key!r}"
                + (f" in [{where}]" if where else ""),
                exit=ExitCode.USAGE,
                hint=f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}",
            )


def _inside(where: str) -> str:
    return f"{where}.console" if where else "console"


def _choose(document: _Document, environ: Mapping[str, str], flag: str) -> tuple[str, str]:
    if flag:
        return flag, "flag --profile"
    if named := environ.get("PILOTCTL_PROFILE"):
        return named, "environment PILOTCTL_PROFILE"
    if document.default_profile:
        line = document.line("", "default_profile")
        return document.default_profile, f"{document.file}:{line} default_profile"
    return LOCAL, "built in"


def _from_environ(setting: Setting, environ: Mapping[str, str]) -> Value | None:
    if not setting.variable or setting.variable not in environ:
        return None
    raw: Any = environ[setting.variable]
    if isinstance(setting.default, bool):
        raw = {**_TRUE, **_FALSE}.get(raw.lower(), raw)
    if fault := setting.check(raw):
        raise PilotError(
            "config-value", f"{setting.variable}: {setting.name} {fault}", exit=ExitCode.USAGE
        )
    return Value(raw, f"environment {setting.variable}")


def _built_in(setting: Setting, profile: str, environ: Mapping[str, str]) -> Value:
    if profile == LOCAL and setting.name in {"policy", "gateway", "audit"}:
        socket = local_home(environ) / "run" / f"{setting.name}.sock"
        return Value(f"unix:{socket}", "built in: where `pilotctl up` listens")
    return Value(setting.default, "default")


def _refuse_writable(file: Path) -> None:
    """Refuse a file that names a command to run, where another user could have written it.

    Whoever can write to its folder can exchange the file. Raises `PilotError`.
    """
    named, held = file.absolute(), file.resolve()
    for path in dict.fromkeys((held, held.parent, named.parent)):
        status = path.stat()
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in {os.geteuid(), 0}:
            what, mend = "belongs to another user", f"chown {os.geteuid()} {path}"
        elif status.st_mode & 0o022 and not sticky:
            what = f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
            mend = f"chmod go-w {path}"
        else:
            continue
        raise PilotError(
            "config-writable",
            f"{path} {what}, and {file} names a command that gives the token: it is not run",
            exit=ExitCode.USAGE,
            hint=f"look at the command first, then: {mend}",
        )


def _no_profile(name: str, chosen_by: str, document: _Document) -> PilotError:
    known = [*document.profiles, *([] if LOCAL in document.profiles else [LOCAL])]
    near = suggest(name, known)
    return PilotError(
        "no-such-profile",
        f"there is no profile {name!r} ({chosen_by})",
        exit=ExitCode.USAGE,
        hint=(f"did you mean {near!r}? " if near else "")
        + f"{document.file} and pilotctl itself define: {', '.join(known)}",
    )
