"""What is pasted is text: no sequence in it is read as a key."""

from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal
from textual.events import Key, Paste
from vectors import vectors

from console.tui.terminal.paste import PasteSafe

BEGIN, END = "\x1b[200~", "\x1b[201~"


def read(text, cuts=()):
    parser, events, at = PasteSafe(), [], 0
    for cut in (*sorted(cuts), len(text)):
        if text[at:cut]:
            events += parser.feed(text[at:cut])
        at = max(at, cut)
    return [*events, *parser.feed("")]


@given(
    st.text(st.sampled_from("ab\x1b[]O201~;?Dm\r\n\t"), max_size=30).filter(lambda t: END not in t),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_whatever_is_in_a_paste_is_one_paste_in_whatever_pieces_it_comes(text, cuts):
    events = read(f"x{BEGIN}{text}{END}y", cuts)
    kinds = [type(each) for each in events]
    assert kinds == ([Key, Paste, Key] if text else [Key, Key]) or not text
    for each in events:
        if isinstance(each, Paste):
            assert each.text == text.replace("\x1b", "\ufffd")


def test_keys_outside_of_a_paste_are_read_as_ever():
    assert [each.key for each in read("a\x1b[A\x1b[15~\x1bx")] == ["a", "up", "f5", "alt+x"]


def test_a_paste_full_of_sequences_presses_no_key_in_a_terminal(tmp_path):
    hostile = vectors("xterm-escape/t0006-IND.in").read_bytes().decode("latin")
    with Terminal(tmp_path, (100, 24)) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys(":").see("tab")
        screen.keys(f"{BEGIN}\x1b[Dq\x1b[200~:q\r{hostile[:300]}{END}")
        screen.pump(0.5)
        assert screen.status is None
        screen.keys("\x15grants\r").see("PARTNER")
        screen.keys("\x11")
        assert screen.wait() == 0
