"""Themes: whole, legible, and never a reason not to start."""

import pytest

from console.tui.theme import TOKENS, ThemeError, contrast, load_all, parse, read, shipped


def test_every_shipped_theme_reads():
    palettes, wrong = load_all()
    assert wrong == []
    assert {"dark", "light", "high-contrast", "colour-safe", "ansi16"} <= set(palettes)


@pytest.mark.parametrize("path", sorted(shipped().glob("*.toml")), ids=lambda path: path.stem)
def test_every_token_is_legible_on_its_ground(path):
    palette = read(path)
    if palette.ansi:
        pytest.skip("the terminal's own colours are the operator's choice")
    least = 7.0 if palette.name == "high-contrast" else 4.5
    grounds = [palette.style(), palette.style("bar"), palette.style("cursor")]
    for token in TOKENS:
        if token == "border":
            continue
        style = palette.styles[token]
        for ground in [grounds[0]] if style.bgcolor else grounds[:2]:
            if palette.name == "high-contrast" and ground is grounds[1]:
                continue
            assert contrast(style, ground) >= least, token


GOOD = (shipped() / "dark.toml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('"#8793a3"', '"#87"', 1), "tokens.dim"),
        (GOOD.replace("critical =", "critcal ="), "tokens.critcal"),
        (GOOD.replace('high = "#ffa46b"\n', ""), "tokens.high"),
        (GOOD.replace("schema = 1", "schema = 2"), "schema"),
        (GOOD + "[more]\n", "'more'"),
        ("schema = ", "t.toml"),
        (GOOD.replace('"#ffa46b"', '"link http://x #ffa46b"'), "tokens.high"),
    ],
)
def test_what_is_wrong_with_a_theme_is_named(text, said):
    with pytest.raises(ThemeError, match=said):
        parse(text, "t.toml")


def test_a_bad_theme_of_ones_own_leaves_the_others(tmp_path):
    (tmp_path / "mine.toml").write_text("schema = 9")
    (tmp_path / "link.toml").symlink_to(tmp_path / "mine.toml")
    palettes, wrong = load_all((tmp_path,))
    assert "dark" in palettes
    assert len(wrong) == 2
    assert all("toml" in each for each in wrong)
