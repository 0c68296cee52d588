"""The official SDKs against the whole product, with a key that `pilotctl key issue` handed over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdks import anthropic, openai
from tests.thread.pilot_rig import Rig, assessed, granted, programme, running, short_folder, vetted

ASK: Any = [{"role": "user", "content": "12 words"}]
LONG: Any = [{"role": "user", "content": "3000 words"}]


class Access:
    """A grant, its key from a file, and both SDKs with it."""

    def __init__(self, rig: Rig, folder: Path, partner: str, **grant: Any) -> None:
        self.rig, self.partner = rig, partner
        self.grant = granted(rig, partner, **grant).id
        file = folder / f"{self.grant}.key"
        rig.ok("key", "issue", self.grant, "--reason", "sdk", "--yes", "--secret-file", str(file))
        key = file.read_text().strip()
        base = rig.points()[0]
        self.openai = openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
        rig.until(self.known, what="the point knows the key")

    def known(self) -> bool:
        try:
            return bool(self.openai.models.list())
        except openai.AuthenticationError:
            return False

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()

    def chat(self, model: str = "aurora-1") -> Any:
        return self.openai.chat.completions.create(model=model, messages=ASK, max_tokens=50)

    def message(self, model: str = "aurora-1") -> Any:
        return self.anthropic.messages.create(model=model, messages=ASK, max_tokens=50)

    def refused(self, code: str, model: str = "aurora-1") -> None:
        """Both SDKs raise their own PermissionDeniedError with our code, and it is recorded."""
        with pytest.raises(openai.PermissionDeniedError) as first:
            self.chat(model)
        assert first.value.code == code
        assert first.value.request_id
        with pytest.raises(anthropic.PermissionDeniedError) as second:
            self.message(model)
        said: Any = second.value.body
        assert (said["type"], said["error"]["code"]) == ("error", code)
        assert second.value.request_id
        for request in (first.value.request_id, second.value.request_id):
            shown = self.recorded(request)
            outcome = "blocked" if code == "locked" else "denied"
            assert (shown.outcome, shown.code, shown.grant_id) == (outcome, code, self.grant)

    def recorded(self, request: str) -> Any:
        def look() -> Any:
            found = self.rig.do("call.list", limit="20").items
            return next((each for each in found if each.id == request), None)

        return self.rig.until(look, what="the call's record")


@pytest.fixture(scope="module")
def pilot() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig)
        yield rig


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test leaves without a lock."""
    yield pilot
    pilot.restore()


@pytest.fixture
def access(rig: Rig, tmp_path: Path) -> Iterator[Callable[..., Access]]:
    opened: list[Access] = []

    def open_one(partner: str, **grant: Any) -> Access:
        opened.append(Access(rig, tmp_path, partner, **grant))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def test_answer_stream_and_models_then_refused_once_revoked(
    rig: Rig, access: Callable[..., Access]
) -> None:
    acme = access("acme")
    answer = acme.chat()
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 12
    message = acme.message()
    assert message.content[0].text
    assert message.usage.output_tokens == 12
    pieces = list(
        acme.openai.chat.completions.create(
            model="aurora-1", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len([p for p in pieces if p.choices and p.choices[0].delta.content]) >= 12
    assert pieces[-1].usage is not None
    with acme.anthropic.messages.stream(model="aurora-1", messages=ASK, max_tokens=50) as stream:
        assert len(list(stream.text_stream)) >= 12
        assert stream.get_final_message().usage.output_tokens == 12
    assert [each.id for each in acme.openai.models.list()] == ["aurora-1"]
    assert [each.id for each in acme.anthropic.models.list()] == ["aurora-1"]

    def counted() -> Any:
        rows = rig.do("usage.show", by="grant").items
        return next((r for r in rows if r.group == acme.grant and r.output_tokens == 48), None)

    rig.until(counted, what="usage of four answers of twelve words")
    rig.do("grant.revoke", grant=acme.grant, reason="over")
    acme.refused("grant_revoked")
    with pytest.raises(openai.PermissionDeniedError):
        acme.openai.models.list()


def test_out_of_scope_and_locked(rig: Rig, access: Callable[..., Access]) -> None:
    vetted(rig, "doves")
    doves = access("doves")
    doves.refused("model_out_of_scope", "aurora-2")
    lock = rig.do("lock.add", kind="partner", target="doves", reason="r", message="call the desk")
    doves.refused("locked")
    with pytest.raises(openai.PermissionDeniedError, match="call the desk"):
        doves.chat()
    rig.do("lock.release", lock=lock.lock_id, reason="r")
    rig.until(lambda: _serves(doves), what="served again")


def _serves(access: Access) -> bool:
    try:
        return bool(access.chat())
    except openai.PermissionDeniedError:
        return False


def test_a_key_nobody_issued_is_an_authentication_error(rig: Rig) -> None:
    base = rig.points()[0]
    with (
        openai.OpenAI(base_url=f"{base}/v1", api_key="sk-nobody", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.chat.completions.create(model="aurora-1", messages=ASK)
    assert refused.value.code == "key_unknown"


@pytest.mark.parametrize("closing", ["grant.revoke", "key.revoke", "lock.add"])
def test_running_streams_are_cut(rig: Rig, access: Callable[..., Access], closing: str) -> None:
    partner = "cut-" + closing.replace(".", "-")
    vetted(rig, partner)
    opened = access(partner)
    ends: dict[str, BaseException | None] = {}
    counts = {"openai": 0, "anthropic": 0}

    def chat() -> None:
        try:
            for _ in opened.openai.chat.completions.create(
                model="aurora-1", messages=LONG, stream=True
            ):
                counts["openai"] += 1
            ends["openai"] = None
        except openai.APIError as error:
            ends["openai"] = error

    def message() -> None:
        try:
            with opened.anthropic.messages.create(
                model="aurora-1", messages=LONG, max_tokens=3000, stream=True
            ) as stream:
                for _ in stream:
                    counts["anthropic"] += 1
            ends["anthropic"] = None
        except anthropic.APIError as error:
            ends["anthropic"] = error

    running = [threading.Thread(target=each, daemon=True) for each in (chat, message)]
    for each in running:
        each.start()
    rig.until(lambda: min(counts.values()) > 5, what="both streams run")
    key = rig.do("key.list", grant=opened.grant).items[0].id
    typed = {
        "grant.revoke": {"grant": opened.grant},
        "key.revoke": {"credential": key},
        "lock.add": {"kind": "grant", "target": opened.grant},
    }[closing]
    receipt = rig.do(closing, reason="leaked", **typed)
    assert receipt.state == "verified"
    assert sum(each.streams_cut for each in receipt.points) == 2
    for each in running:
        each.join(30)  # whole, it runs for a minute
        assert not each.is_alive(), "a stream goes on after a verified closing"
    code = {"grant.revoke": "grant_revoked", "key.revoke": "key_revoked", "lock.add": "locked"}
    for sdk, ended in ends.items():
        assert ended is not None, f"{sdk}: the stream ended as if it were whole"
        assert code[closing] in f"{getattr(ended, 'body', '')} {ended}", (sdk, ended)
    opened.refused(code[closing])

    def records() -> Any:
        found = rig.do("call.list", grant=opened.grant, code=code[closing]).items
        return len([each for each in found if each.stream and each.output_tokens > 5]) == 2

    rig.until(records, what="both streams are recorded as cut, with what they used")


def test_lapsed_terms_and_their_acceptance(rig: Rig, access: Callable[..., Access]) -> None:
    rig.do("pilot.create", slug="boreal", title="Boreal", models=["aurora-1"], reason="r",
           stages=["limited:most-partners=9,longest=90d"])  # fmt: skip
    vetted(rig, "egrets")
    rig.do("capability.create", slug="bio.reading", title="Reading", pilot="boreal", reason="r",
           category="dual-use", tier="1", models=["aurora-1"],
           routes=["chat.completions", "messages"], longest_grant_seconds="90d")  # fmt: skip
    text = rig.home.parent / "boreal.txt"
    text.write_text("first")
    rig.do("terms.publish", pilot="boreal", title="T", text=str(text), reason="r")
    accept: Any = {"pilot": "boreal", "partner": "egrets", "signatory": "s", "evidence": "e",
              "reason": "r"}  # fmt: skip
    rig.do("terms.accept", **accept)
    assessed(rig, "egrets", "bio.reading")
    egrets = access("egrets", pilot="boreal", slug="bio.reading")
    assert egrets.chat().choices
    text.write_text("second")
    rig.do("terms.publish", pilot="boreal", title="T2", text=str(text), reason="r",
           reaccept_by="2s")  # fmt: skip
    assert egrets.chat().choices, "within the window the acceptance of the first counts"
    rig.until(lambda: not _serves(egrets), what="the terms lapse by themselves")
    egrets.refused("grant_suspended")
    with pytest.raises(openai.PermissionDeniedError, match=r"(?i)terms"):
        egrets.chat()
    rig.until(lambda: rig.do("grant.show", grant=egrets.grant).state == "suspended")
    rig.do("terms.accept", **accept)
    rig.until(lambda: _serves(egrets), what="below tier 3 it resumes by itself")


def test_an_expired_grant(rig: Rig, access: Callable[..., Access]) -> None:
    vetted(rig, "gulls")
    gulls = access("gulls", expires_at="4s")
    assert gulls.chat().choices
    rig.until(lambda: not _serves(gulls), what="it expires by itself")
    gulls.refused("grant_expired")
    rig.until(lambda: rig.do("grant.show", grant=gulls.grant).state == "expired")
