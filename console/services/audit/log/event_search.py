"""Finding events: fast on the first page however long the log is.

An FTS5 table holds, for each event, its words and one token for each facet (who, what,
about whom). FTS5 walks such lists by row number, newest first, and skips through several
at once, so a page costs what it shows. `hours` turns a period into a range of indices.
What the index finds is checked against the event's own columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import combinations
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal_column, select, text
from sqlalchemy.dialects.sqlite import insert

from console.api.problems import refusal
from console.model.audit import Event
from console.model.number import whole_number
from console.model.stored import Page
from console.model.text import is_slug
from console.services.audit.log import stored_rows
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.log.stored_rows import COLUMNS, listed
from console.services.audit.state.schema import ACTIONS, HOURS, LEAVES, SEARCH
from console.services.store import common_words
from console.services.web import Ask, Found, page, sparse_page
from console.services.web.event_stream import BATCH

FACETS = ("actor", "action", "target", "partner", "outcome", "source")
"""Columns that are searched by their exact value (`action` also by how it begins).

What has a slug is found as a `target` by that too, not only by its id.
"""

FILTERS = (*FACETS, "text", "since", "until")
"""What of a query leaves events out."""

PAIRED = ("actor", "action", "partner", "outcome")
"""Facets with few values: each two of them are also indexed together, so that a pair that
never occurred is a list that is empty."""

MAX_WORDS = 400
"""Words of one event that are indexed, and far more than a query needs."""

_WORD = re.compile(r"\w+")
_PREFIX_FLOOR = 3
"""Letters that must stand before a `*`: shorter ones mean half of the log."""

_INSERT = text("INSERT INTO search(rowid, tokens) VALUES (:idx, :tokens)")


def facet(name: str, value: str) -> str:
    """Return the token under which `name` = `value` is indexed."""
    return "q_" + sha256(f"{name}\0{value}".encode()).hexdigest()[:16]


def _pair(one: str, first: str, other: str, second: str) -> str:
    return facet(f"{one}\0{other}", f"{first}\0{second}")


def words(said: str) -> Iterator[str]:
    """Split text into tokens: folded words; one that is not ASCII becomes its hash."""
    for word in _WORD.findall(said.casefold()):
        yield word[:64] if word.isascii() else "u_" + sha256(word.encode()).hexdigest()[:16]


def index(conn: Connection, leaves: Sequence[tuple[int, Leaf]]) -> None:
    """Make leaves, with their indices, findable."""
    rows = []
    hours: dict[int, list[int]] = {}
    for idx, leaf in leaves:
        rows.append({"idx": idx, "tokens": " ".join(_tokens(leaf))})
        hours.setdefault(_hour(leaf.at), []).append(idx)
    if not rows:
        return
    conn.execute(_INSERT, rows)
    conn.execute(
        insert(ACTIONS).on_conflict_do_nothing(),
        [{"action": action} for action in {leaf.action for _, leaf in leaves}],
    )
    upsert = insert(HOURS)
    conn.execute(
        upsert.on_conflict_do_update(
            index_elements=[HOURS.c.hour],
            set_={
                "first": func.min(HOURS.c.first, upsert.excluded.first),
                "last": func.max(HOURS.c.last, upsert.excluded.last),
            },
        ),
        [{"hour": hour, "first": min(each), "last": max(each)} for hour, each in hours.items()],
    )


def unfindable(conn: Connection, leaves: Sequence[tuple[int, Leaf]]) -> set[int]:
    """Return the indices of those leaves, given in order, that some filter would not find."""
    if not leaves:
        return set()
    wanted: dict[str, set[int]] = {}
    for idx, leaf in leaves:
        for token in _tokens(leaf):
            wanted.setdefault(token, set()).add(idx)
    query = text(
        "SELECT rowid FROM search WHERE search MATCH :term AND rowid BETWEEN :low AND :high"
    )
    where = {"low": leaves[0][0], "high": leaves[-1][0]}
    lost: set[int] = set()
    for token, indices in wanted.items():
        found = conn.execute(query, {"term": f'"{token}"', **where}).scalars()
        lost |= indices - set(found)
    hours = {row.hour: (row.first, row.last) for row in conn.execute(select(HOURS))}
    actions = set(conn.execute(select(ACTIONS.c.action)).scalars())
    for idx, leaf in leaves:
        first, last = hours.get(_hour(leaf.at), (idx + 1, idx))
        if not first <= idx <= last or leaf.action not in actions:
            lost.add(idx)
    return lost


def _tokens(leaf: Leaf) -> list[str]:
    """Return what a leaf is found by: its facets, two of them together, its words.

    What is indexed already is compared with this: another rule needs a `reindex` step.
    """
    tokens = dict.fromkeys(facet(name, getattr(leaf, name)) for name in FACETS)
    if is_slug(leaf.name):
        tokens[facet("target", leaf.name)] = None
    for one, other in combinations(PAIRED, 2):
        tokens[_pair(one, getattr(leaf, one), other, getattr(leaf, other))] = None
    for word in _words_of(leaf):
        if len(tokens) == MAX_WORDS:
            break
        tokens[word] = None
    return list(tokens)


def _words_of(leaf: Leaf) -> Iterator[str]:
    return words(
        " ".join(
            (leaf.action, leaf.actor, leaf.kind, leaf.target, leaf.name, leaf.partner, leaf.reason)
        )
    )


def reindex(conn: Connection, size: int | None = None) -> None:
    """Index every event of the log, of `size` entries, by what is now indexed of an event."""
    conn.execute(text("INSERT INTO search(search) VALUES ('delete-all')"))
    conn.execute(HOURS.delete())
    for rows in chunks(conn, stored_rows.counted(conn) if size is None else size):
        index(conn, [(row.idx, read_leaf(row.body)) for row in rows])


def chunks(conn: Connection, size: int) -> Iterator[Sequence[Row[Any, Any]]]:
    """Yield the log's `size` entries, in order, some thousands at a time."""
    for start in range(0, size, 5000):
        query = select(LEAVES.c.idx, LEAVES.c.body).where(
            LEAVES.c.idx >= start, LEAVES.c.idx < min(size, start + 5000)
        )
        yield conn.execute(query.order_by(LEAVES.c.idx)).all()


def events(conn: Connection, ask: Ask, size: int) -> Page[Event]:
    """Answer `audit.list` of a log of `size` entries."""
    said = ask.query
    query, found, keep = _asked_for(conn, said, size)
    times, (first, last) = _period(conn, said, size)
    query = query.where(*times)
    if after := said.get("after", ""):
        query = query.where(found > _index(after), found >= first, found <= last)
        shown = page(conn, query, ask, keys=[found], decode=lambda row: row)
        kept = [listed(row) for row in shown.items if keep(row)]
        return Page(
            as_of=shown.as_of, source=shown.source, items=kept, next_cursor=shown.next_cursor
        )
    return sparse_page(conn, query, ask, key=found, bounds=(first, last), decode=listed, keep=keep)


def tail(conn: Connection, said: Mapping[str, str], after: int, size: int) -> Found:
    """Return the events after an index that a filter finds, oldest first, for a stream.

    Without a filter it looks as far as `BATCH` entries would be, whether their rows are
    there or not: the caller puts back what is missing.
    """
    query, found, keep = _asked_for(conn, said, size)
    newest = size - 1
    if not any(said.get(name) for name in FILTERS):
        newest = min(newest, after + BATCH)
    rows = conn.execute(
        query.where(found > after, found <= newest).order_by(found).limit(BATCH)
    ).all()
    reached = rows[-1].idx if len(rows) == BATCH else max(after, newest)
    return Found([(row.idx, listed(row)) for row in rows if keep(row)], reached)


def last_index(conn: Connection) -> int:
    """Return the newest event's index, -1 in an empty log."""
    return stored_rows.counted(conn) - 1


def _asked_for(
    conn: Connection, said: Mapping[str, str], size: int
) -> tuple[Select[Any], ColumnElement[Any], Callable[[Row[Any]], bool]]:
    """Return the query for a filter, times apart; the index's column; what is left to check."""
    filters: list[ColumnElement[bool]] = []
    terms: list[str] = []
    exact: dict[str, str] = {}
    slug = named if is_slug(named := said.get("target", "")) else ""
    for name in FACETS:
        if not (value := said.get(name, "")):
            continue
        if name == "action":
            known = _actions(conn, value)
            if len(known) == 1:
                exact[name] = known[0]
            else:
                terms.append(_any(facet(name, each) for each in known) or facet(name, value))
            filters.append(LEAVES.c.action.in_(known))
        else:
            exact[name] = value
            if value != slug or name != "target":
                filters.append(LEAVES.c[name] == value)
    terms += _exact(exact)
    worded = _asked(said.get("text", ""))
    terms, common = common_words.split(conn, "search", [*terms, *worded], size - 1)
    left = [term for term in common if term in worded]

    def keep(row: Row[Any]) -> bool:
        if not left and not slug:
            return True
        leaf = stored_rows.leaf_of(row.body)
        if leaf is None:  # it is shown as the log holds it, which is then looked at
            return True
        return (not slug or slug in {leaf.target, leaf.name}) and (
            not left or common_words.says(set(_words_of(leaf)), left)
        )

    found: ColumnElement[Any] = SEARCH.c.rowid if terms else LEAVES.c.idx
    return _query(terms).where(*filters), found, keep


def found(conn: Connection, named: str) -> Event:
    """Return the event of that id or index. Raises the problem `not-found`."""
    return listed(find(conn, named))


def matches(leaf: Leaf, said: Mapping[str, str]) -> bool:
    """Tell whether a filter finds an event, without the index."""
    for name in FACETS:
        if not (value := said.get(name, "")):
            continue
        told = getattr(leaf, name)
        slug = name == "target" and is_slug(value) and leaf.name == value
        begins = name == "action" and told.startswith(value)
        if not (told == value or slug or begins):
            return False
    if (since := said.get("since", "")) and leaf.at < _moment("since", since):
        return False
    if (until := said.get("until", "")) and leaf.at >= _moment("until", until):
        return False
    worded = _asked(said.get("text", ""))
    return not worded or common_words.says(set(_words_of(leaf)), worded)


def find(conn: Connection, named: str) -> Row[Any]:
    """Return the leaf of that event id or index. Raises the problem `not-found`."""
    query = select(*COLUMNS)
    index = whole_number(named)
    if index is not None:
        query = query.where(LEAVES.c.idx == index)
    else:
        query = query.where(LEAVES.c.event_id == named)
    row = conn.execute(query).first()
    if row is None:
        raise refusal(
            "not-found",
            f"the log has no event {named[:80]!a}",
            mend="an event that was recorded a moment ago, or while audit was down, comes later",
        )
    return row


def _query(terms: Sequence[str]) -> Select[Any]:
    if not terms:
        return select(*COLUMNS)
    match = " AND ".join(f"({each})" for each in terms)
    return (
        select(SEARCH.c.rowid, *COLUMNS)
        .select_from(SEARCH.join(LEAVES, LEAVES.c.idx == SEARCH.c.rowid))
        .where(literal_column("search").op("MATCH")(match))
    )


def _asked(said: str) -> list[str]:
    """Return the index's terms for the words of a query; a last `*` means "begins with"."""
    terms = []
    for part in said.split():
        found = list(words(part))
        terms += found
        if part.endswith("*") and found and found[-1].isascii() and len(found[-1]) >= _PREFIX_FLOOR:
            terms[-1] = f"{found[-1]} *"
    if said.split() and not terms:
        raise refusal("malformed", "text: holds no word to search for")
    return [f'"{each}"' if not each.endswith(" *") else f'"{each[:-2]}" *' for each in terms[:20]]


def _any(terms: Iterable[str]) -> str:
    return " OR ".join(terms)


def _actions(conn: Connection, prefix: str) -> list[str]:
    every = conn.execute(select(ACTIONS.c.action)).scalars()
    return [each for each in every if isinstance(each, str) and each.startswith(prefix)]


def _exact(values: Mapping[str, str]) -> Iterator[str]:
    """Yield a term for each facet; two that are indexed together make one."""
    left = dict(values)
    for one, other in combinations(PAIRED, 2):
        if one in values and other in values:
            left.pop(one, None)
            left.pop(other, None)
            yield _pair(one, values[one], other, values[other])
    for name, value in left.items():
        yield facet(name, value)


def _period(
    conn: Connection, said: Mapping[str, str], size: int
) -> tuple[list[ColumnElement[bool]], tuple[int, int]]:
    """Return what `since` and `until` ask for: the exact times, and the indices they lie in."""
    times: list[ColumnElement[bool]] = []
    first = 0
    last = size - 1
    if since := said.get("since", ""):
        moment = _moment("since", since)
        times.append(LEAVES.c.at >= moment)
        hours = select(func.min(HOURS.c.first)).where(HOURS.c.hour >= _hour(moment))
        low = conn.execute(hours).scalar()
        first = low if isinstance(low, int) else last + 1
    if until := said.get("until", ""):
        moment = _moment("until", until)
        times.append(LEAVES.c.at < moment)
        hours = select(func.max(HOURS.c.last)).where(HOURS.c.hour <= _hour(moment))
        high = conn.execute(hours).scalar()
        last = min(last, high) if isinstance(high, int) else -1
    return times, (first, last)


def _moment(name: str, said: str) -> datetime:
    try:
        moment = msgspec.convert(said, datetime)
        if moment.tzinfo is not None:
            return moment
    except (msgspec.ValidationError, ValueError):
        pass
    raise refusal("malformed", f"{name}: not an RFC 3339 time with a zone: {said[:40]!a}")


def _index(said: str) -> int:
    index = -1 if said == "-1" else whole_number(said)
    if index is not None:
        return index
    raise refusal("malformed", f"after: not an index: {said[:40]!a}")


def _hour(moment: datetime) -> int:
    return int(moment.timestamp()) // 3600


def as_event(idx: int, leaf: Leaf) -> Event:
    """Return what is listed of a leaf at an index."""
    told = {name: getattr(leaf, name) for name in Leaf._fields if name in Event.__struct_fields__}
    return Event(index=idx, id=leaf.event_id, **{**told, "body": leaf.body.decode()})
