"""Where things lie, by the XDG base directory specification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def config_file(environ: Mapping[str, str]) -> Path:
    """Return the user's configuration file: `PILOTCTL_CONFIG`, else below XDG's folder."""
    if explicit := environ.get("PILOTCTL_CONFIG"):
        return Path(explicit).expanduser()
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for what the console remembers: pinned log heads, crash notes."""
    return _base(environ, "XDG_STATE_HOME", ".local/state")


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for what can be thrown away: names for completion."""
    return _base(environ, "XDG_CACHE_HOME", ".cache")


def local_home(environ: Mapping[str, str]) -> Path:
    """Return the state folder of the services that `pilotctl up` runs: `PILOTCTL_HOME`."""
    if explicit := environ.get("PILOTCTL_HOME"):
        return Path(explicit).expanduser().absolute()
    return state_folder(environ) / "local"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    # the specification has a relative path ignored
    named = Path(environ.get(variable, ""))
    base = named if named.is_absolute() else Path(environ.get("HOME") or "~").expanduser() / default
    return base / "pilotctl"
