"""No text reaches the screen but through `ink`, which makes it safe."""

import ast
import re
from pathlib import Path

import console.tui

FOLDER = Path(console.tui.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))


def test_only_ink_makes_segments():
    for path in FILES:
        if path.stem in {"strips", "display"}:
            continue
        assert not re.search(r"\bSegment\b|\bStrip\(", path.read_text()), path.name


def test_no_widget_of_textual_that_takes_text_is_used():
    for path in FILES:
        text = path.read_text()
        assert "textual.widgets" not in text, path.name
        for banned in ("notify(", "border_title", "Static(", "Label(", "from_markup", ".tooltip"):
            assert banned not in text, f"{path.name}: {banned}"


def test_no_table_of_textual_is_used():
    assert not any("import DataTable" in path.read_text() for path in FILES)


def test_only_the_screen_imports_textual():
    root = FOLDER.parent
    for path in root.rglob("*.py"):
        if FOLDER in path.parents:
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "textual" in text else ():
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not any(n.split(".")[0] == "textual" for n in names), path
