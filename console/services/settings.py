"""What the services are told in their state folder's `pilot.toml`.

Everything in the file is checked: an unknown key or a bad value is refused, naming the
file, the line and what is nearest. Without a file the defaults stand: the built-in
upstream, and the user who runs the services as the one admin.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from console.errors import ExitCode, PilotError
from console.model.account import is_reserved
from console.model.operator import Operator, Role
from console.model.text import SLUG_PATTERN
from console.parsing.suggest import suggest
from console.parsing.toml_file import line_of, toml_table
from console.services.home import Home, prepare, secret_file
from console.services.tls import Certificate

__all__ = ["DataPlane", "Home", "Settings", "Upstream", "load", "prepare", "secret_file"]

DEFAULT_PORT = 8440

TABLES = {
    "data_plane", "upstreams", "models", "operators", "policy", "log", "retention", "listen"
}  # fmt: skip
"""What `pilot.toml` may hold at its top."""

_NAME = re.compile(SLUG_PATTERN)
_DATA_PLANE_KEYS = {
    "host", "ports", "proxies", "proxy_protocol", "trusted_hops", "forwarded_header",
    "cert_file", "key_file", "drain_seconds",
}  # fmt: skip
_ORIGIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9._-]+)*")


class DataPlane(msgspec.Struct, kw_only=True, frozen=True):
    """Where partners' calls arrive: one enforcement point for each port."""

    host: str = "127.0.0.1"
    ports: tuple[int, ...] = (DEFAULT_PORT,)
    """0 takes any free port."""
    proxies: tuple[str, ...] = ()
    """Networks of the proxies that may tell a caller's address. From them alone it counts."""
    proxy_protocol: bool = False
    """The proxies begin each connection with a PROXY protocol header (version 1 or 2), in
    clear: with a certificate, TLS begins after it."""
    trusted_hops: int = 0
    """How many proxies add to `forwarded_header`, counted from the point; 0 reads none."""
    forwarded_header: str = "x-forwarded-for"
    """The one header that the proxies add to: `x-forwarded-for` or `forwarded` (RFC 7239)."""
    certificate: Certificate | None = None
    """With it the points speak TLS."""
    drain_seconds: int = 10
    """How long calls in flight may go on once a point is told to stop; then they are cut."""

    @property
    def points(self) -> list[tuple[str, int]]:
        """Names and ports of the points: gw-1, gw-2, …"""
        return [(f"gw-{at}", port) for at, port in enumerate(self.ports, start=1)]


class Listen(msgspec.Struct, kw_only=True, frozen=True):
    """Where an operator API is reached over TCP, beside its Unix socket. Callers need a token."""

    host: str = "127.0.0.1"
    port: int
    certificate: Certificate | None = None
    """Without one it speaks plain HTTP, for a proxy on this machine that speaks TLS."""


class Upstream(msgspec.Struct, kw_only=True, frozen=True):
    """A model API behind the gateway. Its key is in a file or the environment, never here."""

    name: str
    kind: Literal["builtin", "openai", "anthropic"]
    base_url: str = ""
    key_file: str = ""
    key_env: str = ""
    chunk_ms: int = 20
    """How long the built-in upstream pauses between two pieces of a stream."""
    read_seconds: int = 120
    """How long an upstream may be silent in the middle of an answer."""

    def key(self) -> str:
        """Read the upstream's API key; empty where it needs none."""
        if self.key_env:
            if not (found := os.environ.get(self.key_env, "").strip()):
                raise _broken(f"upstream {self.name}: the variable {self.key_env} is not set")
            return found
        if not self.key_file:
            return ""
        path = Path(self.key_file)
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise _broken(
                    f"upstream {self.name}: {path} can be read by others; run chmod 600 on it"
                )
            return path.read_text().strip()
        except OSError as error:
            raise _broken(f"upstream {self.name}: cannot read {path}: {error.strerror}") from error


class PolicyRules(msgspec.Struct, kw_only=True, frozen=True):
    """By which policies is decided, at policy and at every point."""

    bundle: str = ""
    """A folder of Cedar policies and their schema; the one that ships where it is empty."""

    @property
    def folder(self) -> Path | None:
        """The folder, None for the one that ships."""
        return Path(self.bundle) if self.bundle else None


class LogRules(msgspec.Struct, kw_only=True, frozen=True):
    """What the log is called."""

    origin: str = ""
    """The name of a log that is yet to be made: C2SP asks for a schema-less URL that is ours.
    Empty is `pilotctl.local/<8 hex digits of its key>`. A log that exists keeps its name."""


class Retention(msgspec.Struct, kw_only=True, frozen=True):
    """How long records are kept. Audit events are kept for ever."""

    calls_days: int = 0
    """Call records older than this go, once their digests are in the log; 0 keeps them all."""


class Settings(msgspec.Struct, kw_only=True, frozen=True):
    """What `pilot.toml` says, with the defaults filled in."""

    home: Home
    data_plane: DataPlane
    upstreams: dict[str, Upstream]
    models: dict[str, str]
    """Model slug to `upstream` or `upstream:name-there`."""
    operators: list[Operator]
    names_operators: bool = False
    """Whether the file names any; else the user who runs the services is the one admin."""
    policy: PolicyRules = PolicyRules()
    listen: dict[str, Listen] = {}
    """`policy`, `gateway` or `audit` to its TCP listener."""
    log: LogRules = LogRules()
    retention: Retention = Retention()


def load(path: Path) -> Settings:
    """Read the settings of the state folder at `path`, making the folder where needed.

    Raises `PilotError` (`bad-config`, exit 2) naming file, line and what is nearest.
    """
    home = prepare(path)
    try:
        text = home.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(f"cannot read {home.config}: {error}") from error
    return _Reader(home, text).settings()


class _Reader:
    """Reads one file, remembering where each thing stands."""

    def __init__(self, home: Home, text: str) -> None:
        self.home = home
        self.text = text
        try:
            self.values = toml_table(text)
        except tomllib.TOMLDecodeError as error:
            raise _broken(f"{home.config}: {error}") from error

    def settings(self) -> Settings:
        """Return the settings, or refuse the file."""
        self._known(self.values, (), TABLES)
        upstreams = self._upstreams()
        return Settings(
            home=self.home,
            data_plane=self._data_plane(),
            upstreams=upstreams,
            models=self._models(upstreams),
            operators=self._operators(),
            names_operators=bool(self.values.get("operators")),
            policy=self._policy(),
            listen=self._listens(),
            log=self._log(),
            retention=self._retention(),
        )

    def _data_plane(self) -> DataPlane:
        table = self._table(("data_plane",))
        self._known(table, ("data_plane",), _DATA_PLANE_KEYS)
        certificate = self._certificate(table, ("data_plane",))
        host = self._host(table, ("data_plane",), certificate)
        ports = table.get("ports", [DEFAULT_PORT])
        if not (
            isinstance(ports, list)
            and 1 <= len(ports) <= 16
            and all(type(each) is int and 0 <= each <= 65535 for each in ports)
        ):
            self._refuse(("data_plane", "ports"), "must be a list of 1 to 16 ports (0 to 65535)")
        fixed = [each for each in ports if each]
        if len(set(fixed)) != len(fixed):
            self._refuse(("data_plane", "ports"), "names a port twice")
        proxies = self._proxies(table)
        drain = self._number(table, ("data_plane",), "drain_seconds", 10, 3600)
        return DataPlane(
            host=host,
            ports=tuple(ports),
            certificate=certificate,
            drain_seconds=drain,
            **proxies,
        )

    def _listens(self) -> dict[str, Listen]:
        found: dict[str, Listen] = {}
        table = self._table(("listen",))
        self._known(table, ("listen",), {"policy", "gateway", "audit"})
        for api in table:
            at = ("listen", api)
            own = self._table(at)
            self._known(own, at, {"host", "port", "cert_file", "key_file"})
            certificate = self._certificate(own, at)
            if "port" not in own:
                self._refuse(at, "needs a port")
            port = self._number(own, at, "port", 0, 65_535)
            host = self._host(own, at, certificate)
            found[api] = Listen(host=host, port=port, certificate=certificate)
        return found

    def _host(
        self, table: dict[str, Any], at: tuple[str, ...], certificate: Certificate | None
    ) -> str:
        host = self._text(table, at, "host", "127.0.0.1")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            self._refuse((*at, "host"), "must be an address, like 127.0.0.1")
        if not address.is_loopback and certificate is None:
            self._refuse(
                (*at, "host"), "must be 127.0.0.1 or ::1 (loopback) without cert_file and key_file"
            )
        return host

    def _certificate(self, table: dict[str, Any], at: tuple[str, ...]) -> Certificate | None:
        files = [self._text(table, at, name, "") for name in ("cert_file", "key_file")]
        if not any(files):
            return None
        if not all(files):
            self._refuse((*at, "cert_file"), "cert_file and key_file go together")
        cert_file, key_file = (str(self.home.path / each) for each in files)
        certificate = Certificate(cert_file=cert_file, key_file=key_file)
        certificate.context()
        return certificate

    def _proxies(self, table: dict[str, Any]) -> dict[str, Any]:
        at = ("data_plane",)
        proxies = self._texts(table, at, "proxies", 0)
        for each in proxies:
            try:
                ipaddress.ip_network(each)
            except ValueError as error:
                self._refuse((*at, "proxies"), f"{each!r} is no network: {error}")
        protocol = table.get("proxy_protocol", False)
        if not isinstance(protocol, bool):
            self._refuse((*at, "proxy_protocol"), "must be true or false")
        hops = self._number(table, at, "trusted_hops", 0, 10)
        header = self._text(table, at, "forwarded_header", "x-forwarded-for").lower()
        if header not in {"x-forwarded-for", "forwarded"}:
            self._refuse((*at, "forwarded_header"), "must be x-forwarded-for or forwarded")
        for name, asked in (("proxy_protocol", protocol), ("trusted_hops", bool(hops))):
            if asked and not proxies:
                self._refuse((*at, name), "needs proxies: the networks whose word counts")
        if proxies and not protocol and not hops:
            # their headers would be ignored, and every call carry the balancer's address
            self._refuse(
                (*at, "proxies"),
                "needs trusted_hops (how many proxies add to forwarded_header, mostly 1) or "
                "proxy_protocol = true: without one, every call has the proxy's own address",
            )
        return {
            "proxies": tuple(proxies),
            "proxy_protocol": protocol,
            "trusted_hops": hops,
            "forwarded_header": header,
        }

    def _upstreams(self) -> dict[str, Upstream]:
        found: dict[str, Upstream] = {}
        for name in self._table(("upstreams",)):
            at = ("upstreams", name)
            table = self._table(at)
            self._known(
                table, at, {"kind", "base_url", "key_file", "key_env", "chunk_ms", "read_seconds"}
            )
            if not _NAME.fullmatch(name):
                self._refuse(at, "an upstream's name has lower-case letters, digits, '-' and '.'")
            kind = self._text(table, at, "kind", "")
            if kind not in {"builtin", "openai", "anthropic"}:
                self._refuse((*at, "kind"), "must be builtin, openai or anthropic")
            base_url = self._text(table, at, "base_url", "").rstrip("/")
            if kind != "builtin" and not re.match(r"https?://[^/\s]+", base_url):
                self._refuse((*at, "base_url"), "must be an http:// or https:// address")
            key_file = self._text(table, at, "key_file", "")
            key_env = self._text(table, at, "key_env", "")
            if key_file and key_env:
                self._refuse((*at, "key_env"), "name key_file or key_env, not both")
            found[name] = msgspec.convert(
                {
                    "name": name,
                    "kind": kind,
                    "base_url": base_url,
                    "key_file": str(self.home.path / key_file) if key_file else "",
                    "key_env": key_env,
                    "chunk_ms": self._number(table, at, "chunk_ms", 20, 10_000),
                    "read_seconds": self._number(table, at, "read_seconds", 120, 3600),
                },
                Upstream,
            )
        return found or {"builtin": Upstream(name="builtin", kind="builtin")}

    def _models(self, upstreams: dict[str, Upstream]) -> dict[str, str]:
        table = self._table(("models",))
        for model in table:
            if not _NAME.fullmatch(model):
                self._refuse(
                    ("models", model), "a model's slug has lower-case letters, digits, '-' and '.'"
                )
            target = self._text(table, ("models",), model, "")
            name = target.partition(":")[0]
            if name not in upstreams:
                self._refuse(
                    ("models", model), f"there is no upstream {name!r}{_near(name, set(upstreams))}"
                )
        return dict(table)

    def _policy(self) -> PolicyRules:
        table = self._table(("policy",))
        self._known(table, ("policy",), {"bundle"})
        folder = self._text(table, ("policy",), "bundle", "")
        return PolicyRules(bundle=str(self.home.path / folder) if folder else "")

    def _log(self) -> LogRules:
        table = self._table(("log",))
        self._known(table, ("log",), {"origin"})
        origin = self._text(table, ("log",), "origin", "")
        if origin and not (len(origin) <= 120 and _ORIGIN.fullmatch(origin)):
            self._refuse(
                ("log", "origin"), "must be a name like log.example.org/pilot, at most 120 long"
            )
        return LogRules(origin=origin)

    def _retention(self) -> Retention:
        table = self._table(("retention",))
        self._known(table, ("retention",), {"calls_days"})
        days = self._number(table, ("retention",), "calls_days", 0, 36_500)
        return Retention(calls_days=days)

    def _operators(self) -> list[Operator]:
        rows = self.values.get("operators", [])
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            self._refuse(("operators",), "must be [[operators]] tables")
        found = [self._operator(row, nth) for nth, row in enumerate(rows)]
        names = [each.name for each in found]
        for nth, name in enumerate(names):
            if name in names[:nth]:
                self._refuse(("operators", "name"), f"{name!r} is there twice", nth)
        if not found:
            uid = os.geteuid()
            if is_reserved(_user_name(uid)):
                raise _broken(
                    f"the user {_user_name(uid)}, who runs the services, has a name that pilotctl "
                    "itself acts by: run them as another user"
                )
            found = [Operator(name=_user_name(uid), uid=uid, roles=[Role.ADMIN.value])]
        return found

    def _operator(self, row: dict[str, Any], nth: int) -> Operator:
        at = ("operators",)
        self._known(row, at, {"name", "roles", "groups"}, nth)
        name = self._text(row, at, "name", "", nth)
        try:
            uid = pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):
            self._refuse((*at, "name"), f"there is no user {name!r} on this machine", nth)
        if is_reserved(name):
            why = f"{name!r} is a name that pilotctl itself acts by: no operator may have it"
            self._refuse((*at, "name"), why, nth)
        roles = self._texts(row, at, "roles", nth)
        for role in roles:
            if role not in set(Role):
                known = {each.value for each in Role}
                self._refuse((*at, "roles"), f"{role!r} is no role{_near(role, known)}", nth)
        return Operator(name=name, uid=uid, roles=roles, groups=self._texts(row, at, "groups", nth))

    def _table(self, at: tuple[str, ...]) -> dict[str, Any]:
        value: Any = self.values
        for key in at:
            value = value.get(key, {})
        if not isinstance(value, dict):
            self._refuse(at, "must be a table")
        return value

    def _known(
        self, table: dict[str, Any], at: tuple[str, ...], known: set[str], nth: int = 0
    ) -> None:
        for key in table:
            if key not in known:
                self._refuse((*at, key), f"there is no such key{_near(key, known)}", nth)

    def _text(
        self, table: dict[str, Any], at: tuple[str, ...], key: str, otherwise: str, nth: int = 0
    ) -> str:
        value = table.get(key, otherwise)
        if not isinstance(value, str):
            self._refuse((*at, key), "must be text in quotes", nth)
        return value

    def _number(
        self, table: dict[str, Any], at: tuple[str, ...], key: str, otherwise: int, most: int
    ) -> int:
        value = table.get(key, otherwise)
        if type(value) is not int or not 0 <= value <= most:
            self._refuse((*at, key), f"must be a whole number from 0 to {most}")
        return value

    def _texts(self, table: dict[str, Any], at: tuple[str, ...], key: str, nth: int) -> list[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._refuse((*at, key), "must be a list of texts in quotes", nth)
        return value

    def _refuse(self, at: tuple[str, ...], why: str, nth: int = 0) -> NoReturn:
        nth_of = (nth,) if at[0] == "operators" else ()
        line = line_of(self.text, (at[0], *nth_of, *at[1:])) or 1
        raise _broken(f"{self.home.config}:{line}: {'.'.join(at)}: {why}")


def _near(name: str, known: set[str]) -> str:
    close = suggest(name, known)
    return f"; did you mean {close}?" if close else f"; it takes {', '.join(sorted(known))}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def _broken(message: str) -> PilotError:
    return PilotError("bad-config", message, exit=ExitCode.USAGE)
