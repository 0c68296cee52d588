"""The operator APIs over HTTP: routes of the contract, mounted on a service's store.

`Web` decodes, authorises and answers; a handler is a function of a database connection
and an `Ask`. `page` and `fresh` are what lists and conditional writes need.
"""

from console.services.web.ask import Answer, Ask, fresh
from console.services.web.paging import page, sparse_page
from console.services.web.reads import Reads
from console.services.web.server import Web
from console.services.web.stream import Found, Streams

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
