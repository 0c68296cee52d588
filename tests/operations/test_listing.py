import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from console.errors import ExitCode
from console.model.enforcement import Point
from console.model.stored import Page
from console.operations.index import find
from console.operations.outcome import outcome
from tests.operations.replay import AT, play

ROOT = Path(__file__).parents[2]
POINTS = find("point.list")


def a_point(at):
    return Point(
        name=f"gw-{at}",
        url="",
        state="serving",
        applied_sequence=1,
        lease_until=AT,
        last_seen_at=AT,
    )


def served(total, page_size=500, **facts):
    """A list of `total` points, served as the API does."""

    def answer(call):
        start = int(call.query.get("cursor") or 0)
        end = min(total, start + min(int(call.query["limit"]), page_size))
        return Page(
            as_of=AT,
            source="gateway",
            items=[a_point(at) for at in range(start, end)],
            next_cursor=str(end) if end < total else "",
            **facts,
        )

    return {"point.list": answer}


@given(st.integers(0, 1200), st.integers(0, 1300), st.sampled_from([7, 100, 500]))
def test_a_list_has_as_many_rows_as_were_asked_for_each_once(total, limit, page_size):
    p = POINTS.params(limit=limit)
    page = play(POINTS.run(p, None), served(total, page_size)).result
    wanted = min(total, limit) if limit else total
    assert [point.name for point in page.items] == [f"gw-{at}" for at in range(wanted)]
    assert bool(page.next_cursor) == (wanted < total)
    rest = POINTS.params(limit=0, cursor=page.next_cursor)
    if page.next_cursor:
        more = play(POINTS.run(rest, None), served(total)).result
        assert len(page.items) + len(more.items) == total


def test_no_page_is_asked_for_beyond_what_an_api_gives():
    played = play(POINTS.run(POINTS.params(limit=900), None), served(2000))
    assert [call.query["limit"] for call in played.calls] == ["500", "400"]


def test_a_partial_page_makes_a_partial_list_and_partial_is_not_done():
    answers = served(900, partial=True, warnings=["one source is down"])
    page = play(POINTS.run(POINTS.params(limit=0), None), answers).result
    assert page.partial
    assert page.warnings == ["one source is down"]
    end = outcome(POINTS, page)
    assert end.exit is ExitCode.UNVERIFIED
    assert end.why == "one source is down"


def test_a_cursor_that_leads_back_to_itself_ends_the_list():
    page = Page(as_of=AT, source="", items=[a_point(0)], next_cursor="same")
    p = POINTS.params(limit=0, cursor="same")
    assert len(play(POINTS.run(p, None), {"point.list": page}).result.items) == 1


def test_what_is_judged_by_a_whole_list_is_judged_beyond_its_first_page():
    leaves = find("point.deregister")
    params = leaves.params(point="gw-1203", reason="gone")
    played = play(leaves.plan(params), served(1204))
    assert "gw-1203" in played.result.title


def test_nothing_asks_for_a_page_and_takes_it_for_the_whole():
    asks = re.compile(r"[A-Z]\(limit=\d|[A-Z]\(.*, limit=\d")
    found = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "console").rglob("*.py")
        for line in path.read_text().splitlines()
        if asks.search(line) and "Connector" not in line
    ]
    assert found == []
