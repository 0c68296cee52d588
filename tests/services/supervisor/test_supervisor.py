"""The supervisor over real processes: a tiny pilot of sample services (`tiny.py`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from console.errors import ExitCode, PilotError
from console.services import supervisor
from console.services.settings import load
from console.services.supervisor.bounded_log import BoundedLog
from console.services.supervisor.processes import processes
from tests import nursery
from tests.services.supervisor.tiny import MODULE, PROGRAM

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TINY_THIRD", raising=False)
    place = tmp_path_factory.mktemp("h")
    (place / "pilot.toml").write_text("[data_plane]\nports = [0]\n")
    yield place
    with suppress(PilotError):
        supervisor.stop(place)


def up(home: Path, program: Sequence[str] = ()) -> supervisor.Status:
    """Start the tiny pilot: born of the nursery, or by the command that it has by itself."""
    return supervisor.start(home, program=program or [*nursery.program(MODULE), "supervise"])


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not become true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process runs: a zombie does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def answers(home: Path, name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(home / "run" / f"{name}.sock"))
            sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False


def test_up_serves_a_second_up_changes_nothing_and_down_leaves_nothing(home: Path) -> None:
    first = up(home, PROGRAM)
    assert (first.running, first.already) == (True, False)
    assert [(each.name, each.state) for each in first.processes] == [
        ("policy", "running"),
        ("gateway", "running"),
    ]
    assert answers(home, "policy")
    again = up(home)
    assert again.already
    assert [each.pid for each in again.processes] == [each.pid for each in first.processes]
    pids = [first.pid, *(each.pid for each in first.processes)]
    assert all(map(alive, pids))
    assert supervisor.stop(home) is True
    until(lambda: not any(map(alive, pids)))
    assert sorted(each.name for each in (home / "run").iterdir()) == ["supervisor.lock"]
    assert supervisor.status(home).running is False
    assert supervisor.stop(home) is False
    for log in (home / "logs").iterdir():
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert not (home / "policy.db-wal").exists()  # closed, not killed


def test_two_ups_at_once_make_one_pilot(home: Path) -> None:
    found: list[supervisor.Status] = []
    both = [threading.Thread(target=lambda: found.append(up(home))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted(each.already for each in found) == [False, True]
    assert found[0].pid == found[1].pid


def test_a_killed_process_is_started_again_at_once_and_the_others_do_not_notice(home: Path) -> None:
    before = {each.name: each.pid for each in up(home).processes}
    os.kill(before["policy"], signal.SIGKILL)
    until(lambda: not alive(before["policy"]))
    until(lambda: answers(home, "policy"))
    after = {each.name: each for each in supervisor.status(home).processes}
    assert after["gateway"].pid == before["gateway"]
    assert after["policy"].pid not in {0, before["policy"]}
    assert after["policy"].restarts == 1
    assert "SIGKILL" in after["policy"].why
    said = (home / "logs" / "supervisor.log").read_text()
    assert "policy ended: killed by SIGKILL; starts again in 0.05 s" in said


def test_one_process_can_be_stopped_and_started_while_the_others_serve(home: Path) -> None:
    up(home)
    supervisor.stop_one(home, "policy")
    assert not answers(home, "policy")
    assert answers(home, "gateway")
    assert {each.name: each.state for each in supervisor.status(home).processes} == {
        "policy": "stopped",
        "gateway": "running",
    }
    assert up(home).already  # it is not brought back behind the operator's back
    assert not answers(home, "policy")
    supervisor.stop_one(home, "policy")
    supervisor.start_one(home, "policy")
    assert answers(home, "policy")
    supervisor.start_one(home, "policy")
    with pytest.raises(PilotError) as caught:
        supervisor.stop_one(home, "polcy")
    assert caught.value.exit is ExitCode.NOT_FOUND
    assert "policy, gateway" in caught.value.message


def test_when_the_supervisor_is_killed_no_process_stays_and_up_works_again(home: Path) -> None:
    first = up(home, PROGRAM)
    os.kill(first.pid, signal.SIGKILL)
    for each in first.processes:
        until(lambda pid=each.pid: not alive(pid))  # type: ignore[misc]
    assert (home / "run" / "supervisor.lock").read_text().strip() == str(first.pid)  # stale
    assert supervisor.status(home).running is False
    second = up(home)
    assert second.already is False
    assert answers(home, "policy")


def test_a_frozen_supervisor_is_killed_by_down_and_leaves_no_orphan(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.services.supervisor.launch.STOP_SECONDS", -2.5)
    first = up(home)
    os.kill(first.pid, signal.SIGSTOP)

    def never(*_args: object, **_named: object) -> None:
        raise PilotError("unavailable", "it does not answer")

    monkeypatch.setattr("console.services.supervisor.launch._order", never)
    assert supervisor.stop(home, drain=0) is True
    for each in first.processes:
        until(lambda pid=each.pid: not alive(pid))  # type: ignore[misc]


def test_a_process_that_ignores_the_end_is_killed_when_patience_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_THIRD", "stubborn")
    monkeypatch.setenv("TINY_STOP_SECONDS", "1")
    pids = [each.pid for each in up(home).processes]
    began = time.monotonic()
    assert supervisor.stop(home)
    assert 0.9 < time.monotonic() - began < 40  # it would sleep for a minute
    until(lambda: not any(map(alive, pids)))


def test_a_process_that_cannot_start_ends_the_start_and_nothing_is_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_THIRD", "crashes")
    with pytest.raises(PilotError) as caught:
        up(home)
    assert "crashes does not start: exit code 7" in caught.value.message
    assert "crashes.log" in caught.value.hint
    assert supervisor.status(home).running is False
    assert not answers(home, "policy")


def test_a_damaged_store_is_named_by_up(home: Path) -> None:
    up(home)
    supervisor.stop(home)
    store = home / "policy.db"
    store.write_bytes(store.read_bytes()[:5000])
    before = store.read_bytes()
    with pytest.raises(PilotError) as caught:
        up(home)
    assert caught.value.code == "store-damaged"
    assert str(store) in caught.value.message
    assert store.read_bytes() == before
    assert supervisor.status(home).running is False


def test_a_port_in_use_is_named_before_anything_starts(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (home / "pilot.toml").write_text(f"[data_plane]\nports = [{port}]\n")
        with pytest.raises(PilotError) as caught:
            up(home)
    assert caught.value.code == "port-in-use"
    assert f"port {port}" in caught.value.message
    assert "ports" in caught.value.hint
    assert "pilot.toml" in caught.value.hint
    assert not (home / "logs" / "policy.log").exists()


def test_a_port_taken_meanwhile_is_named_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_THIRD", "listens")
    monkeypatch.setattr("console.services.supervisor.launch.refuse_taken_ports", lambda _read: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (home / "pilot.toml").write_text(f"[data_plane]\nports = [{port}]\n")
        with pytest.raises(PilotError) as caught:
            up(home)
    assert (caught.value.code, caught.value.exit) == ("port-in-use", ExitCode.UNAVAILABLE)
    assert supervisor.status(home).running is False


def test_a_bad_configuration_is_refused_before_anything_starts(home: Path) -> None:
    (home / "pilot.toml").write_text("[data_plane]\nport = [1]\n")
    with pytest.raises(PilotError, match="did you mean ports"):
        up(home)
    assert supervisor.status(home).running is False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_in_the_foreground_each_event_is_a_line_and_a_signal_ends_everything(
    home: Path, how: signal.Signals
) -> None:
    readable, writable = os.pipe()
    process = nursery.start(MODULE, "supervise", "--home", str(home), out=writable, err=writable)
    os.close(writable)
    with os.fdopen(readable) as told:
        lines: list[str] = []
        while not lines or not lines[-1].endswith(" ready\n"):
            lines.append(told.readline())
            assert lines[-1], lines
        status = supervisor.status(home)
        process.send_signal(how)
        lines += told.readlines()
        assert process.wait(60) == 0
    said = [line.split(" ", 1)[1].strip() for line in lines]
    assert said[-1] == "stopped"
    assert {"policy stopped", "gateway stopped", "ready"} < set(said)
    assert sum("started, pid" in line for line in said) == 2
    assert not any(alive(each.pid) for each in status.processes)


def test_up_in_the_foreground_of_this_process_returns_when_told_to_stop(home: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from console.services import supervisor\n"
        "from tests.services.supervisor.tiny import plan\n"
        "print(supervisor.start(Path(sys.argv[1]), foreground=True, plan=plan).running)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, str(home)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        until(lambda: answers(home, "gateway") and answers(home, "policy"))
        assert up(home).already
        assert supervisor.stop(home)
        assert process.communicate()[0] == "False\n"
        assert process.returncode == 0


def test_asking_makes_no_folder_and_a_path_too_long_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "never"
    assert supervisor.status(nowhere).running is False
    assert supervisor.stop(nowhere) is False
    assert not nowhere.exists()
    long = tmp_path / ("x" * 90)
    with pytest.raises(PilotError) as caught:
        supervisor.start(long, program=PROGRAM)
    assert caught.value.code == "socket-path"
    assert not long.exists()
    with pytest.raises(PilotError) as caught:
        supervisor.stop_one(nowhere, "policy")
    assert caught.value.exit is ExitCode.UNAVAILABLE


def test_the_control_socket_is_the_owners_and_survives_nonsense(home: Path) -> None:
    up(home)
    path = home / "run" / "supervisor.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for junk in (b"\n", b"{}\n", b"[" * 70_000 + b"\n", b'{"do":"fly"}\n', b""):
        with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
            sock.connect(str(path))
            sock.sendall(junk)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(100)
    assert supervisor.status(home).running


def test_a_log_never_grows_past_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "a.log", most=1000)
    for n in range(100):
        log.write(f"{n:03}".encode() * 50)
    log.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    assert all(each.stat().st_size <= 1000 for each in tmp_path.iterdir())
    assert (tmp_path / "a.log").read_bytes().endswith(b"099")


def test_the_real_pilot_is_three_services_and_a_point_for_each_port(home: Path) -> None:
    (home / "pilot.toml").write_text("[data_plane]\nports = [8440, 8441]\n")
    specs = processes(load(home))
    assert [each.name for each in specs] == ["policy", "gateway", "audit", "gw-1", "gw-2"]
    assert specs[4].argv == (
        "console.services.gateway.point", "--home", str(home), "--name", "gw-2",
    )  # fmt: skip


def test_status_is_json_that_a_script_can_read(home: Path) -> None:
    import msgspec

    told = json.loads(msgspec.json.encode(up(home)))
    assert told["running"] is True
    assert {each["name"] for each in told["processes"]} == {"policy", "gateway"}


def test_stopping_a_pilot_loads_no_database_library() -> None:
    """What stops the services is on the way of whoever types `down`: it begins at once."""
    code = "import sys; import console.services.supervisor; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
