"""Finding calls: fast on the first page however many there are.

As in audit's search, an FTS5 table holds one token for each facet of a call, one for each
pair of facets that people ask for together, and the words of what the caller wrote. FTS5
walks such lists by row, newest first. A pair that never occurred is a list that is empty,
so that nobody walks two long ones to learn it. What is found is checked against the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from hashlib import sha256
from itertools import combinations
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal_column, select, text
from sqlalchemy.dialects.sqlite import insert

from console.api.problems import refusal
from console.model.stored import Page
from console.model.traffic import CallRecord
from console.services.gateway.control.state.schema import CALL_HOURS, CALL_SEARCH, CALLS
from console.services.store import common_words
from console.services.web import Ask, Found, sparse_page
from console.services.web.event_stream import BATCH

FACETS = {
    "partner": "partner",
    "grant": "grant_id",
    "credential": "credential_id",
    "principal": "principal",
    "model": "model",
    "capability": "capability",
    "network": "network",
    "outcome": "outcome",
    "code": "code",
}
"""Query parameter to the column that it is about."""

PAIRED = ("partner", "model", "capability", "outcome", "code")
"""Facets with few values: each two of them are also indexed together."""

_MAX_WORDS = 60
_PREFIX_FLOOR = 3
_WORD = re.compile(r"\w+")
_INSERT = text("INSERT INTO call_search(rowid, tokens) VALUES (:row, :tokens)")
_record = msgspec.json.Decoder(CallRecord)


@lru_cache(maxsize=50_000)
def facet(name: str, value: str) -> str:
    """Return the token under which `name` = `value` is indexed."""
    return "q_" + sha256(f"{name}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def words(said: str) -> Iterator[str]:
    """Split hostile text into tokens; none of them can pass for a facet's."""
    for word in _WORD.findall(said.casefold()):
        if word.isascii() and not word.startswith(("q_", "u_")):
            yield word[:64]
        else:
            yield "u_" + sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@lru_cache(maxsize=10_000)
def _words_of(said: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words(said)))[:_MAX_WORDS]


def tokens(call: CallRecord, network: str) -> str:
    """Return everything under which a call is found."""
    values = {name: getattr(call, column, "") for name, column in FACETS.items()}
    values["network"] = network
    values["address"] = call.address
    held = {name: value for name, value in values.items() if value}
    found = [facet(name, value) for name, value in held.items()]
    found += [
        facet(f"{one}\0{other}", f"{held[one]}\0{held[other]}")
        for one, other in combinations(PAIRED, 2)
        if one in held and other in held
    ]
    found += _words_of(call.model)
    found += _words_of(call.user_agent)
    return " ".join(found)


def index(conn: Connection, calls: Sequence[tuple[int, CallRecord, str]]) -> None:
    """Make calls findable: their rows, records and networks."""
    if not calls:
        return
    conn.execute(
        _INSERT, [{"row": row, "tokens": tokens(call, network)} for row, call, network in calls]
    )
    hours: dict[int, list[int]] = {}
    for row, call, _ in calls:
        hours.setdefault(_hour(call.started_at), []).append(row)
    upsert = insert(CALL_HOURS)
    conn.execute(
        upsert.on_conflict_do_update(
            index_elements=[CALL_HOURS.c.hour],
            set_={
                "first": func.min(CALL_HOURS.c.first, upsert.excluded.first),
                "last": func.max(CALL_HOURS.c.last, upsert.excluded.last),
            },
        ),
        [{"hour": hour, "first": min(each), "last": max(each)} for hour, each in hours.items()],
    )


def listing(conn: Connection, ask: Ask, moment: Any) -> Page[CallRecord]:
    """Answer `call.list`, newest first."""
    query, terms, keep = asked(conn, ask.query, moment)
    key: ColumnElement[Any] = CALLS.c.row if terms is None else CALL_SEARCH.c.rowid
    return sparse_page(
        conn,
        query,
        ask,
        key=key,
        bounds=_period(conn, ask.query, moment),
        decode=lambda row: _record.decode(row.body),
        keep=keep,
    )


def asked(
    conn: Connection, said: Mapping[str, str], moment: Any
) -> tuple[Select[Any], list[str] | None, Callable[[Row[Any]], bool] | None]:
    """Return the query for a filter; the index's terms in it, None for no index; what is left."""
    given = {name: said[name] for name in FACETS if said.get(name, "")}
    if (address := _address(given.get("network", ""))) is not None:
        del given["network"]
    where = [CALLS.c[FACETS[name]] == value for name, value in given.items()]
    if address is not None:
        given["address"] = address
    worded = list(_text_terms(said.get("text", "")))
    facets = list(_facet_terms(given))
    # The address is nowhere but in the index.
    sure = [facet("address", address)] if address is not None else []
    others = [term for term in facets if term not in sure]
    terms, common = common_words.split(
        conn, "call_search", [*sure, *others, *worded], last_row(conn)
    )
    terms += [term for term in sure if term in common]
    left = [term for term in common if term in worded]
    if since := said.get("since"):
        where.append(CALLS.c.started_at >= moment(since, "since"))
    if until := said.get("until"):
        where.append(CALLS.c.started_at < moment(until, "until"))
    if not terms:
        return select(CALLS.c.row, CALLS.c.body).where(*where), None, None
    match = " AND ".join(terms)
    query = (
        select(CALL_SEARCH.c.rowid, CALLS.c.row, CALLS.c.body)
        .select_from(CALL_SEARCH.join(CALLS, CALLS.c.row == CALL_SEARCH.c.rowid))
        .where(literal_column("call_search").op("MATCH")(match), *where)
    )
    return query, terms, partial(_says, left) if left else None


def _says(left: Sequence[str], row: Row[Any]) -> bool:
    call = _record.decode(row.body)
    return common_words.says({*_words_of(call.model), *_words_of(call.user_agent)}, left)


def _address(network: str) -> str | None:
    """Return the one address that a network is, if it is one."""
    address, _, prefix = network.partition("/")
    return address if address and prefix in {"", "32", "128"} else None


def _facet_terms(given: Mapping[str, str]) -> Iterator[str]:
    """Yield a term for each facet; two that are indexed together make one."""
    left = dict(given)
    for one, other in combinations(PAIRED, 2):
        if one in given and other in given:
            left.pop(one, None)
            left.pop(other, None)
            yield facet(f"{one}\0{other}", f"{given[one]}\0{given[other]}")
    for name, value in left.items():
        yield facet(name, value)


def _text_terms(said: str) -> Iterator[str]:
    parts = said.split()[:20]
    found = False
    for part in parts:
        said_words = list(words(part))
        for at, word in enumerate(said_words):
            found = True
            last = at == len(said_words) - 1
            begins = last and part.endswith("*") and len(word) >= _PREFIX_FLOOR
            yield f'"{word}" *' if begins and word.isascii() else f'"{word}"'
    if parts and not found:
        raise refusal("malformed", "text: holds no word to search for")


def _period(conn: Connection, said: Mapping[str, str], moment: Any) -> tuple[int, int]:
    """Return the rows between which the calls of a period lie."""
    first = conn.execute(select(func.min(CALLS.c.row))).scalar() or 1
    last = conn.execute(select(func.max(CALLS.c.row))).scalar() or 0
    if since := said.get("since"):
        hours = select(func.min(CALL_HOURS.c.first))
        begin = moment(since, "since")
        found = conn.execute(hours.where(CALL_HOURS.c.hour >= _hour(begin))).scalar()
        first = max(first, found if found is not None else last + 1)
    if until := said.get("until"):
        hours = select(func.max(CALL_HOURS.c.last))
        end = moment(until, "until")
        found = conn.execute(hours.where(CALL_HOURS.c.hour <= _hour(end))).scalar()
        last = min(last, found if found is not None else first - 1)
    return first, last


def reindex(conn: Connection) -> None:
    """Index every call anew: once for a store of before, and after many have gone."""
    conn.execute(text("INSERT INTO call_search(call_search) VALUES ('delete-all')"))
    conn.execute(CALL_HOURS.delete())
    after = 0
    query = select(CALLS.c.row, CALLS.c.body, CALLS.c.network).order_by(CALLS.c.row).limit(5000)
    while rows := conn.execute(query.where(CALLS.c.row > after)).all():
        index(conn, [(row.row, _record.decode(row.body), row.network) for row in rows])
        after = rows[-1].row


def tail(conn: Connection, said: Mapping[str, str], moment: Any, after: int) -> Found:
    """Return the calls after a row that a filter finds, oldest first, for a stream."""
    query, terms, keep = asked(conn, said, moment)
    key: ColumnElement[Any] = CALLS.c.row if terms is None else CALL_SEARCH.c.rowid
    newest = last_row(conn)
    found = query.where(key > after, key <= newest).order_by(key).limit(BATCH)
    rows = conn.execute(found).all()
    reached = rows[-1].row if len(rows) == BATCH else max(after, newest)
    kept = [row for row in rows if keep is None or keep(row)]
    return Found([(row.row, _record.decode(row.body)) for row in kept], reached)


def last_row(conn: Connection) -> int:
    """Return the newest call's row, 0 where there is none."""
    return conn.execute(select(func.max(CALLS.c.row))).scalar() or 0


def fresh(
    conn: Connection, above: int, records: Iterable[CallRecord], network_of: Any
) -> list[tuple[int, CallRecord, str]]:
    """Return the rows above a number that these records were given."""
    by_id = {record.id: record for record in records}
    rows = conn.execute(select(CALLS.c.row, CALLS.c.id).where(CALLS.c.row > above))
    return [
        (row.row, by_id[row.id], network_of(by_id[row.id].address))
        for row in rows
        if row.id in by_id
    ]


def _hour(moment: datetime) -> int:
    return int(moment.timestamp()) // 3600
