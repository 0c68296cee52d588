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
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console import __version__
from console.api.engines import Paging
from console.cli.parser import Parser, add_common, common_of
from console.errors import ExitCode, PilotError
from console.model.stored import Page
from console.model.text import now
from console.programs import code_command, module_environment

if TYPE_CHECKING:
    from console.cli.context import Context
    from console.cli.parser import Common
    from console.config.load import Profile
    from console.session import Session

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
    for api in ("policy", "gateway", "audit"):
        yield _address(api, str(profile.setting(api)))
    yield _checked("token", lambda: _token(common, profile, context))
    yield _checked("log pin", lambda: _log_pin(common, profile, context))
    yield from _notes(common, profile, context)


def _notes(common: Common, profile: Profile, context: Context) -> Iterator[Finding]:
    """Ask each API how it is: pages that do not arrive, broken rules, a log that stands still."""
    try:
        session = context.session(common, profile)
    except PilotError:
        return  # the profile's own findings say why
    try:
        statuses = session.engines.statuses
        for ask in (statuses.policy, statuses.gateway, statuses.audit):
            try:
                status = session.run(ask())
            except PilotError:
                continue  # its address was looked at above
            for note in (*status.notes, *status.dependency_notes):
                if not note.startswith("upstream "):
                    yield Finding(check=status.service, state="note", found=note)
        yield from _upstreams(session)
    finally:
        session.close()


def _upstreams(session: Session) -> Iterator[Finding]:
    """Say of each model API behind the points how it is, by the calls that went there."""
    try:
        points = session.run(session.engines.points.find(Paging(limit=500))).items
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
from console.tui.facts import facts
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
    return _good(api, f"{address} takes connections")


def _token(common: Common, profile: Profile, context: Context) -> str:
    session = context.session(common, profile)
    try:
        token = session.token()
    finally:
        session.close()
    return f"from {token.source}" if token else "none is needed on local sockets"


def _log_pin(common: Common, profile: Profile, context: Context) -> str:
    session = context.session(common, profile)
    try:
        trust = session.log_trust
        key = trust.pinned_key()
        if not key:
            return "nothing pinned yet: the first proof pins the log's key"
        name = key.split("+")[0]
        pin = trust.monitor.pinned(name)
        evidence = trust.monitor.evidence(name)
    finally:
        session.close()
    if evidence:
        raise PilotError("log-failed", f"{name} failed before: see {evidence[0].parent}")
    return f"{name}, {pin.size if pin else 0} entries"


def _checked(check: str, look: Callable[[], str]) -> Finding:
    try:
        return _good(check, look())
    except PilotError as error:
        return Finding(check=check, state="bad", found=error.message, mend=error.hint)


def _good(check: str, found: str) -> Finding:
    return Finding(check=check, state="ok", found=found)
