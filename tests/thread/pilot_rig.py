"""A real pilot for a test: the services as processes, the command line as a process."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx
import msgspec
import pytest

from console.api.audit import HEAD
from console.api.flow import Flow
from console.cli.main import main
from console.config.profile import load_profile
from console.errors import PilotError
from console.model.text import now
from console.operations.index import find
from console.operations.values import build
from console.services import supervisor
from console.services.settings import prepare
from console.session.session import Session
from tests import nursery, ocsf

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

SETTINGS = """
[data_plane]
host = "127.0.0.1"
ports = [{ports}]
[upstreams.builtin]
kind = "builtin"
[models]
aurora-1 = "{upstream}"
aurora-2 = "builtin"
"""


class Done(msgspec.Struct, frozen=True):
    """How a command ended."""

    exit: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. Loading the machine's certificates costs more than a call, which is by http."""


_really_start = supervisor.start


def start_services(home: Path, **how: Any) -> supervisor.Status:
    """Start the services of `home`, born in the nursery."""
    return _really_start(home, **how, program=nursery.program("console.services.supervisor"))


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="")


def _read(file: IO[str]) -> str:
    file.flush()
    file.seek(0)
    return file.read()


class Rig:
    """A running pilot, its operator at the command line, and the operator's session."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.operator = getpass.getuser()
        self.env = {
            **{name: value for name, value in os.environ.items() if "PILOTCTL" not in name},
            "PILOTCTL_HOME": str(home),
            "COLUMNS": "120",
            "XDG_STATE_HOME": str(home.parent / "state"),
            "XDG_CONFIG_HOME": str(home.parent / "config"),
            "XDG_CACHE_HOME": str(home.parent / "cache"),
        }
        self._mine = threading.local()
        self._sessions: list[Session] = []
        self._urls: list[str] = []
        self._second = ""

    # the command line

    def cli(
        self, *words: str, stdin: str | None = None, seconds: float = 60, user: str = ""
    ) -> Done:
        """Run `pilotctl WORDS` without a terminal.

        As a process where it is given input or another user (by root); else in this one, as the
        process would, without a start of Python each: what `up` starts is born in the nursery.
        """
        alone = threading.current_thread() is threading.main_thread()
        if stdin is None and not user and alone:
            return self._here(words)
        return self.process(*words, stdin=stdin, seconds=seconds, user=user)

    def process(
        self, *words: str, stdin: str | None = None, seconds: float = 60, user: str = ""
    ) -> Done:
        """Run `pilotctl WORDS` as a process without a terminal; as another user, by root."""
        program, env = ["-m", "console"], self.env
        if user:
            state = self.home.parent / f"state-of-{user}"
            state.mkdir(exist_ok=True)
            state.chmod(0o777)
            program = ["-m", "tests.thread.as_user", user]
            env = {**env, "XDG_STATE_HOME": str(state)}
        done = subprocess.run(
            [sys.executable, *program, *words],
            env=env,
            cwd=ROOT,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _here(self, words: Sequence[str]) -> Done:
        before = sys.stdin, sys.stdout, sys.stderr
        with Path(os.devnull).open() as none, _file() as out, _file() as err:
            sys.stdin, sys.stdout, sys.stderr = none, out, err
            try:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(supervisor, "start", start_services)
                    code = main(list(words), self.env)
            finally:
                sys.stdin, sys.stdout, sys.stderr = before
            return Done(code, _read(out), _read(err))

    def ok(self, *words: str) -> str:
        """Run a command that must end with 0; return what it printed."""
        done = self.cli(*words)
        assert done.exit == 0, f"pilotctl {' '.join(words)}: {done.exit}\n{done.out}{done.err}"
        return done.out

    def json(self, *words: str) -> Any:
        """Run a command that must end with 0; return the value that it printed as JSON."""
        return json.loads(self.ok(*words, "-o", "json"))

    # the registry in this process: the same operations, without a process each

    def session(self) -> Session:
        """Return this thread's session."""
        found: Session | None = getattr(self._mine, "session", None)
        if found is None:
            found = self._mine.session = Session(load_profile(self.env), self.env)
            self._sessions.append(found)
        return found

    def close(self) -> None:
        """Close every thread's session."""
        for each in self._sessions:
            each.close()

    def forget(self) -> None:
        """Close every session; the next question begins a new one."""
        self.close()
        self._sessions.clear()
        self._mine = threading.local()
        self._urls = []

    def plan(self, operation: str, **typed: Any) -> Any:
        """Plan an operation as its fronts do: nothing is changed."""
        session, op = self.session(), find(operation)
        assert op.plan is not None
        return session.run(op.plan(build(op, typed, now=now())))

    def do(self, operation: str, *, seconds: float = 60.0, key: str = "", **typed: Any) -> Any:
        """Plan and run an operation as its fronts do, at most `seconds` long."""
        session, op = self.session(), find(operation)

        def run(flow: Flow[T]) -> T:
            return session.run(flow, session.drive(seconds=seconds, idempotency_key=key))

        params = build(op, typed, now=now())
        plan = run(op.plan(params)) if op.plan else None
        return run(op.run(params, plan))

    def do_as_second(self, operation: str, **typed: Any) -> Any:
        """The same as a second operator, who is added where they are not there yet."""
        if not self._second:
            self.do("operator.add", operator="second", roles=["operator"], reason="a second person")
            self._second = self.do("operator.token", operator="second", reason="theirs").secret
        env = {**self.env, "PILOTCTL_TOKEN": self._second}
        session, op = Session(load_profile(env), env), find(operation)
        try:
            params = build(op, typed, now=now())
            plan = session.run(op.plan(params)) if op.plan else None
            return session.run(op.run(params, plan))
        finally:
            session.close()

    # what partners do

    def points(self) -> list[str]:
        """Return the addresses of the points."""
        return [point.url for point in self.do("point.list").items if point.state != "gone"]

    def call(
        self,
        key: str,
        *,
        model: str = "aurora-1",
        words: str = "hello",
        base: str = "",
        client: httpx.Client | None = None,
        headers: dict[str, Any] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Send one chat completion as a partner would."""
        if not base:
            self._urls = self._urls or self.points()
            base = self._urls[0]
        post = client.post if client else partial(httpx.post, verify=PLAIN)
        return post(
            f"{base}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}", **(headers or {})},
            json={
                "model": model,
                "max_tokens": 16,
                "messages": [{"role": "user", "content": words}],
                **more,
            },
            timeout=60,
        )

    # faults

    def stop(self, *names: str) -> None:
        """Stop processes, to stay stopped."""
        for name in names:
            supervisor.stop_one(self.home, name)

    def start(self, *names: str) -> None:
        """Start processes that were stopped."""
        for name in names:
            supervisor.start_one(self.home, name)
        self._urls = []

    def restore(self) -> None:
        """Start what is stopped and release every lock: the pilot is as a test found it."""
        found = supervisor.status(self.home)
        stopped = [each.name for each in found.processes if not each.pid]
        if stopped:
            self.start(*stopped)
        for lock in self.do("lock.list", state="active", limit="0").items:
            self.do("lock.release", lock=lock.id, reason="the test is over")

    def pid(self, name: str) -> int:
        """Return the process id of one process, 0 while it does not run."""
        found = supervisor.status(self.home)
        return next(each.pid for each in found.processes if each.name == name)

    def all_running(self) -> bool:
        """Tell whether every process serves."""
        return all(each.state == "running" for each in supervisor.status(self.home).processes)

    # what happened

    def events(self, **typed: Any) -> list[Any]:
        """Return the events of the log, oldest first."""
        return list(self.do("audit.list", limit="0", **typed).items)[::-1]

    def recorded(self) -> dict[str, int]:
        """Return how many events each service has recorded, logged or not."""
        return {name: len(self.outbox(name)) for name in ("policy", "gateway", "audit")}

    def changes(self) -> dict[str, int]:
        """Return the same without the digests of call records, which the clock makes."""
        few = "instr(body, 'calls.digest') = 0"
        return {name: len(self.outbox(name, few)) for name in ("policy", "gateway", "audit")}

    def outbox(self, name: str, where: str = "1") -> list[tuple[int, str]]:
        """Return a service's events, (sequence, id), from its own store."""
        store = f"file:{self.home / name}.db?mode=ro"
        with closing(sqlite3.connect(store, uri=True, timeout=60)) as conn:
            return list(conn.execute(f"SELECT seq, event_id FROM outbox WHERE {where} ORDER BY 1"))

    def logged(self) -> list[Any]:
        """Wait until everything that is recorded is logged; return the log, oldest first.

        What is listed a moment before a signed head holds it is not logged yet.
        """
        session = self.session()

        def whole() -> list[Any]:
            recorded, events = self.recorded(), self.events()
            counts = Counter(each.source for each in events)
            logged = all(counts[name] >= recorded[name] for name in recorded)
            signed = session.run(HEAD()).tree_size
            return events if logged and signed >= len(events) else []

        return self.until(whole, what="everything recorded is logged")

    def actions(self) -> list[str]:
        """Wait until everything recorded is logged; return what was changed, oldest first.

        What was read (`read.*`) is left out: it depends on how somebody came there.
        """
        return [each.action for each in self.logged() if not each.action.startswith("read.")]

    def until(self, look: Callable[[], T], seconds: float = 60.0, what: str = "") -> T:
        """Look until something is found; fail after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds} s: {what or look}"
            time.sleep(0.05)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's, that every user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="pilot-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def configure(
    home: Path, *, ports: Sequence[int] = (0,), more: str = "", upstream: str = "builtin"
) -> None:
    """Write the settings of a pilot in `home`. `upstream` serves the model aurora-1."""
    settings = prepare(home).path / "pilot.toml"
    settings.touch(0o600)
    settings.write_text(SETTINGS.format(ports=", ".join(map(str, ports)), upstream=upstream) + more)


@contextmanager
def running(
    home: Path,
    *,
    points: int = 1,
    ports: Sequence[int] = (),
    more: str = "",
    upstream: str = "builtin",
) -> Iterator[Rig]:
    """Start a pilot in `home`, and leave nothing of it running."""
    configure(home, ports=ports or [0] * points, more=more, upstream=upstream)
    rig = Rig(home)
    try:
        start_services(home)
        yield rig
    finally:
        rig.close()
        supervisor.stop(home)


def faults_of(events: Sequence[Any]) -> list[str]:
    """Return what of the events is not valid OCSF, with the action that it is about."""
    return [
        f"{event.action}: {fault}"
        for event in events
        for fault in ocsf.faults(json.loads(event.body))
    ]


# a programme, and who takes part in it

CAPABILITY = "cyber.vuln-discovery"


def programme(rig: Rig, *, tier: int = 2, partners: Sequence[str] = ("acme",)) -> None:
    """A pilot with one capability of `tier`, its terms, and vetted partners."""
    rig.do(
        "pilot.create", slug="aurora", title="Aurora", models=["aurora-1", "aurora-2"],
        stages=["limited:most-partners=1000,longest=90d"], reason="agreed",
    )  # fmt: skip
    capability(rig, CAPABILITY, tier)
    publish(rig)
    for partner in partners:
        vetted(rig, partner)


def capability(
    rig: Rig, slug: str, tier: int, *, category: str = "dual-use", pilot: str = "aurora",
    model: str = "aurora-1",
) -> Any:  # fmt: skip
    """A capability of the pilot."""
    return rig.do(
        "capability.create", slug=slug, title=slug, pilot=pilot, category=category,
        tier=str(tier), models=[model], routes=["chat.completions", "messages"],
        longest_grant_seconds="90d", reason="agreed",
    )  # fmt: skip


def publish(rig: Rig, text: str = "For the stated purpose only.\n", **more: Any) -> Any:
    """The next version of the pilot's terms."""
    file = rig.home.parent / "terms.txt"
    file.write_text(text)
    return rig.do(
        "terms.publish", pilot="aurora", title="Terms", text=str(file), reason="agreed", **more
    )


def vetted(rig: Rig, partner: str, *capabilities: str) -> None:
    """A partner for whom nothing is missing."""
    rig.do(
        "partner.create", slug=partner, name=partner.title(), sponsor=getpass.getuser(),
        egress=["127.0.0.0/24"], subprocessors=["datawharf"], reason="asked to join",
    )  # fmt: skip
    rig.do("partner.verify", partner=partner, until="200d", evidence="file 7", reason="vetted")
    rig.do(
        "terms.accept", pilot="aurora", partner=partner, signatory="counsel",
        evidence="signed copy", reason="received",
    )  # fmt: skip
    for each in capabilities or (CAPABILITY,):
        assessed(rig, partner, each)


def assessed(rig: Rig, partner: str, slug: str) -> None:
    """An accepted assessment of the partner for a capability."""
    made = rig.do(
        "assessment.create", partner=partner, capability=slug, assessor="risk desk",
        summary="residual risk is low", valid_until="180d", reason="read on site",
    )  # fmt: skip
    accepted(rig, made.id)


def accepted(rig: Rig, assessment: str) -> None:
    """Accept an assessment that the rig's operator entered: by a second person where one is."""
    try:
        rig.do("assessment.accept", assessment=assessment, reason="accepted")
    except PilotError as error:
        if error.code != "refused":
            raise
        rig.do_as_second("assessment.accept", assessment=assessment, reason="accepted")


def granted(rig: Rig, partner: str = "acme", slug: str = CAPABILITY, **more: Any) -> Any:
    """A grant, active where nothing is missing."""
    return rig.do(
        "grant.create",
        **{
            "partner": partner, "pilot": "aurora", "stage": "limited", "capabilities": [slug],
            "models": ["aurora-1"], "purpose": "defence", "expires_at": "30d",
            "reason": "approved use", **more,
        },
    )  # fmt: skip


def key_of(rig: Rig, grant_id: str, **more: Any) -> tuple[str, str]:
    """A key under the grant: its id, and the raw key once its point would serve it."""
    issued = rig.do("key.issue", grant=grant_id, reason="first key", **more)
    assert issued.secret
    # The point hears of it a moment later.
    rig.until(lambda: rig.call(issued.secret).status_code != 401, what="the point knows the key")
    return issued.credential.id, issued.secret
