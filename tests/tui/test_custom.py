"""The operator's own aliases, hotkeys and keys: what they run, and what is left out and told."""

import asyncio
import sys
from pathlib import Path

import pytest
from fake_pilot import FakePilot
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import Terminal
from test_console import OPERATIONS, PALETTES, Hands

from console.config.bindings import KEY_NAMES, Binding, key_of
from console.config.profile import load_profile
from console.tui.app.console_app import Console
from console.tui.app.screen_commands import NEEDED
from console.tui.app.user_bindings import settle
from console.tui.dialogs.operation_form import Act
from console.tui.link.log_proofs import Proofs
from console.tui.views.view_registry import described
from console.tui.widgets.entry import pressed

BY_ID = {op.id: op for op in OPERATIONS}
VIEWS = described(BY_ID, Proofs(None))


def bindings(folder, text, profile=""):
    file = folder / "config.toml"
    file.write_text(text)
    return load_profile({"PILOTCTL_CONFIG": str(file), "HOME": "/"}, profile=profile).bindings


def settled(folder, text, profile=""):
    return settle(bindings(folder, text, profile), BY_ID, VIEWS)


def run(folder, text, story, pilot=None, size=(120, 30)):
    async def go():
        app = Console(
            pilot or FakePilot(), OPERATIONS, PALETTES, PALETTES["dark"],
            bindings=bindings(folder, text),
        )  # fmt: skip
        async with app.run_test(size=size) as hands:
            operator = Hands(app, hands)
            await operator.see("gw ok", "policy ok", seconds=60)
            await story(operator)
        return app

    return asyncio.run(go())


OWN = """\
[console.aliases]
mine = "grants acme state=active"

[console.hotkeys]
"f5" = "alerts"
"ctrl+g" = "mine"
"B" = "lock add"

[console.keys]
"grant.revoke" = "X"
"key.issue" = ""
"lock.add" = "!"
"""


def test_an_alias_stands_for_a_command_and_takes_more_words_after_it(tmp_path):
    async def story(hands):
        await hands.press("colon")
        await hands.type("min")
        await hands.see("tab mine")
        await hands.press("tab")
        await hands.type("limit=7 /aurora")
        await hands.press("enter")
        place = hands.app.place
        assert place.name == "grants"
        assert place.raw == {"partner": "acme", "state": "active", "limit": "7"}
        assert place.state.filter == "aurora"

    run(tmp_path, OWN, story)


def test_a_hotkey_runs_its_command_through_an_alias_too(tmp_path):
    async def story(hands):
        await hands.press("f5")
        await hands.until(lambda: hands.app.place.name == "alerts")
        await hands.press("ctrl+g")
        await hands.until(lambda: hands.app.place.raw.get("partner") == "acme")
        await hands.press("B")
        await hands.until(lambda: isinstance(hands.app.screen, Act))

    run(tmp_path, OWN, story)


def test_an_operation_has_the_key_that_it_was_given_and_no_other(tmp_path):
    async def story(hands):
        app = hands.app
        app.run_command("grants")
        await hands.until(lambda: app.place.heard is not None and app.table.current is not None)
        await hands.see("X revoke", "! lock")
        assert "K issue" not in hands.text
        await hands.press("x")
        await hands.press("K")
        await hands.press("L")
        assert len(app.screen_stack) == 1
        await hands.press("X")
        await hands.until(lambda: isinstance(app.screen, Act))
        assert app.screen.op.id == "grant.revoke"
        await hands.press("escape", "exclamation_mark")
        await hands.until(lambda: isinstance(app.screen, Act))
        assert app.screen.op.id == "lock.add"

    run(tmp_path, OWN, story)


def test_the_help_and_the_hint_line_show_what_the_operator_set(tmp_path):
    async def story(hands):
        await hands.see("f5 alerts")
        await hands.press("question_mark")
        await hands.see(":mine", "alias: grants acme state=active")
        await hands.press("slash")
        await hands.type("hotkey")
        await hands.press("enter")
        await hands.see("f5", ":alerts", "hotkey (config.toml:5)")
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.name == "alerts")

    run(tmp_path, OWN, story, size=(140, 40))


def test_the_palette_finds_them(tmp_path):
    async def story(hands):
        await hands.press("ctrl+p")
        await hands.type(":mine")
        await hands.see("grants acme state=active")
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.raw.get("partner") == "acme")

    run(tmp_path, OWN, story)


WRONG = """\
[console.aliases]
grants = "alerts"
"Two words" = "alerts"
gone = "grnats acme"
good = "alerts"

[console.hotkeys]
"ctlr+g" = "alerts"
"s" = "alerts"
"n" = "grants"
"f" = "grants"
"f6" = "alrets"
"f7" = "good"
"F7" = "grants"

[console.keys]
"grant.revok" = "X"
"grant.revoke" = "a"
"key.issue" = "j"
"alert.close" = "Z"
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (2, "'grants' is a command already"),
        (3, "'Two words' is no name"),
        (4, "'gone': no view or command 'grnats'; nearest: grants"),
        (8, "'ctlr+g' is no key; did you mean 'ctrl+g'?"),
        (9, "'s' is a key that the screen itself needs"),
        (10, "'n' is the key of grant.create"),
        (11, "'f' is 'follow' in"),
        (12, "'f6': no view or command 'alrets'; nearest: alerts"),
        (14, "'F7' runs :good already"),
        (17, "no operation 'grant.revok'; nearest: grant.revoke"),
        (18, "grant.revoke: 'a' is the key of grant.activate"),
        (19, "key.issue: 'j' is a key that the screen itself needs"),
    ],
)
def test_what_cannot_be_had_is_told_with_its_line_and_the_rest_holds(tmp_path, line, said):
    custom = settled(tmp_path, WRONG)
    assert (
        [each for each in custom.wrong if each.startswith(f"config.toml:{line}: ")]
        == [each for each in custom.wrong if said in each]
        != []
    )
    assert list(custom.aliases) == ["good"]
    assert list(custom.hotkeys) == ["f7"]
    assert custom.keys == {"grant.revoke": "x", "key.issue": "K", "alert.close": "Z"}
    assert len(custom.wrong) == 12


def test_the_example_file_holds_whole():
    file = Path(__file__).parents[2] / "config.example.toml"
    given = load_profile({"PILOTCTL_CONFIG": str(file), "HOME": "/"}).bindings
    assert given
    assert settle(given, BY_ID, VIEWS).wrong == []


def test_two_operations_can_change_keys_with_each_other(tmp_path):
    custom = settled(tmp_path, '[console.keys]\ngrant.revoke = "a"\ngrant.activate = "x"\n')
    assert custom.keys == {"grant.revoke": "a", "grant.activate": "x"}
    assert not custom.wrong


def test_a_key_that_was_taken_off_an_operation_is_free_for_a_hotkey(tmp_path):
    text = '[console.hotkeys]\n"n" = "grants"\n[console.keys]\n"grant.create" = ""\n'
    custom = settled(tmp_path, text)
    assert list(custom.hotkeys) == ["n"]
    assert not custom.wrong


def test_a_profile_has_its_own_over_those_of_every_profile(tmp_path):
    text = (
        '[console.hotkeys]\n"f5" = "alerts"\n"f6" = "calls"\n"f7" = "locks"\n'
        '[profiles.p.console.hotkeys]\n"f5" = "grants"\n"f6" = ""\n'
    )
    ours = settled(tmp_path, text, "p").hotkeys
    assert {key: each.value for key, each in ours.items()} == {"f5": "grants", "f7": "locks"}
    assert settled(tmp_path, text, "local").hotkeys["f5"].value == "alerts"


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(list(BY_ID)), st.sampled_from([*"abcnxXKLZ?", "f5", ""])),
    st.dictionaries(st.sampled_from([*"abcnxXKLZ?", "f5", "ctrl+g"]), st.just("alerts")),
)
def test_no_configuration_gives_one_key_two_meanings_or_takes_one_that_the_screen_needs(
    keys, hotkeys
):
    here = Path("config.toml")
    given = [Binding("keys", *each, here, 1, "") for each in keys.items()]
    given += [Binding("hotkeys", *each, here, 1, "") for each in hotkeys.items()]
    custom = settle(given, BY_ID, VIEWS)
    has = {op.id: custom.keys.get(op.id, op.key) for op in OPERATIONS}
    used = [(key, BY_ID[name].subject) for name, key in has.items() if key]
    assert len(used) == len(set(used))
    anywhere = {key for key, subject in used if not subject}
    assert not anywhere & {key for key, subject in used if subject}
    assert not NEEDED & {key for key, _ in used}
    assert not set(custom.hotkeys) & ({key for key, _ in used} | NEEDED)


def test_a_key_with_a_modifier_is_not_its_letter():
    assert pressed("alt+x", "x") == "alt+x"
    assert pressed("ctrl+g", "\x07") == "ctrl+g"
    assert pressed("exclamation_mark", "!") == "!"
    assert pressed("space", " ") == "space"


def test_every_key_with_a_name_is_itself_and_what_a_terminal_cannot_tell_apart_is_one():
    assert all(key_of(name) == (name, "") for name in KEY_NAMES if name not in
               {"ctrl+i", "ctrl+m", "ctrl+j", "ctrl+h"})  # fmt: skip
    assert key_of("Ctrl+I") == ("tab", "")
    assert key_of("hyper+x")[1].startswith("is no key")


CONFIG = """\
default_profile = "here"

[profiles.here]
policy = "unix:/nowhere/p.sock"
gateway = "unix:/nowhere/g.sock"
audit = "unix:/nowhere/a.sock"

[profiles.here.console.hotkeys]
"f5" = "al"
"ctrl+f" = "locks"
"s" = "alerts"

[console.aliases]
al = "alerts state=new"
"""


def test_a_real_file_is_read_in_a_terminal_where_what_is_wrong_is_told_and_goes_at_a_key(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    argv = [sys.executable, "-m", "console", "--config", str(file)]
    with Terminal(tmp_path, (120, 24), argv=argv) as screen:
        screen.see("config.toml:11: hotkeys: 's' is a key that the screen itself needs")
        screen.keys("\x1b[15~").see("alerts state=new")
        assert "config.toml:11" not in screen.text
        screen.keys("\x06").see("locks")
        screen.keys(":al severity=high\r").see("alerts", "state=new severity=high")
        screen.keys("@").see("config.toml:11")
        screen.keys("\x11")
        assert screen.wait() == 0
