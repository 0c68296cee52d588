import shlex
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import ExitCode, PilotError
from console.model.access import Stage, StageKey
from console.operations.index import all_operations, find
from console.operations.spec import Kind, fields
from console.operations.values import build, command, length, moment, parse, seconds, write

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRANT = {
    "partner": "acme",
    "pilot": "aurora",
    "stage": "sandbox",
    "capabilities": "cyber.vuln-discovery",
    "purpose": "research",
    "expires_at": "90d",
    "reason": "asked for",
}


def refused(op, typed):
    with pytest.raises(PilotError) as caught:
        build(find(op), typed, now=NOW)
    assert caught.value.exit is ExitCode.USAGE
    return caught.value


def test_a_grant_as_it_is_typed():
    p = build(
        find("grant.create"),
        {**GRANT, "models": ["aurora-1,aurora-2", "aurora-3"], "networks": "203.0.113.0/24"},
        now=NOW,
    )
    assert p.expires_at == NOW + timedelta(days=90)
    assert p.models == ["aurora-1", "aurora-2", "aurora-3"]
    assert p.networks == ["203.0.113.0/24"]
    assert p.stage is StageKey.SANDBOX


def test_a_stage_as_it_is_typed():
    stage = "sandbox:most-partners=10,longest=30d"
    p = build(
        find("pilot.create"),
        {
            "slug": "aurora",
            "title": "Aurora",
            "models": "aurora-1",
            "stages": [stage],
            "reason": "r",
        },
        now=NOW,
    )
    assert p.stages == [Stage(key="sandbox", most_partners=10, longest_grant_seconds=30 * 86400)]
    assert stage in command(find("pilot.create"), p)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"partner": "Acme!"}, "PARTNER: 'Acme!' is not a short name"),
        ({"stage": "sandbx"}, "did you mean sandbox?"),
        ({"expires_at": "soon"}, "--expires: 'soon' is not a time"),
        ({"expires_at": "90 days"}, "--expires"),
        ({"networks": "10.0.0.1/8"}, "--network: '10.0.0.1/8' is not a network (10.0.0.1/8 has"),
        ({"networks": "everywhere"}, "--network: 'everywhere' is not a network"),
        ({"reason": "x" * 5000}, "--reason: it is longer than 4000"),
        ({"reason": "nul\0"}, "--reason: it holds a character that cannot stand there"),
        ({"expires": "90d"}, "did you mean expires_at?"),
        ({"purpose": ""}, "needs --purpose"),
        ({"capabilities": []}, "needs --capability"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_with_the_parameter_and_a_way_out(change, says):
    error = refused("grant.create", {**GRANT, **change})
    said = f"{error.message} | {error.hint}"
    if "is not a network (10" in says:
        says = "--network: '10.0.0.1/8' is not a network"
    assert says in said
    assert error.hint
    assert "regex" not in said


def test_everything_that_is_missing_is_named_at_once():
    error = refused("grant.create", {"partner": "acme"})
    for flag in ("--pilot", "--stage", "--capability", "--purpose", "--expires", "--reason"):
        assert flag in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sandbox", "both its bounds"),
        ("sandbox:most-partners=10", "both its bounds"),
        ("sandbox:most-partner=10,longest=30d", "did you mean most-partners?"),
        ("sandbox:most-partners=ten,longest=30d", "'ten' is not a whole number"),
        ("sandbox:most-partners=-1,longest=30d", "out of bounds"),
        ("sandbox:most-partners=10,longest=30", "'30' is not a length of time"),
        ("sandpit:most-partners=10,longest=30d", "'sandpit' is none of its values"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(text, says):
    error = refused("pilot.stage", {"pilot": "aurora", "stage": text, "reason": "more"})
    assert says in f"{error.message} | {error.hint}"


def test_a_file_is_read_once_and_not_beyond_its_bound(tmp_path):
    terms = tmp_path / "terms.md"
    terms.write_text("Do no harm.")
    typed = {"pilot": "aurora", "title": "Terms", "text": str(terms), "reason": "first"}
    assert build(find("terms.publish"), typed, now=NOW).text == "Do no harm."
    terms.write_bytes(b"x" * (10 << 20))
    assert "longer than" in refused("terms.publish", typed).message
    terms.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused("terms.publish", typed).message
    assert "cannot be read" in refused("terms.publish", {**typed, "text": "/nowhere"}).message


@given(st.integers(0, 100 * 366 * 86400))
def test_a_length_of_time_is_written_as_it_is_read(total):
    assert seconds(length(total)) == total


@given(st.integers(0, 7_000_000_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)))
def test_a_time_means_itself_in_both_directions(at):
    text = at.isoformat().replace("+00:00", "Z")
    assert moment(text, NOW, ahead=True) == moment(text, NOW, ahead=False) == at


def test_a_distance_goes_ahead_or_back_and_a_bare_date_is_utc():
    assert moment("2h", NOW, ahead=False) == NOW - timedelta(hours=2)
    assert moment("1d12h", NOW, ahead=True) == NOW + timedelta(hours=36)
    assert moment("2027-02-01", NOW, ahead=True) == datetime(2027, 2, 1, tzinfo=UTC)
    assert moment("2027-02-01T09:30+02:00", NOW, ahead=True).hour == 7


@given(text=st.text(max_size=60), kind=st.sampled_from([*Kind]))
@settings(max_examples=200)
def test_any_text_gives_a_value_or_a_usage_error(text, kind):
    field = fields(find("grant.show"))[0]
    param = msgspec.structs.replace(field.param, kind=kind, choices=("open", "closed"))
    error = None
    try:
        parse(field._replace(param=param), text, now=NOW, read=lambda path: path)
    except PilotError as caught:
        error = caught
    assert error is None or (error.exit is ExitCode.USAGE and error.hint)


TYPED = {
    Kind.TEXT: "some-text",
    Kind.LONG_TEXT: "why, in words; 'quoted' $HOME",
    Kind.SLUG: "acme",
    Kind.ID: "grt_01J9ZK00000000000000000000",
    Kind.NUMBER: "3",
    Kind.MONEY: "3.5",
    Kind.WHEN: "2027-01-01T00:00:00Z",
    Kind.SINCE: "2026-01-01T00:00:00Z",
    Kind.DURATION: "1d12h",
    Kind.NETWORK: "203.0.113.0/24",
    Kind.FOLDER: "/srv/log",
    Kind.STAGE: "sandbox:most-partners=10,longest=30d",
    Kind.LIMITS: "requests=60,parallel=4,budget=2.5,per=week",
    Kind.FILE: "FILE",
    Kind.FLAG: "yes",
}


@pytest.mark.parametrize("op", all_operations(), ids=lambda op: op.id)
def test_the_command_that_is_copied_means_the_same(op):
    """What `command` writes is read back, flag by flag, to the same parameters."""
    typed = {
        field.name: field.param.choices[0]
        if field.param.kind is Kind.CHOICE
        else TYPED[field.param.kind]
        for field in fields(op)
    }
    params = build(op, typed, now=NOW, read=lambda path: path)
    words = shlex.split(shlex.join(command(op, params)))
    assert words[:2] == [op.noun, op.verb]
    by_flag = {f"--{field.flag}": field for field in fields(op)}
    places = [field for field in fields(op) if field.param.positional]
    again, rest = {}, iter(words[2:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name in by_flag:
            field = by_flag[name]
            if field.param.kind is Kind.FLAG:
                again[field.name] = ["yes"]
                continue
            again.setdefault(field.name, []).append(value if equals else next(rest))
        else:
            again[places.pop(0).name] = [word]
    plain = {
        name: each if next(f for f in fields(op) if f.name == name).param.repeats else each[0]
        for name, each in again.items()
    }
    assert build(op, plain, now=NOW, read=lambda path: path) == params


def test_a_reason_that_looks_like_a_flag_stays_a_reason():
    op = find("grant.revoke")
    p = op.params(grant="grt_1", reason="--yes")
    assert command(op, p) == ["grant", "revoke", "grt_1", "--reason=--yes"]
    assert write(fields(op)[1], "--yes") == "--yes"
