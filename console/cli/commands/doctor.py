"""`pilotctl doctor`: what of this installation works, and how to mend what does not."""

from __future__ import annotations

import json
import locale
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from console import __version__
from console.api.audit import HEAD, compared_from
from console.api.gateway import POINT_LIST
from console.api.policy import GRANT_LIST, PARTNER_LIST
from console.api.status import STATUS
from console.cli.parser import Parser, add_common, common_of
from console.config.paths import state_folder
from console.errors import ExitCode, PilotError
from console.model.scope import open_scope
from console.model.stored import Page
from console.model.text import now, rfc3339
from console.operations.listing import whole
from console.private_files import make_private_folder
from console.programs import code_command, module_environment

RENEWED_BEFORE = timedelta(days=14)
"""A certificate that ends sooner is told."""

if TYPE_CHECKING:
    from console.cli.context import Context
    from console.cli.parser import Common
    from console.config.profile import Profile
    from console.model.operator import ServiceStatus
    from console.session.session import Session

_INSIDE = {"in tmux": "TMUX", "in screen": "STY", "over SSH": "SSH_CONNECTION"}
_LOCAL = ("aiohttp", "sqlalchemy", "cedarpy")


class Finding(msgspec.Struct, kw_only=True):
    """One thing that was looked at. `state` is `ok`, `note` or `bad`."""

    check: str
    state: str
    found: str
    mend: str = ""


def run(argv: list[str], context: Context) -> int:
    """Look at everything; exit 1 where something is bad."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    output.check(Finding)
    findings = list(_findings(common, context))
    output.result(Page(as_of=now(), source="this machine", items=findings), Page[Finding])
    bad = any(finding.state == "bad" for finding in findings)
    return ExitCode.FAILED if bad else ExitCode.DONE


def parser_of(_name: str = "doctor") -> Parser:
    """Return the parser of this command."""
    parser = Parser("pilotctl doctor", "What of this installation works.")
    add_common(parser)
    return parser


def _findings(common: Common, context: Context) -> Iterator[Finding]:
    yield _good("pilotctl", f"{__version__}, Python {sys.version.split()[0]}")
    yield from _terminal(context)
    missing = [name for name in _LOCAL if find_spec(name) is None]
    yield (
        Finding(
            check="services",
            state="note",
            found=f"not installed: {', '.join(missing)}",
            mend="pip install 'pilotctl[local]', to run `pilotctl up` here",
        )
        if missing
        else _good("services", "installed")
    )
    try:
        profile = context.profile(common)
    except PilotError as error:
        yield from _screen("", context.environ)
        yield Finding(check="profile", state="bad", found=error.message, mend=error.hint)
        return
    bindings = [[str(part) if isinstance(part, Path) else part for part in each]
                for each in profile.bindings]  # fmt: skip
    yield from _screen(str(profile.setting("theme")), context.environ, bindings)
    yield _good("profile", f"{profile.name} ({profile.chosen_by}), {profile.tier}")
    if profile.file.exists() and profile.file.stat().st_mode & 0o022:
        yield Finding(
            check="configuration",
            state="bad",
            found=f"{profile.file} can be written by others",
            mend=f"chmod 600 {profile.file}",
        )
    session = context.session(common, profile)
    try:
        yield _checked("token", lambda: _token(session, profile))
        yield from _apis(session, profile)
        yield from _upstreams(session)
        yield _checked("log pin", lambda: _log_pin(session))
        yield _state_folder(state_folder(context.environ))
        yield from _open_scopes(session)
    finally:
        session.close()


def _upstreams(session: Session) -> Iterator[Finding]:
    """Say of each model API behind the points how it is, by the calls that went there."""
    try:
        points = session.run(whole(POINT_LIST))
    except PilotError:
        return  # the gateway was asked above
    for point in points:
        for each in point.upstreams:
            if each.kind == "builtin":
                continue
            check = f"upstream {each.name}"
            if each.state in {"serving", "untried"}:
                said = {"serving": "answers", "untried": "no call went there yet"}[each.state]
                yield _good(check, f"{said}, at {point.name}")
                continue
            found = f"{each.state.replace('_', ' ')} at {point.name}: {each.why}"
            if each.last_success_at is not None:
                found += f"; it last answered at {each.last_success_at:%Y-%m-%d %H:%M:%S} UTC"
            mend = {
                "dead": "see its address and key in pilot.toml, and the upstream's own status",
                "key_fault": "chmod 600 the key file, or put a usable one in its place",
            }.get(each.state, "")
            state = "note" if each.state == "failing" else "bad"
            yield Finding(check=check, state=state, found=found, mend=mend)


def _apis(session: Session, profile: Profile) -> Iterator[Finding]:
    """Ask each API how it is, by its address, TLS and token as every command does."""
    from console.net.tls import certificate_end, clear_fault  # noqa: PLC0415  # as a session

    ca_file = str(profile.setting("ca_file"))
    for api, route in STATUS.items():
        address = str(profile.setting(api))
        found = _address(api, address)
        if found.state == "bad":
            yield found
            continue
        try:
            status = session.run(route())
        except PilotError as error:
            fault = clear_fault(address)
            message = f"{address} {fault.why}" if fault else error.message
            mend = fault.hint if fault else error.hint
            yield Finding(check=api, state="bad", found=message, mend=mend)
            continue
        yield _answered(api, address, status)
        yield from _transport(api, address, certificate_end(address, ca_file)
                              if address.startswith("https:") else None)  # fmt: skip
        for note in (*status.notes, *status.dependency_notes):
            if note not in status.damage and not note.startswith("upstream "):
                yield Finding(check=api, state="note", found=note)
        for damage in status.damage:
            yield Finding(check="log store", state="bad", found=damage, mend=_MEND_STORE)
        if api == "audit" and not status.damage:
            yield _log_store(session)


_MEND_STORE = "pilotctl audit verify; put the audit store back from a backup"


def _log_store(session: Session) -> Finding:
    """Compare what audit lists with what its log holds: the oldest entries and the newest.

    Audit itself compares everything, now and then, and says in its status what it found.
    """
    try:
        signed = session.run(HEAD()).tree_size
        part = session.run(compared_from(0))
        findings, compared, size = [*part.findings], part.next, part.tree_size
        if size < signed:
            found = f"the store answers for {size} of the {signed} entries that are signed"
            return Finding(check="log store", state="bad", found=found, mend=_MEND_STORE)
        if part.next < size:
            start = max(part.next, size - part.next)
            part = session.run(compared_from(start))
            findings += part.findings
            compared += part.next - start
    except PilotError as error:
        return Finding(check="log store", state="note", found=f"not compared: {error.message}")
    if findings:
        first = findings[0]
        found = f"the store differs from the log in {len(findings)} of {compared} entries"
        found += f"; {first.where}: {first.message}"
        return Finding(check="log store", state="bad", found=found, mend=_MEND_STORE)
    which = "all" if compared >= size else "the oldest and newest"
    return _good("log store", f"{which} {compared} entries are as the log holds them")


def _answered(api: str, address: str, status: ServiceStatus) -> Finding:
    """Say who the API takes the caller for. Whoever has no role can do nothing here."""
    who = status.operator
    if status.service != api:
        return Finding(
            check=api,
            state="bad",
            found=f"{address} is the {status.service} API",
            mend=f"set `{api}` in the profile",
        )
    if not who.roles:
        return Finding(
            check=api,
            state="bad",
            found=f"{address} answers; {who.name} has no role there",
            mend="ask an admin: pilotctl operator add",
        )
    return _good(api, f"{address} answers, to {who.name} ({', '.join(who.roles)})")


def _transport(api: str, address: str, ends: datetime | None) -> Iterator[Finding]:
    """Tell what of the way there will not last, or is open to others."""
    host = urlsplit(address).hostname or ""
    if address.startswith("http:") and not _is_loopback(host):
        yield Finding(
            check=api,
            state="bad",
            found=f"{address} is in clear: whoever is on the way reads the token",
            mend="serve TLS (cert_file and key_file in its pilot.toml), and write https://",
        )
    if ends is not None and ends - now() < RENEWED_BEFORE:
        yield Finding(
            check=api,
            state="note",
            found=f"its certificate ends at {rfc3339(ends)}",
            mend="renew the file that cert_file names in its pilot.toml",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_MAX_GRANTS = 20
"""Grants with an open scope that are named; of more, their number is told."""


def _open_scopes(session: Session) -> Iterator[Finding]:
    """Name the grants of tier 2 and above whose scope stands open, as it once could."""
    try:
        grants = session.run(whole(GRANT_LIST, state="active"))
        partners = session.run(whole(PARTNER_LIST))
    except PilotError:
        return  # policy was asked above
    egress = {each.slug: each.egress for each in partners}
    found = []
    for grant in grants:
        declared = egress.get(grant.partner)
        if ways := open_scope(grant.networks, grant.principals, grant.tier, declared):
            found.append((grant, ways))
    for grant, ways in found[:_MAX_GRANTS]:
        yield Finding(
            check="grant scope",
            state="note",
            found=f"{grant.id} of {grant.partner}, tier {grant.tier}: {'; '.join(ways)}",
            mend=f"pilotctl grant renew {grant.id} --expires 90d --reason WHY",
        )
    if len(found) > _MAX_GRANTS:
        more = f"{len(found) - _MAX_GRANTS} more grants like these"
        yield Finding(check="grant scope", state="note", found=more)


def _terminal(context: Context) -> Iterator[Finding]:
    terminal = context.terminal
    term = context.environ.get("TERM", "")
    words = f"{term or 'no TERM'}, {terminal.columns} columns"
    if terminal.stdout_tty and terminal.dumb:
        mend = "set TERM to what your terminal is"
        yield Finding(check="terminal", state="note", found=words, mend=mend)
    else:
        inside = [word for word, name in _INSIDE.items() if context.environ.get(name)]
        there = "" if terminal.stdout_tty else "; standard output is none"
        yield _good("terminal", ", ".join([words, *inside]) + there)
    encoding = locale.getpreferredencoding(False)
    if encoding.lower().replace("-", "") != "utf8":
        mend = "set LC_ALL=C.UTF-8"
        yield Finding(check="encoding", state="note", found=encoding, mend=mend)


_LOOK = """\
import json, os, sys
from console.tui.screen_check import facts
print(json.dumps(facts(os.environ, sys.argv[1], json.loads(sys.argv[2]))))
"""


def _screen(
    theme: str, environ: Mapping[str, str], bindings: Sequence[Sequence[object]] = ()
) -> Iterator[Finding]:
    """What the console would do on this terminal: display layer, theme, clipboard, own keys."""
    # in a process of its own: the command line does not import the screen
    done = subprocess.run(  # noqa: S603  # our own interpreter and words
        code_command(_LOOK, theme, json.dumps(bindings)),
        capture_output=True, text=True, check=False, timeout=60, env=module_environment(environ),
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it cannot be loaded"])[-1]
        yield Finding(check="console", state="bad", found=said, mend="install pilotctl again")
        return
    for check, state, found, mend in json.loads(done.stdout):
        yield Finding(check=check, state=state, found=found, mend=mend)


def _address(api: str, address: str) -> Finding:
    if not address:
        mend = f"set `{api}` in the profile"
        return Finding(check=api, state="bad", found="no address", mend=mend)
    if not address.startswith("unix:"):
        return _good(api, address)
    path = Path(address.removeprefix("unix:"))
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return Finding(check=api, state="bad", found=f"{path} is not a socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(os.fspath(path))
    except OSError as error:
        found = f"{address}: {error.strerror or error}"
        return Finding(check=api, state="bad", found=found, mend="pilotctl up")
    return _good(api, address)


def _token(session: Session, profile: Profile) -> str:
    token = session.token()
    if token:
        return f"from {token.source}"
    remote = [
        api
        for api in ("policy", "gateway", "audit")
        if str(profile.setting(api)).startswith(("http:", "https:"))
    ]
    if remote:
        raise PilotError(
            "no-token",
            f"none, and {' and '.join(remote)} are not on local sockets: they want one",
            hint="set `token` in the profile, or PILOTCTL_TOKEN",
        )
    return "none is needed on local sockets"


def _log_pin(session: Session) -> str:
    trust = session.log_trust
    key = trust.pinned_key()
    if not key:
        return "nothing pinned yet: the first proof pins the log's key"
    name = key.split("+")[0]
    pin = trust.monitor.pinned(name)
    evidence = trust.monitor.evidence(name)
    if evidence:
        raise PilotError("log-failed", f"{name} failed before: see {evidence[0].parent}")
    return f"{name}, {pin.size if pin else 0} entries"


_TRIED_BYTES = 16_384


def _state_folder(folder: Path) -> Finding:
    """Try whether the console can keep what it sees of the log: nothing is proven without."""
    try:
        make_private_folder(folder)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            check="state folder",
            state="bad",
            found=f"{folder} cannot be written: {error.strerror}; nothing is proven to be logged",
            mend="free some space there, make it yours, or set XDG_STATE_HOME=DIR",
        )
    return _good("state folder", f"{folder} can be written")


def _checked(check: str, look: Callable[[], str]) -> Finding:
    try:
        return _good(check, look())
    except PilotError as error:
        return Finding(check=check, state="bad", found=error.message, mend=error.hint)


def _good(check: str, found: str) -> Finding:
    return Finding(check=check, state="ok", found=found)
