"""TLS: the operator APIs and the data plane over certificates of one's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from console.api.status import STATUS
from console.config.profile import load_profile
from console.errors import PilotError
from console.services import supervisor, tls
from console.services.settings import load, prepare
from console.session.session import Session
from tests import nursery
from tests.sdks import openai
from tests.services.certificates import certify
from tests.thread import pilot_rig
from tests.thread.pilot_rig import Rig, short_folder

PILOT = """
[data_plane]
host = "127.0.0.1"
ports = [0, 0]
cert_file = "tls.pem"
key_file = "tls.key"
[listen.policy]
port = {policy}
cert_file = "tls.pem"
key_file = "tls.key"
[listen.gateway]
port = {gateway}
cert_file = "tls.pem"
key_file = "tls.key"
[listen.audit]
port = {audit}
[upstreams.builtin]
kind = "builtin"
[models]
aurora-1 = "builtin"
aurora-2 = "builtin"
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture(scope="module")
def secure() -> Iterator[tuple[Rig, dict[str, int]]]:
    with short_folder() as folder:
        home = prepare(folder / "home").path
        certify(home)
        ports = dict(zip(("policy", "gateway", "audit"), free_ports(3), strict=True))
        (home / "pilot.toml").write_text(PILOT.format(**ports))
        rig = Rig(home)
        try:
            supervisor.start(home, program=nursery.program("console.services.supervisor"))
            yield rig, ports
        finally:
            rig.close()
            supervisor.stop(home)


def remote(rig: Rig, ports: dict[str, int], token: str) -> Session:
    """A console elsewhere: addresses, a certificate to trust, and a token."""
    environ = {
        **rig.env,
        "PILOTCTL_TOKEN": token,
        "PILOTCTL_POLICY": f"https://127.0.0.1:{ports['policy']}",
        "PILOTCTL_GATEWAY": f"https://127.0.0.1:{ports['gateway']}",
        "PILOTCTL_AUDIT": f"http://127.0.0.1:{ports['audit']}",
    }
    config = rig.home.parent / "remote.toml"
    config.write_text(f'default_profile = "far"\n[profiles.far]\nca_file = "{rig.home}/tls.pem"\n')
    return Session(load_profile(environ, config=str(config)), environ)


def test_an_operator_far_away_signs_in_over_tls_and_a_lock_is_verified_through_it(
    secure: tuple[Rig, dict[str, int]],
) -> None:
    rig, ports = secure
    rig.do("operator.add", operator="far", roles=["operator"], reason="tests")
    token = rig.do("operator.token", operator="far", reason="tests").secret
    session = remote(rig, ports, token)
    try:
        rig.until(lambda: _known(session))
        from tests.services.test_operators import do

        receipt = do(session, "lock.add", kind="model", target="aurora-2", reason="tests")
        assert receipt.state == "verified"
        assert {point.method for point in receipt.points} == {"probe"}
        do(session, "lock.release", lock=receipt.lock_id, reason="tests")
    finally:
        session.close()


def _known(session: Session) -> bool:
    try:
        session.run(STATUS["gateway"]())
        session.run(STATUS["audit"]())
    except PilotError as error:
        if error.code != "not-an-operator":
            raise
        return False
    return True


def test_nobody_is_let_in_over_tcp_without_a_token(secure: tuple[Rig, dict[str, int]]) -> None:
    rig, ports = secure
    trusted = ssl.create_default_context(cafile=str(rig.home / "tls.pem"))
    with httpx.Client(verify=trusted) as client:
        answer = client.get(f"https://127.0.0.1:{ports['policy']}/v1/status")
        assert answer.status_code == 401
        assert "token is needed" in answer.text
        inside = client.get(f"https://127.0.0.1:{ports['policy']}/internal/v1/outbox")
        assert inside.status_code == 401


def test_a_caller_that_does_not_trust_the_certificate_or_speaks_no_tls_gets_nothing(
    secure: tuple[Rig, dict[str, int]],
) -> None:
    _, ports = secure
    with httpx.Client() as client, pytest.raises(httpx.ConnectError):
        client.get(f"https://127.0.0.1:{ports['policy']}/v1/status")
    with httpx.Client() as client, pytest.raises(httpx.HTTPError):
        client.get(f"http://127.0.0.1:{ports['policy']}/v1/status")


def test_partners_call_over_tls_and_a_revoked_key_is_proven_dead_there(
    secure: tuple[Rig, dict[str, int]],
) -> None:
    rig, _ = secure
    pilot_rig.programme(rig)
    grant = pilot_rig.granted(rig)
    issued = rig.do("key.issue", grant=grant.id, reason="tests")
    credential, raw = issued.credential.id, issued.secret
    points = rig.points()
    assert all(each.startswith("https://") for each in points)
    trusted = ssl.create_default_context(cafile=str(rig.home / "tls.pem"))
    with (
        httpx.Client(verify=trusted) as http,
        openai.OpenAI(base_url=f"{points[0]}/v1", api_key=raw, http_client=http) as client,
    ):
        said = client.chat.completions.create(
            model="aurora-1", messages=[{"role": "user", "content": "three words"}]
        )
        assert said.choices[0].message.content
        receipt = rig.do("key.revoke", credential=credential, reason="tests")
        assert receipt.state == "verified"
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(
                model="aurora-1", messages=[{"role": "user", "content": "more"}]
            )


def test_a_renewed_certificate_is_served_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)
    refused = asyncio.Event()
    load_into = tls.Certificate.load_into

    def watched(self: tls.Certificate, context: ssl.SSLContext) -> None:
        try:
            load_into(self, context)
        except PilotError:
            refused.set()
            raise

    monkeypatch.setattr(tls.Certificate, "load_into", watched)
    certificate = certify(tmp_path, serial=1)
    context = certificate.context()

    def served(port: int) -> int:
        pem = ssl.get_server_certificate(("127.0.0.1", port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    async def renew() -> tuple[int, int, int]:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        following = asyncio.create_task(tls.follow(certificate, context))
        first = await asyncio.to_thread(served, port)
        (tmp_path / "tls.pem").write_text("nonsense")
        await asyncio.wait_for(refused.wait(), 60)
        between = await asyncio.to_thread(served, port)
        certify(tmp_path, serial=2)
        async with asyncio.timeout(60):
            while (second := await asyncio.to_thread(served, port)) != 2:  # noqa: ASYNC110 - as people look
                await asyncio.sleep(0.05)
        following.cancel()
        server.close()
        return first, between, second

    assert asyncio.run(renew()) == (1, 1, 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[data_plane]\nhost = "0.0.0.0"\n', "loopback"),
        ('[data_plane]\ncert_file = "tls.pem"\n', "go together"),
        ('[data_plane]\ncert_file = "no.pem"\nkey_file = "no.key"\n', "cannot be used"),
        ('[listen.policy]\nhost = "127.0.0.1"\n', "needs a port"),
        ("[listen.polcy]\nport = 1\n", "policy"),
        ('[listen.policy]\nport = 1\nhost = "example.org"\n', "must be an address"),
    ],
)
def test_settings_that_cannot_hold_are_refused_at_their_line(
    tmp_path: Path, config: str, said: str
) -> None:
    home = prepare(tmp_path / "home").path
    certify(home)
    (home / "pilot.toml").write_text(config)
    with pytest.raises(PilotError, match=said):
        load(home)


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    (tmp_path / "tls.key").chmod(0o644)
    with pytest.raises(PilotError, match="chmod 600"):
        certificate.context()
