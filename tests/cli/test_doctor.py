"""`pilotctl doctor` on the screen: what it will look like here, and why."""

import json

import pytest


def found(ended):
    rows = json.loads(ended.out)["items"]
    out = {}
    for row in rows:
        out.setdefault(row["check"], []).append((row["state"], row["found"]))
    return out


def test_it_names_theme_colours_display_characters_and_clipboard(rig):
    said = found(rig("doctor", "-o", "json", TERM="tmux-256color", TMUX="x,1,0"))
    assert said["theme"] == [("ok", "dark")]
    assert said["display"] == [("ok", "only cells that changed are sent")]
    assert said["colours"] == [("ok", "256 or more colours (TERM=tmux-256color)")]
    assert said["clipboard"] == [("ok", "OSC 52 through tmux, unverified")]
    assert said["characters"] == [("ok", "UTF-8")]
    assert "in tmux" in said["terminal"][0][1]


def test_stock_drawing_is_told_with_its_reason(rig):
    said = found(rig("doctor", "-o", "json", PILOTCTL_STOCK_DISPLAY="1"))
    ((state, words),) = said["display"]
    assert state == "note"
    assert "stock drawing" in words
    assert "PILOTCTL_STOCK_DISPLAY=1" in words


@pytest.mark.parametrize(
    ("environ", "check", "words"),
    [
        ({"NO_COLOR": "1"}, "colours", "no colour (NO_COLOR)"),
        ({"TERM": "linux"}, "colours", "sixteen colours (TERM=linux)"),
        ({"TERM": "vt100"}, "clipboard", "none"),
        ({"LC_ALL": "C"}, "characters", "ASCII"),
        ({"PILOTCTL_THEME": "lihgt"}, "theme", "dark, asked for as lihgt"),
        ({"TERM": "xterm-256color", "PILOTCTL_THEME": "light"}, "theme", "light"),
    ],
)
def test_it_says_why_the_screen_is_not_what_one_expects(rig, environ, check, words):
    said = found(rig("doctor", "-o", "json", **{"TERM": "xterm-256color", **environ}))
    assert words in said[check][0][1]


def test_a_theme_file_with_a_fault_is_named_by_file_key_and_nearest(rig, tmp_path):
    folder = tmp_path / "pilotctl/themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('schema = 1\nname = "mine"\n[tokens]\ncritcal = "bold"\n')
    environ = {"XDG_DATA_HOME": str(tmp_path)}
    said = found(rig("doctor", "-o", "json", TERM="xterm-256color", **environ))
    assert (
        "note",
        f"mine.toml: tokens.critcal: no such token; nearest: critical (in {folder})",
    ) in (said["theme"])


def test_own_keys_are_counted_and_what_cannot_be_had_is_named_by_its_line(rig, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(
        '[console.aliases]\nal = "alerts state=new"\n'
        '[console.hotkeys]\n"f5" = "al"\n"q" = "alrets"\n'
    )
    said = found(rig("doctor", "--config", str(file), "-o", "json", TERM="xterm-256color"))
    assert said["own keys"] == [
        ("ok", "1 aliases, 1 hotkeys"),
        (
            "note",
            (
                "own.toml:5: hotkeys: 'q': no view or command 'alrets'; "
                "nearest: alerts, alert, alert.show"
            ),
        ),
    ]


def test_what_the_services_say_of_themselves_is_told_pages_that_do_not_arrive_too(rig):
    note = "night on call is not reached: it answered 503 (pilotctl oncall deliveries)"
    rig.api.on("GET /v1/status", {
        "service": "audit", "version": "1", "as_of": "2026-03-01T12:00:00Z", "healthy": False,
        "operator": {"name": "root", "uid": 0, "roles": ["admin"]}, "notes": [note],
    })  # fmt: skip
    said = found(rig("doctor", "-o", "json"))
    assert ("note", note) in said["audit"]


def test_a_grant_whose_scope_stands_open_is_named_with_its_renewal(rig):
    grant = {
        "id": "grt_01J9ZK00000000000000000000", "created_at": "2026-03-01T12:00:00Z",
        "created_by": "root", "updated_at": "2026-03-01T12:00:00Z", "updated_by": "root",
        "pilot": "aurora", "stage": "limited", "partner": "acme", "capabilities": ["c"],
        "models": ["aurora-1"], "networks": [], "purpose": "p", "tier": 2, "state": "active",
        "not_before": "2026-03-01T12:00:00Z", "expires_at": "2026-09-01T12:00:00Z",
    }  # fmt: skip
    page = {"as_of": "2026-03-01T12:00:00Z", "source": "policy", "partial": False, "warnings": []}
    rig.api.on("GET /v1/grants", {**page, "items": [grant]})
    rig.api.on("GET /v1/partners", {**page, "items": []})
    ((state, words),) = found(rig("doctor", "-o", "json"))["grant scope"]
    assert state == "note"
    assert words == (
        "grt_01J9ZK00000000000000000000 of acme, tier 2: it names no principals, so that any "
        "user may call"
    )
