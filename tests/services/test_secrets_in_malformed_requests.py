"""Secrets in malformed requests: no answer repeats one, and no file of the pilot keeps one."""

from __future__ import annotations

import gzip
import select
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from console.services import supervisor
from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder

SEED = 20261201
ANSWER_SECONDS = 0.5
"""How long a service may think a request unfinished before its end is sent."""

ROUNDS = 3
"""How often each kind is sent to each place with each secret, otherwise spoilt each time."""

PATHS = {
    "point": ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/models", "/healthz"),
    "policy": ("/v1/partners", "/v1/grants", "/v1/status", "/access/v1/evaluation"),
    "gateway": ("/v1/locks", "/v1/keys", "/v1/status", "/v1/points"),
    "audit": ("/v1/alerts", "/v1/events", "/v1/status", "/v1/nothing"),
}

HEADERS = (
    "Authorization: Bearer {secret}",
    "Authorization: {secret}",
    "Authorization: Basic {secret}",
    "Authorization: Bearer {secret}\r\nAuthorization: Bearer {secret}",
    "Authorization: Bearer\t{secret}, {secret}",
    "Authorization : Bearer {secret}",
    "Authorization: Bearer\r\n {secret}",
    "X-API-Key: {secret}",
    "User-Agent: {secret}",
    "X-Pilot-Capability: {secret}",
    "X-Pilot-Capability: {secret}\r\nAuthorization: Bearer {key}",
    "x-api-key: {secret}\r\nAuthorization: Bearer {secret}",
    "Cookie: session={secret}",
    "Proxy-Authorization: Bearer {secret}",
    "Host: {secret}\r\nHost: x",
    "{secret}: 1",
    "{secret}",
    "Content-Type: {secret}",
    "Content-Encoding: {secret}",
    "Content-Length: {secret}",
    "Transfer-Encoding: {secret}",
    "Accept: {secret}",
    "If-Match: {secret}",
    "Idempotency-Key: {secret} {secret}\x01",
    "Last-Event-ID: {secret}",
    "traceparent: 00-{secret}-01",
    "X-Forwarded-For: {secret}",
    "Range: {secret}",
    "Upgrade: {secret}\r\nConnection: Upgrade",
)
"""Lines in the place of a header, each of which names the secret where it should not be."""

STARTS = (
    "{method} {path} HTTP/{secret}",
    "{secret} {path} HTTP/1.1",
    "{method} {secret} HTTP/1.1",
    "{method} {path}?key={secret} HTTP/1.1",
    "{method} {path}?{secret}&after={secret} HTTP/1.1",
    "{method} {path}/{secret} HTTP/1.1",
    "{method} http://{secret}@x{path} HTTP/1.1",
    "{method} {path} {secret} HTTP/1.1",
    "PROXY TCP4 {secret} 127.0.0.1 1 2\r\n{method} {path} HTTP/1.1",
    "{secret}",
)

BODIES = (
    '{{"{secret}": 1}}',
    '{{"key": "{secret}"',
    '{{"model": "{secret}", "messages": [{{"role": "user", "content": "hi"}}]}}',
    '{{"model": ["{secret}"], "messages": "{secret}"}}',
    '{{"model": "aurora-1", "messages": [{{"role": "{secret}", "content": 1}}]}}',
    '{{"model": "aurora-1", "model": "{secret}"}}',
    '{{"max_tokens": "{secret}", "{secret}": {{}}}}',
    '{{"subject": "{secret}", "reason": {{"a": "{secret}"}}}}',
    "{secret}",
    '"{secret}\x00"',
    "\ud800{secret}",
)

CHUNKS = (
    "{secret}\r\n{{}}\r\n0\r\n\r\n",
    "2;{secret}\r\n{{}}\r\n0\r\n{secret}\r\n\r\n",
    "2\r\n{{}}{secret}\r\n0\r\n\r\n",
    "2\r\n{{}}\r\n0\r\nAuthorization: Bearer {secret}\x00\r\n\r\n",
)


class Request(NamedTuple):
    """What is sent to a service, or to a point."""

    place: str
    sent: bytes


def spoilt(random: Random, secret: str) -> str:
    """Return the secret, or the secret with something beside it that no header may hold."""
    marks = ("", "", "\x00", "\x80", "\n", "\r", "\x7f", " ", "\u202e", "%00", "\\u0000", '"')
    return random.choice(("", *marks[2:4])) + secret + random.choice(marks)


def head(random: Random, place: str, start: str = "", *lines: str) -> str:
    """Return the head of a request with `start` and `lines` in it, the secret yet to be put in."""
    path, method = random.choice(PATHS[place]), random.choice(("GET", "POST", "POST", "DELETE"))
    first = start or "{method} {path} HTTP/1.1"
    first = first.replace("{method}", method).replace("{path}", path)
    return "\r\n".join([first, "Host: x", "Connection: close", *lines, "", ""])


def requests(random: Random, place: str) -> Iterator[str]:
    """Yield a request of every kind; `{secret}` stands where the secret goes."""
    holds = "Authorization: Bearer {secret}"
    # an API's 417 is aiohttp's own, and says the word that was sent
    for line in (*HEADERS, *(("Expect: {secret}",) if place == "point" else ())):
        yield head(random, place, "", line)
        yield head(random, place, "", line, "Content-Length: 2") + "{{}}"
    for start in STARTS:
        yield head(random, place, start, random.choice((holds, "Accept: */*")))
    for body in BODIES:
        who = random.choice((holds, "Authorization: Bearer {key}"))
        yield head(random, place, "", who, "Content-Type: application/json", "{length}") + body
    for chunks in CHUNKS:
        yield head(random, place, "", holds, "Transfer-Encoding: chunked") + chunks


def malformed(secrets: dict[str, str]) -> list[Request]:
    """Return every kind of request to every place with every secret, spoilt by chance."""
    random, found = Random(SEED), []
    for place in PATHS:
        for secret in secrets.values():
            for _ in range(ROUNDS):
                for text in requests(random, place):
                    whole = text.replace("{{", "{").replace("}}", "}")
                    whole = whole.replace("{secret}", spoilt(random, secret))
                    whole = whole.replace("{key}", secrets["key"])
                    body = whole.partition("\r\n\r\n")[2].encode("utf-8", "surrogatepass")
                    whole = whole.replace("{length}", f"Content-Length: {len(body)}")
                    sent = whole.encode("utf-8", "surrogatepass")
                    if random.random() < 0.1:
                        sent = sent[: random.randint(1, len(sent))]
                    found.append(Request(place, sent))
    return found


def answered(home: Path, point: str, request: Request) -> bytes:
    """Send exactly this, and return all that comes; what is not answered soon ends there."""
    if request.place == "point":
        url = urlsplit(point)
        line = socket.create_connection((url.hostname or "", url.port or 0), timeout=60)
    else:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(60)
        line.connect(str(home / "run" / f"{request.place}.sock"))
    got = b""
    with line, suppress(ConnectionError, BrokenPipeError):
        line.sendall(request.sent)
        if not select.select([line], [], [], ANSWER_SECONDS)[0]:
            line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            got += part
    return got


def texts(data: bytes) -> Iterator[bytes]:
    """Yield the data as it is, and what is in it where it is compressed."""
    yield data
    with suppress(OSError, EOFError, zlib.error):
        yield gzip.decompress(data)


def named(secrets: dict[str, str], data: bytes) -> set[str]:
    """Return which secrets are in the data, also in part: their second half is enough."""
    return {
        name
        for name, secret in secrets.items()
        if any(secret[len(secret) // 2 :].encode() in text for text in texts(data))
    }


def kept(folder: Path, secrets: dict[str, str]) -> dict[str, set[str]]:
    """Return the files that hold a secret, and which."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {str(path.relative_to(folder)): named(secrets, path.read_bytes()) for path in files}
    return {path: names for path, names in found.items() if names}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as made:
        programme(made)
        yield made


@pytest.mark.long
def test_no_malformed_request_leaves_a_secret_in_a_file_or_an_answer(rig: Rig) -> None:
    rig.do("operator.add", operator="ana", roles=["operator"], reason="tests")
    secrets = {
        "key": key_of(rig, granted(rig).id)[1],
        "token": rig.do("operator.token", operator="ana", reason="tests").secret,
        "break-glass": rig.do("break-glass.seal", reason="tests").secret,
    }
    sent = malformed(secrets)
    url = rig.points()[0]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(partial(answered, rig.home, url), sent))
    assert sum(map(bool, answers)) > len(sent) / 2, "most are answered"
    repeated = [(sent[at], names) for at, a in enumerate(answers) if (names := named(secrets, a))]
    refused = rig.do("lock.add", kind="model", target="aurora-2", reason="a-word-that-is-kept")
    assert refused.state == "verified", "it is still served"
    rig.logged()
    supervisor.stop(rig.home)
    assert kept(rig.home, {"word": "a-word-that-is-kept"}), "what is kept is found"
    assert kept(rig.home.parent, secrets) == {}
    assert not repeated, repeated[:3]
