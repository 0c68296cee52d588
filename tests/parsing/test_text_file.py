import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.parsing.text_file import MAX_TEXT_BYTES, read_text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * (MAX_TEXT_BYTES + 1), "is longer than"),
        (b"ab\xff", r"is not UTF-8 text \(byte 2\)"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_taken_is_said_in_words(tmp_path, content, words):
    file = tmp_path / "given"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_text(str(file))


def test_a_text_of_just_a_mebibyte_is_taken(tmp_path):
    (tmp_path / "given").write_text("x" * MAX_TEXT_BYTES)
    assert len(read_text(str(tmp_path / "given"))) == MAX_TEXT_BYTES


def test_input_that_never_ends_is_not_read_for_ever():
    code = "from console.parsing.text_file import read_text\nread_text('-')"
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=endless, capture_output=True, text=True,
            timeout=60, check=False, env=os.environ,
        )  # fmt: skip
    assert "is longer than" in done.stderr
