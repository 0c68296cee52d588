"""Themes: whole, legible, and never a reason not to start."""

import asyncio
import os

import pytest
from fake_pilot import FakePilot
from rich.color import Color, ColorSystem
from terminal import Terminal

from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.terminal.display import Inks
from console.tui.theme.contrast import ENHANCED, ENOUGH, LINES, NO_TEXT, faint, pairs
from console.tui.theme.library import Depth, Themes, depth_of, fitted, own_themes
from console.tui.theme.palette import (
    MAX_BYTES,
    TIERS,
    TOKENS,
    Palette,
    ThemeError,
    load_all,
    parse,
    read,
    shipped,
)

SHIPPED = sorted(shipped().glob("*.toml"))
GOOD = (shipped() / "dark.toml").read_text()
each_theme = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def test_every_shipped_theme_reads():
    palettes, wrong = load_all()
    assert wrong == []
    assert {"dark", "light", "high-contrast", "colour-safe", "ansi16"} <= set(palettes)


@each_theme
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
def test_every_token_is_legible_on_every_ground_it_is_drawn_on(path, system):
    palette = read(path)
    if palette.ansi:
        pytest.skip("the terminal's own colours are the operator's choice")
    least = ENHANCED if palette.name == "high-contrast" else ENOUGH
    found = list(pairs(palette, system))
    assert {pair.token for pair in found} == set(TOKENS)
    for pair in found:
        assert pair.ratio >= (LINES if pair.token in NO_TEXT else least), pair


def test_the_contrast_is_the_one_of_the_guidelines():
    # the ends of the scale, and the grey that is known to just pass on white
    base = parse(GOOD).styles
    for fore, back, ratio in (
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#767676", "#ffffff", 4.54),
    ):
        text = GOOD.replace(f'base = "{base["base"]}"', f'base = "{fore} on {back}"')
        palette = parse(text)
        found = next(pair for pair in pairs(palette) if pair[:2] == ("base", "its own"))
        assert found.ratio == pytest.approx(ratio, abs=0.01)


def seen_without_green(color):
    """Return the colour as a deuteranope sees it (Viénot, Brettel and Mollon, 1999)."""
    red, green, blue = ((part / 255) ** 2.2 for part in color.get_truecolor())
    return (0.29275 * red + 0.70725 * green, 0.29275 * red + 0.70725 * green,
            -0.02234 * red + 0.02234 * green + blue)  # fmt: skip


def test_the_colour_safe_theme_tells_good_from_bad_without_green():
    palette = read(shipped() / "colour-safe.toml")
    for one, other in (("good", "bad"), ("good", "pending"), ("low", "high"), ("good", "critical")):
        apart = [
            abs(a - b)
            for a, b in zip(
                seen_without_green(palette.styles[one].color),
                seen_without_green(palette.styles[other].color),
                strict=True,
            )
        ]
        assert max(apart) > 0.3, (one, other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('"#8793a3"', '"#87"', 1), r"tokens\.dim: '#87' is not a colour: #rrggbb"),
        (GOOD.replace('"#8793a3"', '"#87zz99"', 1), r"tokens\.dim: '#87zz99' is not a colour"),
        (GOOD.replace('"#8793a3"', '"grey42"', 1), r"tokens\.dim: 'grey42' is no colour"),
        (GOOD.replace('"bold #f2c265"', '"bolt #f2c265"', 1), r"no attribute; nearest: bold"),
        (GOOD.replace('"#ffa46b"', '"blink #ffa46b"'), r"tokens\.high"),
        (GOOD.replace('"#ffa46b"', '"link http://x #ffa46b"'), r"tokens\.high"),
        (GOOD.replace('"#ffa46b"', "7"), r"tokens\.high: a style is needed, found 7"),
        (GOOD.replace("critical =", "critcal ="), r"tokens\.critcal: .*nearest: critical"),
        (GOOD.replace('high = "#ffa46b"\n', ""), r"tokens\.high: is missing"),
        (GOOD.replace("schema = 1", "schema = 2"), "schema"),
        (GOOD.replace("schema = 1", "schema = true"), "schema"),
        (GOOD.replace("dark = true", 'dark = "yes"'), "dark is 'yes'"),
        (GOOD.replace('name = "dark"', 'name = "a b"'), "name is 'a b'"),
        (GOOD.replace("[tokens]", "[token]"), "unknown key 'token'; nearest: tokens"),
        (GOOD + "[sixteen]\nbad = '#ff0000'\n", r"sixteen\.bad: .*one of the sixteen"),
        (GOOD + "[sixteen]\nbad = 'brigth_red'\n", r"sixteen\.bad"),
        (GOOD.replace('base = "#d4d9e0 on #0f1419"', 'base = "#d4d9e0"'), r"tokens\.base"),
        ("schema = ", "at end of document"),
    ],
)
def test_what_is_wrong_with_a_theme_is_named(text, said):
    with pytest.raises(ThemeError, match=said):
        parse(text)


@pytest.mark.parametrize("other", ["base", "bar", "staging", "development"])
def test_no_theme_may_hide_that_a_screen_is_production(other):
    ground = str(parse(GOOD).styles[other].bgcolor.get_truecolor().hex)
    with pytest.raises(ThemeError, match="production: has the ground of"):
        parse(GOOD.replace("on #a3262a", f"on {ground}"))
    with pytest.raises(ThemeError, match="production: needs a ground"):
        parse(GOOD.replace('"bold #ffffff on #a3262a"', '"bold #ffffff"'))


def test_a_bad_theme_of_ones_own_leaves_the_others(tmp_path):
    (tmp_path / "mine.toml").write_text("schema = 9")
    (tmp_path / "link.toml").symlink_to(shipped() / "light.toml")
    (tmp_path / "large.toml").write_text(GOOD + "#" * MAX_BYTES)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe.toml")
    palettes, wrong = load_all((tmp_path,))
    assert "dark" in palettes
    assert len(wrong) == 5
    told = "\n".join(wrong)
    for said in ("a symbolic link", "larger than 65536 bytes", "not UTF-8", "not a plain file"):
        assert said in told


def test_ones_own_theme_wins_over_the_shipped_one_of_its_name(tmp_path):
    folder = own_themes({"XDG_DATA_HOME": str(tmp_path)})
    folder.mkdir(parents=True)
    (folder / "dark.toml").write_text(GOOD.replace("#ffa46b", "#ffa56c"))
    worn = Themes(folder, "dark", Depth.FULL).worn()
    assert worn.styles["high"].color == Color.parse("#ffa56c")


def test_a_relative_data_folder_is_ignored_as_the_specification_has_it():
    found = own_themes({"XDG_DATA_HOME": "here", "HOME": "/home/op"})
    assert str(found) == "/home/op/.local/share/pilotctl/themes"


def test_a_theme_can_be_named_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace('name = "dark"', 'name = "mine"'))
    themes = Themes(tmp_path / "none", str(path), Depth.FULL)
    assert themes.worn().name == "mine"
    assert not themes.changed()
    path.write_text(path.read_text() + "# again\n")
    assert themes.changed()


def test_a_theme_that_is_not_there_falls_back_and_says_the_nearest(tmp_path):
    themes = Themes(tmp_path, "lihgt", Depth.FULL)
    assert themes.worn().name == "dark"
    assert themes.wrong == ["no theme 'lihgt'; nearest: light"]


def test_a_faint_theme_of_ones_own_is_worn_and_told(tmp_path):
    text = GOOD.replace('name = "dark"', 'name = "faint"').replace('"#8793a3"', '"#20262e"')
    (tmp_path / "faint.toml").write_text(text)
    themes = Themes(tmp_path, "faint", Depth.FULL)
    assert themes.worn().name == "faint"
    assert faint(themes.worn())
    assert "theme faint: dim on base is 1." in themes.notes[0]


@pytest.mark.parametrize(
    ("environ", "depth"),
    [
        ({"TERM": "xterm-256color"}, Depth.FULL),
        ({"TERM": "tmux-256color"}, Depth.FULL),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, Depth.FULL),
        ({"TERM": "xterm-kitty"}, Depth.FULL),
        ({"TERM": "linux"}, Depth.SIXTEEN),
        ({"TERM": "vt100"}, Depth.SIXTEEN),
        ({"TERM": "xterm"}, Depth.SIXTEEN),
        ({}, Depth.SIXTEEN),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, Depth.NONE),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, Depth.FULL),
    ],
)
def test_the_depth_of_colour_is_the_terminals(environ, depth):
    assert depth_of(environ) is depth


@each_theme
def test_every_theme_can_be_drawn_with_sixteen_colours_and_with_none(path):
    terminal = read(shipped() / "ansi16.toml")
    sixteen = fitted(read(path), Depth.SIXTEEN, terminal)
    assert sixteen.ansi
    for style in sixteen.styles.values():
        for color in (style.color, style.bgcolor):
            assert color is None or color.is_default or color.number < 16
    none = fitted(read(path), Depth.NONE, terminal)
    for token in TOKENS:
        assert none.styles[token].color is None
        assert none.styles[token].bgcolor is None
    assert none.style("production").reverse, "a production screen is framed without colour too"
    assert none.style("bar").reverse
    for ground in ("production", "bar"):
        for token in ("title", "good", "dim", "key"):
            assert none.style(ground, token).reverse, "a bar is one band"


@each_theme
def test_what_is_bad_stands_out_on_the_production_frame_without_its_colour(path):
    palette = read(path)
    ground = palette.style("production")
    for token in ("", "good", "dim", "key", "pending"):
        over = palette.style("production", token)
        assert (over.color, over.bgcolor) == (ground.color, ground.bgcolor)
    assert palette.style("production", "bad").reverse


def test_states_that_matter_differ_from_each_other_in_more_than_colour():
    # the words are on the screen wherever the tokens are: here, that no two tiers share one
    none = fitted(read(shipped() / "dark.toml"), Depth.NONE, read(shipped() / "ansi16.toml"))
    assert isinstance(none, Palette)
    assert len({str(none.style(tier)) for tier in TIERS}) >= 1
    for calm, loud in (("good", "critical"), ("low", "critical"), ("", "mark")):
        assert none.style(calm) != none.style(loud)


# worn


def wearing(pilot, story, **wanted):
    async def main():
        themes = Themes(wanted.pop("own"), wanted.pop("theme", ""), Depth.FULL)
        app = Console(pilot, all_operations(), themes.palettes, themes.worn())
        app.themes = themes
        app._inks = Inks(ColorSystem.TRUECOLOR)  # whatever terminal the tests run in
        async with app.run_test(size=(80, 24)) as hands:
            await hands.pause()
            await story(app, hands)

    asyncio.run(main())


def styles_of(app):
    app._canvas.forget()
    return app._canvas.paint()


def test_a_theme_is_looked_at_before_it_is_kept_and_left_with_escape(tmp_path):
    async def story(app, hands):
        app.run_command("theme")
        await hands.pause()
        before = app.palette_now
        await hands.press("down")
        assert app.palette_now != before
        await hands.pause()
        assert "enter keep" in "\n".join(app._canvas.text())
        await hands.press("escape")
        assert app.palette_now == before
        await hands.press("colon", *"theme", "enter")
        await hands.pause()
        await hands.press("up", "up", "enter")
        await hands.pause()
        kept = app.palette_now
        assert kept != before
        assert f'theme = "{kept.name}"' in "\n".join(app._canvas.text())

    wearing(FakePilot(), story, own=tmp_path)


def test_a_theme_that_changes_on_disk_is_worn_at_once(tmp_path):
    path = tmp_path / "mine.toml"
    mine = GOOD.replace('name = "dark"', 'name = "mine"')
    path.write_text(mine)

    async def story(app, hands):
        app.run_command("theme mine")
        await hands.pause()
        path.write_text(mine.replace("#0f1419", "#0f1520"))
        app.run_command("theme reload")
        await hands.pause()
        assert app.palette_now.styles["base"].bgcolor.name == "#0f1520"
        assert "48;2;15;21;32" in styles_of(app)
        app.run_command("theme watch")
        path.write_text(mine.replace("#0f1419", "#0f1521") + "\n")
        for _ in range(100):
            if "48;2;15;21;33" in styles_of(app):
                break
            await hands.pause(0.05)
        else:
            raise AssertionError("the file was not read again")
        path.write_text("schema = 7\n")
        app.run_command("theme reload")
        await hands.pause()
        assert "mine.toml: schema is 7" in "\n".join(app._canvas.text())
        assert app.palette_now.name == "mine", "what is worn stays"
        app.run_command("theme lihgt")
        await hands.pause()
        assert "nearest: light" in "\n".join(app._canvas.text())

    wearing(FakePilot(), story, own=tmp_path)


@each_theme
def test_production_is_framed_in_its_colour_and_word_whatever_the_theme(path, tmp_path):
    async def story(app, hands):
        app.wear(app.palettes[read(path).name])
        await hands.pause()
        ground = app.palette().style("production")
        for at in (0, 23):
            strip = (app.query_one("#status") if at == 0 else app.query_one("#hint")).render_line(0)
            grounds = {segment.style.bgcolor for segment in strip if segment.text.strip()}
            assert ground.bgcolor in grounds
        assert "PROD" in app._canvas.text()[0]

    wearing(FakePilot(tier="production"), story, own=tmp_path)


def test_a_bad_theme_never_stops_the_start(tmp_path):
    own = tmp_path / "data/pilotctl/themes"
    own.mkdir(parents=True)
    (own / "broken.toml").write_text(GOOD.replace("critical =", "critcal ="))
    environ = {"XDG_DATA_HOME": str(tmp_path / "data")}
    with Terminal(tmp_path, environ=environ, pilot={"theme": "broken"}) as screen:
        screen.see("CRIT", "tokens.critcal")
        screen.keys("@").see("no theme 'broken'", "nearest: critical")
