import json
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.trust.checkpoint import (
    Checkpoint,
    cosign,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from console.trust.merkle import EMPTY_ROOT
from console.trust.note import COSIGNATURE, SignerKey, VerifierKey, sign_note
from tests.vectors import vectors

ROOT = b64encode(b"r" * 32).decode()


def test_the_public_checkpoint_vectors_are_read_as_the_specification_says():
    cases = json.loads(vectors("signed-note/checkpoint-parse.json").read_text())["cases"]
    assert len(cases) == 6
    for case in cases:
        # Their roots are words; ours have to be SHA-256. The shape is what is compared.
        lines = case["text"].split("\n")
        lines[2] = ROOT
        text = "\n".join(lines)
        if case["want_err"] or case["desc"] == "valid with trailing newlines":  # C2SP: no
            with pytest.raises(PilotError):
                parse_checkpoint(text)
        else:
            assert parse_checkpoint(text).text() == text
        with pytest.raises(PilotError):
            parse_checkpoint(case["text"])


def test_a_real_checkpoint_of_another_log_opens():
    case = json.loads(vectors("signed-note/notes.json").read_text())["notes"][1]
    key = VerifierKey.parse(case["vkeys"][0])
    signed = open_checkpoint(case["note"].encode(), key, origin="go.sum database tree")
    assert signed.checkpoint.size == 35225469
    with pytest.raises(PilotError) as caught:
        open_checkpoint(case["note"].encode(), key)
    assert caught.value.code == "log-origin-wrong"


@given(st.integers(1, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_has_one_spelling(size, root):
    head = Checkpoint("log.example/audit", size, root)
    assert parse_checkpoint(head.text()) == head
    assert head.text().count("\n") == 3


@given(st.text(max_size=120))
def test_garbage_is_refused_and_never_crashes(text):
    for attempt in (text, f"log\n{text}", f"log\n1\n{text}\n"):
        with suppress(PilotError):
            assert parse_checkpoint(attempt).text() == attempt


@pytest.mark.parametrize("size", ["", "-1", "+1", "01", "1 ", "1_0", "٣", "0x1", str(1 << 63)])
def test_a_size_in_any_other_spelling_is_refused(size):
    with pytest.raises(PilotError) as caught:
        parse_checkpoint(f"log\n{size}\n{ROOT}\n")
    assert (caught.value.code, caught.value.exit) == (
        "log-checkpoint-malformed",
        ExitCode.LOG_FAILED,
    )


@pytest.mark.parametrize("root", ["", "cg==", ROOT[:-1], ROOT.replace("=", ""), ROOT[:-2] + "J="])
def test_a_root_in_any_other_spelling_is_refused(root):
    with pytest.raises(PilotError):
        parse_checkpoint(f"log\n1\n{root}\n")


def test_the_empty_log_has_one_root():
    assert parse_checkpoint(Checkpoint("log", 0, EMPTY_ROOT).text()).size == 0
    with pytest.raises(PilotError, match="only one root"):
        parse_checkpoint(Checkpoint("log", 0, b"r" * 32).text())


def test_the_logs_own_key_must_have_signed_whatever_witnesses_say():
    log = SignerKey.generate("log")
    witness = SignerKey.generate("witness", COSIGNATURE)
    head = Checkpoint("log", 3, b"r" * 32)
    signed = open_checkpoint(sign_checkpoint(head, log), log.verifier)
    both = cosign(signed, witness, 1_790_000_000)
    again = open_checkpoint(both, log.verifier, witnesses=[witness.verifier])
    assert [each.time for each in again.opened.verified] == [None, 1_790_000_000]
    alone = sign_note(head.text(), [witness], time=1)
    with pytest.raises(PilotError) as caught:
        open_checkpoint(alone, log.verifier, witnesses=[witness.verifier])
    assert caught.value.code == "log-key-unknown"
