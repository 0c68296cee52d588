"""Keys under a passphrase: opened by it alone, and never after a byte was changed."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.services.backup.seal import check_passphrase, seal, unseal


@cache
def sealed() -> bytes:
    return seal(b"the keys", b"a long enough passphrase")


def test_the_passphrase_opens_it_and_another_does_not() -> None:
    assert unseal(sealed(), b"a long enough passphrase") == b"the keys"
    assert b"the keys" not in sealed()
    assert seal(b"the keys", b"a long enough passphrase") != sealed()
    with pytest.raises(PilotError) as caught:
        unseal(sealed(), b"a long enough passphrasf")
    assert caught.value.exit is ExitCode.REFUSED


@settings(max_examples=25)
@given(at=st.deferred(lambda: st.integers(0, len(sealed()) - 1)), bit=st.integers(0, 7))
def test_a_changed_bit_or_a_cut_end_is_refused(at: int, bit: int) -> None:
    changed = bytearray(sealed())
    changed[at] ^= 1 << bit
    for bad in (bytes(changed), sealed()[:at]):
        with pytest.raises(PilotError):
            unseal(bad, b"a long enough passphrase")


def test_a_short_passphrase_is_no_passphrase() -> None:
    assert check_passphrase(b"a long enough one\r\n") == b"a long enough one"
    with pytest.raises(PilotError, match="fewer than 12"):
        check_passphrase(b"short\n")
