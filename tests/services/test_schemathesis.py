"""The three OpenAPI documents, fuzzed against the real services by schemathesis.

Run it in an environment of its own: schemathesis brings click, which slows httpx's import.
`pip install -e '.[local,test]' schemathesis && pytest -m long tests/services/test_schemathesis.py`
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from console.cli.commands.spec import openapi
from tests.thread.pilot_rig import Rig, short_folder
from tests.thread.pilot_rig import running as pilot

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed here")

pytestmark = pytest.mark.long

EXAMPLES = 25
"""Requests for each route, of good and of bad data."""
OTHER_FAULTS = frozenset({400, 422, 428})
"""Answers to a request that is not well-formed: another fault of it may be told first."""


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    with short_folder() as folder, pilot(folder / "home") as rig:
        yield rig


@contextmanager
def reached(path: Path) -> Iterator[str]:
    """Lead a loopback port to a Unix socket, for a client that knows no sockets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                service = socket.socket(socket.AF_UNIX)
                service.connect(str(path))
                for pair in ((caller, service), (service, caller)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("api", ["policy", "gateway", "audit"])
def test_no_request_of_any_shape_is_a_5xx_and_no_unknown_member_is_accepted(
    running: Rig, api: str
) -> None:
    schema = schemathesis.openapi.from_dict(openapi(api))
    seen: Counter[int] = Counter()
    understood: Counter[str] = Counter()
    bad: list[str] = []
    with reached(running.home / "run" / f"{api}.sock") as base:
        for found in schema.get_all_operations():
            if "/tail/" not in found.ok().path:  # an answer without an end
                _fuzz(found.ok(), base, seen, understood, bad)
    total = sum(seen.values())
    print(f"\n{api}: {total} requests over {len(openapi(api)['paths'])} paths: {dict(seen)}")
    print(f"{sum(understood.values())} well-formed bodies of {len(understood)} operations")
    assert not bad, "\n".join(bad[:20])
    assert total > EXAMPLES
    assert understood, "no body was well-formed, so that no unknown member could be taken"


def _fuzz(
    operation: Any, base: str, seen: Counter[int], understood: Counter[str], bad: list[str]
) -> None:
    cases = st.one_of(
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        if operation.body or operation.path_parameters or operation.query
        else operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE),
    )

    @settings(
        max_examples=EXAMPLES, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases)
    def one(case: Any) -> None:
        answer = case.call(base_url=base, timeout=30)
        seen[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            bad.append(f"{case.method} {case.path} {case.body!r}: {answer.text[:300]}")
        if isinstance(case.body, dict) and operation.method.upper() != "GET":
            case.body = {**case.body, "zz_unknown": 1}
            again = case.call(base_url=base, timeout=30)
            seen[again.status_code] += 1
            if case.path.startswith("/access/v1"):  # AuthZEN takes members that it does not know
                return
            if answer.status_code not in OTHER_FAULTS:
                understood[operation.label] += 1
                if again.status_code != 400:
                    bad.append(
                        f"accepted zz_unknown: {case.method} {case.path}: {again.text[:300]}"
                    )
            elif again.status_code < 400:
                bad.append(f"accepted zz_unknown: {case.method} {case.path}")

    one()
