"""What a session believes of the log: pinned at first contact, and held to ever after."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import pytest
from tiny_api import Told, tiny_api

from console.api.audit import HANDOVERS
from console.config.profile import load_profile
from console.errors import ExitCode, PilotError
from console.operations.index import find
from console.session.session import Session, log_folder
from console.trust.checkpoint import Checkpoint, sign_checkpoint
from console.trust.merkle import consistency_proof, leaf_hashes, root_of
from console.trust.note import SignerKey
from console.trust.tiles import pack_entries

RESTART = find("log.restart")
ORIGIN = "log.example/audit"
LEAVES = leaf_hashes([b"entry %d" % at for at in range(64)])
OTHERS = leaf_hashes([b"other %d" % at for at in range(64)])


def note_of(signer, size, leaves=LEAVES):
    return sign_checkpoint(Checkpoint(ORIGIN, size, root_of(leaves[:size])), signer).decode()


@pytest.fixture(scope="module")
def signer():
    return SignerKey.generate(ORIGIN)


@pytest.fixture
def log(tmp_path, signer):
    """An audit API whose log has 64 entries."""
    with tiny_api(tmp_path / "a.sock") as api:
        head = {"origin": ORIGIN, "tree_size": 64, "checkpoint": note_of(signer, 64)}
        api.on(
            "GET /v1/log/head",
            {**head, "key": str(signer.verifier), "checkpointed_at": "2026-03-01T12:00:00Z"},
        )
        api.on("GET /v1/log/growth", lambda asked: Told(growth(asked.query)))
        yield api


def growth(query):
    old, new = int(query["old"]), int(query["new"])
    hashes = consistency_proof(
        old, new, lambda level, at: root_of(LEAVES[at << level : (at + 1) << level])
    )
    encoded = [base64.b64encode(each).decode() for each in hashes]
    return {"old_size": old, "new_size": new, "hashes": encoded}


@pytest.fixture
def environ(log, tmp_path):
    return {"PILOTCTL_AUDIT": log.address, "HOME": str(tmp_path)}


@pytest.fixture
def check(environ):
    """Check a note in a session of its own, as every command is one."""

    def checked(note, **more):
        with closing(Session(load_profile({**environ, **more}), environ)) as session:
            return session.run(session.log_trust.check(note))

    return checked


def evidence(environ):
    with closing(Session(load_profile(environ), environ)) as session:
        return session.log_trust.monitor.evidence(ORIGIN)


def test_the_key_of_the_first_contact_is_pinned_and_never_asked_for_again(
    check, log, environ, signer
):
    assert check(note_of(signer, 5)).size == 5
    assert check(note_of(signer, 40)).size == 40
    assert [each.path for each in log.asked].count("/v1/log/head") == 1
    file = log_folder(load_profile(environ), environ) / "vkey"
    assert file.read_text() == f"{signer.verifier}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.glob("vkey*")] == ["vkey"]


def test_many_first_contacts_at_once_agree_on_one_key(check, signer):
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(check, [note_of(signer, size) for size in range(1, 17)]))
    assert [head.size for head in heads] == list(range(1, 17))


def test_an_older_head_is_taken_where_the_log_proves_that_it_grew_from_it(check, signer, environ):
    check(note_of(signer, 40))
    assert check(note_of(signer, 5)).size == 5
    with closing(Session(load_profile(environ), environ)) as session:
        pin = session.log_trust.monitor.pinned(ORIGIN)
    assert pin is not None
    assert pin.size == 40


@pytest.mark.parametrize("size", [5, 40, 50])
def test_another_tree_under_the_same_key_fails_and_both_notes_are_kept(
    check, signer, environ, size
):
    check(note_of(signer, 40))
    with pytest.raises(PilotError) as caught:
        check(note_of(signer, size, OTHERS))
    assert caught.value.exit is ExitCode.LOG_FAILED
    assert len(evidence(environ)) == 2


def test_a_log_that_cannot_prove_its_growth_is_not_believed(check, log, signer, environ):
    check(note_of(signer, 40))
    log.problem("GET /v1/log/growth", "not-found", 404, "the tree has 5 entries")
    for size in (5, 50):
        with pytest.raises(PilotError) as caught:
            check(note_of(signer, size))
        assert caught.value.exit is ExitCode.LOG_FAILED
    assert len(evidence(environ)) == 4


def test_a_log_that_is_down_has_not_failed(check, log, signer, environ):
    check(note_of(signer, 40))
    log.problem("GET /v1/log/growth", "unavailable", 503, "later")
    with pytest.raises(PilotError) as caught:
        check(note_of(signer, 50))
    assert caught.value.exit is ExitCode.UNAVAILABLE
    assert evidence(environ) == []


def test_another_key_is_refused_whether_it_was_pinned_or_configured(
    check, log, environ, signer, tmp_path
):
    impostor = SignerKey.generate(ORIGIN)
    check(note_of(signer, 5))
    with pytest.raises(PilotError) as caught:
        check(note_of(impostor, 5))
    assert caught.value.exit is ExitCode.LOG_FAILED
    config = tmp_path / "c.toml"
    config.write_text(f"[defaults]\nlog_key = '{impostor.verifier}'\n")
    with pytest.raises(PilotError) as caught:
        check(note_of(signer, 5), PILOTCTL_CONFIG=str(config))
    assert caught.value.exit is ExitCode.LOG_FAILED
    assert [each.path for each in log.asked].count("/v1/log/head") == 1


def hand_over(log, *pairs):
    """Have the log tell of restarts: each the key that ended, its last head, and the next key."""
    told = {
        "kind": "restart", "event_id": "evt_a", "index": 0, "carried": 64, "by": "operator-a",
        "reason": "the key leaked", "at": "2026-03-01T12:00:00Z",
    }  # fmt: skip
    items = [
        {**told, "old_key": str(old.verifier), "old_head": head, "new_key": str(new.verifier)}
        for old, head, new in pairs
    ]

    def answer(asked):
        named = [each for each in items if each["old_key"] == asked.query["old_key"]]
        return Told({"items": named, "as_of": "2026-03-01T12:00:00Z", "source": "audit"})

    log.on("GET /v1/log/handovers", answer)


def serve_head(log, by, size):
    """Have the log serve a head that `by` signed; return the note."""
    name = by.verifier.name
    note = sign_checkpoint(Checkpoint(name, size, root_of(LEAVES[:size])), by).decode()
    log.on(
        "GET /v1/log/head",
        {
            "origin": name, "tree_size": size, "checkpoint": note, "key": str(by.verifier),
            "checkpointed_at": "2026-03-01T12:00:00Z",
        },
    )  # fmt: skip
    return note


def succession_fails(environ):
    """Check the successor of the pinned log, and return the exit code and the error's code."""
    with (
        closing(Session(load_profile(environ), environ)) as session,
        pytest.raises(PilotError) as caught,
    ):
        session.run(session.log_trust.succession())
    return caught.value.exit, caught.value.code


@pytest.mark.parametrize(
    "served_by", ["the log that ended", "a stranger", "a stranger in its name"]
)
def test_a_successor_is_not_served_yet_while_the_log_that_ended_is_and_unknown_otherwise(
    served_by, check, environ, log, signer
):
    keys = {
        "the log that ended": signer,
        "a stranger": SignerKey.generate("log.example/third"),
        "a stranger in its name": SignerKey.generate(ORIGIN),
    }
    check(note_of(signer, 40))
    successor = SignerKey.generate("log.example/second")
    hand_over(log, (signer, note_of(signer, 64), successor))
    serve_head(log, keys[served_by], 64)
    assert succession_fails(environ) == (
        (ExitCode.UNVERIFIED, "log-not-served")
        if served_by == "the log that ended"
        else (ExitCode.LOG_FAILED, "log-key-unknown")
    )


@pytest.mark.parametrize("ended", [False, True])
def test_entries_that_do_not_fit_a_successor_are_a_failure_unless_it_ended_as_well(
    ended, check, environ, log, signer
):
    check(note_of(signer, 40))
    successor, third = (SignerKey.generate(f"log.example/{each}") for each in ("two", "three"))
    note = serve_head(log, successor, 3)
    handovers = [(signer, note_of(signer, 64), successor)]
    if ended:
        handovers.append((successor, note, third))
        serve_head(log, third, 4)
    hand_over(log, *handovers)
    bundle = pack_entries([b"another's"] * 3)
    length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(bundle)}\r\n\r\n".encode()
    log.on("GET /v1/log/files/tile/entries/000.p/3", Told(raw=length + bundle))
    assert succession_fails(environ) == (
        (ExitCode.UNVERIFIED, "log-ended") if ended else (ExitCode.LOG_FAILED, "log-inconsistent")
    )


@pytest.mark.parametrize("before", ["the old head", "none"])
def test_a_log_is_handed_over_once_its_head_is_no_longer_the_old_keys(before, environ, log, signer):
    new = SignerKey.generate("log.example/second")
    hand_over(log, (signer, note_of(signer, 64), new))
    with closing(Session(load_profile(environ), environ)) as session:
        handovers = session.run(HANDOVERS(old_key=str(signer.verifier)))
        log.on("POST /v1/log/restart", msgspec.to_builtins(handovers.items[0]))
        serve_head(log, new, 64)
        later = log.routes["GET /v1/log/head"]
        serve_head(log, signer, 64)
        if before == "none":
            log.problem("GET /v1/log/head", "unavailable", 503, "not published yet")
        early, asked = log.routes["GET /v1/log/head"], []

        def head(request):
            asked.append(request)
            return (early if len(asked) < 5 else later)(request)

        log.on("GET /v1/log/head", head)
        made = session.run(RESTART.run(RESTART.params(reason="it leaked"), None))
    assert made.new_key == str(new.verifier)
    assert len(asked) == 5


def test_another_address_is_another_log(environ, signer, check, tmp_path):
    check(note_of(signer, 40))
    with tiny_api(tmp_path / "b.sock") as other:
        second = SignerKey.generate(ORIGIN)
        head = {"origin": ORIGIN, "tree_size": 3, "checkpoint": note_of(second, 3, OTHERS)}
        other.on(
            "GET /v1/log/head",
            {**head, "key": str(second.verifier), "checkpointed_at": "2026-03-01T12:00:00Z"},
        )
        assert check(head["checkpoint"], PILOTCTL_AUDIT=other.address).size == 3


def test_a_token_is_asked_for_once_and_again_when_it_has_run_out(environ, tmp_path):
    count = tmp_path / "count"
    script = tmp_path / "token"
    script.write_text(
        f"#!/bin/sh\necho >> {count}\n"
        """echo '{"token": "abc", "expires_at": "2999-01-01T00:00:00Z"}'\n"""
    )
    script.chmod(0o700)
    config = tmp_path / "c.toml"
    config.write_text(f"[defaults]\ntoken = {{source = 'command', argv = ['{script}']}}\n")
    with closing(Session(load_profile({**environ, "PILOTCTL_CONFIG": str(config)}))) as session:
        for _ in range(3):
            token = session.token()
        assert token is not None
        assert count.read_text() == "\n"
        session._token = token._replace(expires_at=token.expires_at.replace(year=2020))
        session.token()
        assert count.read_text() == "\n\n"
