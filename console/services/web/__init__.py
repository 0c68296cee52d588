"""The operator APIs over HTTP: routes of the contract, mounted on a service's store.

`Web` decodes, authorises and answers; a handler is a function of a database connection
and an `Ask`. `page` and `fresh` are what lists and conditional writes need.
"""

from console.services.web.event_stream import Found, Streams
from console.services.web.paging import page, sparse_page
from console.services.web.read_events import Reads
from console.services.web.request_context import Answer, Ask, fresh
from console.services.web.server import Web

__all__ = [
    "Answer",
    "Ask",
    "Found",
    "Reads",
    "Streams",
    "Web",
    "fresh",
    "page",
    "sparse_page",
]
