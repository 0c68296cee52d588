"""What a profile may say: each key, its meaning, its check, and the variable that sets it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Tier(StrEnum):
    """How much care the environment behind a profile asks."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Setting(NamedTuple):
    """One key of a profile. `check` returns what is wrong with a value, or nothing."""

    name: str
    help: str
    default: Any
    check: Callable[[Any], str]
    variable: str = ""
    flag: str = ""


def address_fault(value: Any) -> str:
    """Return what keeps `value` from being an API's address, or an empty string."""
    if not isinstance(value, str):
        return "is not text"
    if value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path.startswith("/"):
            return "needs an absolute path after unix:"
        if len(path.encode("utf-8", "surrogateescape")) > 100:
            return "is longer than the 100 bytes that a Unix socket's path may have"
        return ""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return "is neither unix:/path, http://host:port nor https://host"
    if parts.username or parts.password:
        return "must not hold a user or password: use `token`"
    if parts.query or parts.fragment:
        return "must not hold a query or fragment"
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        return "is plain http to another machine: use https"
    return ""


def _tier_fault(value: Any) -> str:
    return "" if value in list(Tier) else f"is none of {', '.join(Tier)}"


def _flag_fault(value: Any) -> str:
    return "" if isinstance(value, bool) else "is not true or false"


def _text_fault(value: Any) -> str:
    return "" if isinstance(value, str) else "is not text"


TOKEN_SOURCES = {
    "none": (),
    "env": ("variable",),
    "file": ("path",),
    "command": ("argv",),
    "keyring": ("service", "account"),
}
"""Token source to the members that it takes beside `source`."""


def _token_fault(value: Any) -> str:
    if not isinstance(value, dict) or "source" not in value:
        return "is not a table with a source, like { source = 'file', path = '…' }"
    source = value["source"]
    if source not in TOKEN_SOURCES:
        return f"has a source that is none of {', '.join(TOKEN_SOURCES)}"
    wanted = TOKEN_SOURCES[source]
    if extra := set(value) - {"source", *wanted}:
        return f"takes no {min(extra)!r} with the source {source}"
    if source == "command":
        argv = value.get("argv")
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in argv):
            return "needs argv, a list of words: it is run without a shell"
    elif source in {"file", "env"}:
        if not isinstance(value.get(wanted[0]), str) or not value[wanted[0]]:
            return f"needs {wanted[0]}"
    elif any(not isinstance(value.get(name, ""), str) for name in wanted):
        return "has a service or account that is not text"
    return ""


SETTINGS: tuple[Setting, ...] = (
    Setting("policy", "address of the policy API", "", address_fault, "PILOTCTL_POLICY"),
    Setting("gateway", "address of the gateway API", "", address_fault, "PILOTCTL_GATEWAY"),
    Setting("audit", "address of the audit API", "", address_fault, "PILOTCTL_AUDIT"),
    Setting("tier", "development, staging or production", "development", _tier_fault),
    Setting(
        "read_only",
        "refuse what opens access; what closes it always goes",
        False,
        _flag_fault,
        "PILOTCTL_READ_ONLY",
        "--read-only",
    ),
    Setting("token", "where the API token comes from", {"source": "none"}, _token_fault),
    Setting("log_key", "the log's verifier key; pinned at first contact if empty", "", _text_fault),
    Setting(
        "theme", "the screen's theme: a name, or a file's path", "", _text_fault, "PILOTCTL_THEME"
    ),
    Setting("ca_file", "certificates to trust instead of the system's", "", _text_fault),
)
"""Every key of a profile, in the order that `config explain` shows them."""

BY_NAME = {setting.name: setting for setting in SETTINGS}
TOP_LEVEL = ("default_profile", "defaults", "profiles", "console")
"""The keys of the file itself. `defaults` holds settings for every profile, `console` the
screen's own commands and keys (`console.config.bindings`)."""
