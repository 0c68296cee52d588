import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.trust.note import COSIGNATURE, SignerKey, VerifierKey, open_note, sign_note
from tests.vectors import vectors

TEXT = "log.example/audit\n7\nsomething\n"


def code_of(raw, *keys):
    with pytest.raises(PilotError) as caught:
        open_note(raw, keys)
    assert caught.value.exit is ExitCode.LOG_FAILED
    return caught.value.code


def test_every_public_note_vector_is_judged_as_published():
    published = json.loads(vectors("signed-note/notes.json").read_text())
    assert len(published["notes"]) == 8
    for case in published["notes"]:
        keys = [VerifierKey.parse(text) for text in case["vkeys"]]
        raw = case["note"].encode()
        if case["valid"]:
            note = open_note(raw, keys)
            assert raw.startswith(note.text.encode() + b"\n\xe2\x80\x94 ")
            assert {each.name for each in note.verified} <= {key.name for key in keys}
            assert [str(key) for key in keys] == case["vkeys"]
        else:
            assert code_of(raw, *keys) == "log-note-malformed", case["why"]
    for text in published["bad_vkeys"]:
        with pytest.raises(PilotError) as caught:
            VerifierKey.parse(text)
        assert caught.value.code == "log-key-malformed"


def test_signatures_that_repeat_count_once():
    case = json.loads(vectors("signed-note/notes.json").read_text())["notes"][4]
    note = open_note(case["note"].encode(), [VerifierKey.parse(case["vkeys"][0])])
    assert [each.name for each in note.verified] == ["PeterNeumann"]
    assert {each.name for each in note.unknown} == {"EnochRoot"}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_what_is_signed_opens_to_the_same_text(line):
    signer = SignerKey.generate("log.example/audit")
    text = f"{line}\n\n{line}\n"
    note = open_note(sign_note(text, [signer]), [signer.verifier])
    assert note.text == text


def test_a_bad_signature_by_a_known_key_rejects_what_another_key_signed_well():
    first, second = SignerKey.generate("one"), SignerKey.generate("two")
    other = sign_note("other\n", [second]).split(b"\n")[-2]
    raw = sign_note(TEXT, [first]) + other + b"\n"
    assert code_of(raw, first.verifier, second.verifier) == "log-signature-bad"
    assert open_note(raw, [first.verifier]).text == TEXT
    assert code_of(raw) == "log-key-unknown"


def test_a_key_that_shares_only_the_name_is_unknown():
    signer, namesake = SignerKey.generate("one"), SignerKey.generate("one")
    assert code_of(sign_note(TEXT, [signer]), namesake.verifier) == "log-key-unknown"


@given(st.data())
def test_any_changed_byte_of_a_note_is_noticed(data):
    signer = SignerKey.generate("log.example/audit")
    raw = bytearray(sign_note(TEXT, [signer]))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PilotError):
        open_note(bytes(raw), [signer.verifier])


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_crashes(raw):
    signer = SignerKey.generate("one")
    assert code_of(raw, signer.verifier) == "log-note-malformed"
    assert code_of(b"text\n\n" + raw, signer.verifier).startswith("log-")


@pytest.mark.parametrize("control", ["\x00", "\x07", "\t", "\r", "\x1b", "\x1f"])
def test_control_characters_are_neither_signed_nor_opened(control):
    signer = SignerKey.generate("one")
    with pytest.raises(PilotError):
        sign_note(f"a{control}b\n", [signer])
    raw = sign_note("ab\n", [signer]).replace(b"ab", f"a{control}b".encode())
    assert code_of(raw, signer.verifier) == "log-note-malformed"


@pytest.mark.parametrize("count", [1, 16, 100])
def test_a_note_may_carry_many_signatures(count):
    signers = [SignerKey.generate(f"witness-{at}") for at in range(count)]
    raw = sign_note(TEXT, signers)
    assert len(open_note(raw, [each.verifier for each in signers]).verified) == count
    assert len(open_note(raw, [signers[-1].verifier]).unknown) == count - 1


def test_a_cosignature_says_when_and_is_bound_to_it():
    log, witness = SignerKey.generate("log"), SignerKey.generate("witness", COSIGNATURE)
    raw = sign_note(TEXT, [log, witness], time=1_790_000_000)
    keys = [log.verifier, VerifierKey.parse(str(witness.verifier))]
    assert [each.time for each in open_note(raw, keys).verified] == [None, 1_790_000_000]
    own = witness.sign(TEXT, time=1_790_000_000)
    later = own._replace(signature=(1_790_000_001).to_bytes(8, "big") + own.signature[8:])
    assert code_of(sign_note(TEXT, [log], signatures=[later]), *keys) == "log-signature-bad"
    with pytest.raises(PilotError, match="needs the time"):
        witness.sign(TEXT)


def test_an_ed25519_key_and_a_cosignature_key_of_the_same_bytes_are_two_keys():
    log = SignerKey.generate("log")
    same = log.verifier._replace(kind=COSIGNATURE)
    assert same.id != log.verifier.id
    assert code_of(sign_note(TEXT, [log]), same) == "log-key-unknown"


def test_a_signer_key_survives_its_text_form_and_hides_itself():
    signer = SignerKey.generate("log.example/audit")
    text = signer.secret_text()
    assert text.startswith("PRIVATE+KEY+log.example/audit+")
    again = SignerKey.parse(text + "\n")
    assert again.verifier == signer.verifier
    assert open_note(sign_note(TEXT, [again]), [signer.verifier]).text == TEXT
    assert text.split("+", 4)[4] not in repr(signer) + str(signer)


def test_a_key_made_by_go_is_read():
    # sumdb/note's own example key pair
    signer = SignerKey.parse(
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
    )
    assert str(signer.verifier) == (
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    )


@pytest.mark.parametrize(
    "text",
    ["", "one", "one+00000000", "+00000000+AQ==", "PRIVATE+KEY+one+00000000+AQ==", "a b+0+AQ=="],
)
def test_text_that_is_no_key_is_refused(text):
    for kind in (VerifierKey, SignerKey):
        with pytest.raises(PilotError) as caught:
            kind.parse(text)
        assert caught.value.code == "log-key-malformed"


def test_a_key_id_that_is_not_the_keys_own_is_refused():
    name, _, encoded = str(SignerKey.generate("one").verifier).split("+", 2)
    with pytest.raises(PilotError, match="key id should be"):
        VerifierKey.parse(f"{name}+00000000+{encoded}")
    with pytest.raises(PilotError, match="type 0x06"):
        VerifierKey.parse(f"one+00000000+{b64encode(bytes([6]) * 33).decode()}")
