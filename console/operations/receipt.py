"""Receipts: what closing verbs could prove."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import RECEIPT_LIST, RECEIPT_SHOW
from console.errors import PilotError
from console.model.enforcement import Receipt
from console.model.stored import Page
from console.operations.closing import believed, proven
from console.operations.listing import pages
from console.operations.params import Listing
from console.operations.spec import Kind, Operation, Param, Plan, operation


class ListReceipts(Listing, kw_only=True, frozen=True):
    """Every receipt."""


@operation("receipt.list", title="List receipts", result=Page[Receipt])
def list_receipts(p: ListReceipts, _plan: Plan | None) -> Flow[Page[Receipt]]:
    """List receipts, newest first. Whether each is in the log is proven by `receipt show`."""
    page = yield from pages(RECEIPT_LIST, p)
    return msgspec.structs.replace(page, items=[believed(each) for each in page.items])


class ShowReceipt(msgspec.Struct, kw_only=True, frozen=True):
    """Which receipt is shown."""

    receipt: Annotated[
        str,
        Param("The receipt's id.", kind=Kind.ID, completes="receipt.list", positional=True),
    ]


@operation("receipt.show", title="Show receipt", result=Receipt, subject="receipt")
def show(p: ShowReceipt, _plan: Plan | None) -> Flow[Receipt]:
    """Show a receipt as it stands: each point and how it was probed, and its place in the log."""
    receipt = believed((yield from RECEIPT_SHOW(receipt=p.receipt)))
    try:
        return (yield from proven(receipt))
    except PilotError as error:
        why = f"not proven to be in the log: {error.message}"
        return msgspec.structs.replace(receipt, why="; ".join(filter(None, (receipt.why, why))))


OPERATIONS: tuple[Operation, ...] = (list_receipts, show)
