"""Services and screens that are born with their modules: processes, forked and not started.

Importing what one stands on takes longer than most tests of it. A process for each worker of
the tests imports it once, and forks a process for each start; what `python -m` itself does is
shown by the supervisor's own tests and by every command that starts a pilot or a screen.
So are the commands of a session that a shell runs, where the session is what is tested.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from console.programs import module_command

ROOT = Path(__file__).parents[1]
STARTER = Path(__file__).with_name("nursery_start.py")
LEASH = "console.services.supervisor.leash"
SERVICES = tuple(
    f"console.services.{each}.__main__"
    for each in ("policy", "gateway.control", "gateway.point", "audit", "supervisor")
)
SCREENS = ("console.tui.start", "console.tui.app.console_app", "fake_pilot", "still_pilot")
PROGRAMS = ROOT / "tests" / "tui"
"""Where the programs are that draw a screen over a pilot in memory."""
CONSOLE = "console"
"""The command line's own module."""
SETS = "TEST_SETS"
"""Names what a process that is born finds in its modules, as a JSON object: a pause or patience
of a service by `module:NAME`, so that a test need not wait it out."""
CAN = sys.platform == "linux" and hasattr(os, "pidfd_open")

# in the tests' process


class Born:
    """A process of a nursery, as `subprocess.Popen` would have it."""

    def __init__(self, conn: socket.socket) -> None:
        self._conn = conn
        self.returncode: int | None = None
        self.pid = int(self._heard(None))

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and (said := self._heard(seconds)):
            self.returncode = int(said)
            self._conn.close()
        return self.returncode

    def _heard(self, seconds: float | None) -> str:
        if not select.select([self._conn], [], [], seconds)[0]:
            return ""
        said = b""
        while not said.endswith(b"\n"):
            part = self._conn.recv(1)  # what comes at once may be its pid and its end
            assert part, "the nursery has ended"
            said += part
        return said.decode()


class _Nursery:
    """A process that has imported modules, and the socket at which it is asked for children."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nursery-"))
        self.path = self._folder / "s"
        path = os.pathsep.join([str(PROGRAMS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", str(self.path), *modules],
            cwd=ROOT, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        atexit.register(self._close)
        end = time.monotonic() + 60
        while not self.path.exists():
            assert self._process.poll() is None, "the nursery did not start"
            assert time.monotonic() < end, "the nursery does not start"
            time.sleep(0.01)

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        shutil.rmtree(self._folder)

    def bear(
        self, module: str, words: Sequence[str], env: Mapping[str, str], fds: Sequence[int],
        *, on_terminal: bool = False,
    ) -> Born:  # fmt: skip
        """Return a process that runs a module with these streams."""
        asked = {
            "module": module, "words": words, "env": dict(env), "cwd": str(ROOT),
            "on_terminal": on_terminal,
        }  # fmt: skip
        conn = socket.socket(socket.AF_UNIX)
        conn.connect(str(self.path))
        socket.send_fds(conn, [json.dumps(asked).encode() + b"\n"], fds)
        return Born(conn)


_made: dict[tuple[str, ...], _Nursery] = {}
_making = threading.Lock()


def _nursery(modules: tuple[str, ...] = SERVICES) -> _Nursery:
    """Return the nursery of this process with these modules, made when it is first asked for."""
    with _making:
        if modules not in _made:
            _made[modules] = _Nursery(modules)
        return _made[modules]


def start(module: str, *words: str, out: int, err: int) -> Born | subprocess.Popen[bytes]:
    """Run `python -m MODULE WORDS…`, which reads nothing and writes to these descriptors."""
    if not CAN:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
    with Path(os.devnull).open() as none:
        return _nursery().bear(module, words, os.environ, [none.fileno(), out, err])


def start_screen(program: str, words: Sequence[str], env: Mapping[str, str], terminal: int) -> Born:
    """Run a program of `PROGRAMS` as the session that a terminal controls."""
    return _nursery(SCREENS).bear(program, words, env, [terminal] * 3, on_terminal=True)


def program(module: str) -> list[str]:
    """Return the words that do what `python -m MODULE` does."""
    if not CAN:
        return [sys.executable, "-m", module]
    return [sys.executable, "-I", "-S", str(STARTER), str(_nursery().path), module]


# in the nursery


def main() -> None:
    """Import the modules that are named, then fork a process for each connection."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{sys.argv[1]}.new")
    server.listen(64)
    Path(f"{sys.argv[1]}.new").rename(sys.argv[1])  # who finds it is heard
    for name in sys.argv[2:]:
        importlib.import_module(name)
        if name.endswith(".__main__"):
            del sys.modules[name]  # each runs it anew
    gc.collect()
    gc.freeze()
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting: dict[int, socket.socket] = {}
    while True:
        ready = select.select([server, woken, 0], [], [])[0]
        if 0 in ready:
            return  # whoever made it has ended
        if woken in ready:
            woken.recv(4096)
            _bury(waiting)
        if server in ready:
            conn = server.accept()[0]
            pid = _bear(conn)
            waiting[pid] = conn
            _say(conn, pid)


def _bury(waiting: dict[int, socket.socket]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with waiting.pop(pid) as conn:
            _say(conn, os.waitstatus_to_exitcode(status))


def _say(conn: socket.socket, number: int) -> None:
    with suppress(OSError):  # it was only a starter
        conn.sendall(f"{number}\n".encode())


def _bear(conn: socket.socket) -> int:
    said, fds = b"", []
    while not said.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(conn, 65536, 8)
        said, fds = said + part, fds + more
    asked: dict[str, Any] = json.loads(said)
    if asked["module"] == CONSOLE:
        _grow_up()
    pid = os.fork()
    if pid == 0:
        os.chdir(asked["cwd"])
        words = [str(fds[3]) if each == "{fd}" else each for each in asked["words"]]
        if asked.get("on_terminal"):
            os.setsid()
            fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
        _become(asked["module"], words, asked["env"], fds)
    for each in fds:
        os.close(each)
    return pid


@cache
def _grow_up() -> None:
    """Import what commands stand on: all but the screens and the services, which few begin."""
    for name in ("console.cli", "console.operations"):
        package = importlib.import_module(name)
        for each in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(each.name)
    gc.collect()
    gc.freeze()


def _become(
    module: str, words: Sequence[str], env: Mapping[str, str], fds: Sequence[int]
) -> NoReturn:
    """Be the module, as a new process is: its streams, its words, nobody's handlers."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, given in enumerate(fds[:3]):
            os.dup2(given, stream)
        for each in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            if each > 2 and each not in fds[3:]:
                with suppress(OSError):
                    os.close(each)
        os.environ.clear()
        os.environ.update(env)
        for place, value in json.loads(env.get(SETS, "{}")).items():
            of, _, name = place.partition(":")
            setattr(sys.modules[of], name, value)
        asyncio.create_subprocess_exec = _born_of_supervisor  # type: ignore[assignment]
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        else:
            code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]  # what a process waits for at its end
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# in a supervisor that a nursery bore


_really_start = asyncio.create_subprocess_exec


async def _born_of_supervisor(program: str, *words: str, **more: Any) -> Any:
    """Fork the services of a supervisor from it: it has their modules. Start all else."""
    if LEASH not in words:
        return await _really_start(program, *words, **more)
    leash = module_command(LEASH)
    assert (program, *words)[: len(leash)] == leash, f"another command than {leash}: {words}"
    readable, writable = os.pipe()
    none = os.open(os.devnull, os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        _become(LEASH, words[len(leash) - 1 :], more["env"], [none, writable, writable])
    os.close(writable)
    os.close(none)
    loop = asyncio.get_running_loop()
    stdout = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(stdout)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(readable, "rb", 0))
    return _Supervised(pid, stdout)


class _Supervised:
    """A process as asyncio has it."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._over = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


if __name__ == "__main__":
    # by its name, so that what it forks finds the one module
    from tests import nursery

    nursery.main()
