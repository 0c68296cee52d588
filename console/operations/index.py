"""The table of contents: each noun, the module that holds its operations, a line about it.

Static, so that `--help` reads this and imports nothing; a test holds it equal to the
modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.operations.spec import Operation

NOUNS: dict[str, tuple[str, str]] = {
    "grant": ("console.operations.grant", "partners' access to capabilities, for a time"),
    "key": ("console.operations.key", "credentials under grants"),
    "lock": ("console.operations.lock", "let nothing matching through, until released"),
    "alert": ("console.operations.alert", "detections over calls and events"),
    "silence": ("console.operations.silence", "mute alerts for a while, and see what they hid"),
    "rule": ("console.operations.rule", "what detections look for"),
    "oncall": ("console.operations.oncall", "who is paged about alerts, and what did not arrive"),
    "call": ("console.operations.call", "partner requests, and why each was let through or not"),
    "usage": ("console.operations.usage", "what calls add up to"),
    "price": ("console.operations.price", "what a model's tokens cost, by the day"),
    "partner": ("console.operations.partner", "vetted organisations"),
    "principal": ("console.operations.principal", "partners' users, known by a salted hash"),
    "pilot": ("console.operations.pilot", "partner-only programmes and their stages"),
    "capability": ("console.operations.capability", "what grants are about"),
    "terms": ("console.operations.terms", "usage terms, and who accepted them"),
    "assessment": ("console.operations.assessment", "risk assessments that gate grants"),
    "policy": ("console.operations.policy", "the policies that decide, and their answers"),
    "audit": ("console.operations.audit", "what happened, provably"),
    "log": ("console.operations.log", "the transparency log: its head, key and successors"),
    "receipt": ("console.operations.receipt", "what closing verbs could prove"),
    "operator": ("console.operations.operator", "who may use the operator APIs, and sessions"),
    "break-glass": ("console.operations.break_glass", "sealed accounts that can only close"),
    "point": ("console.operations.point", "the data-plane processes of the gateway"),
}
"""Noun to module and summary, in the order that help lists them."""


def load(noun: str) -> tuple[Operation, ...]:
    """Return the operations of `noun`, in order. An unknown noun is a KeyError."""
    operations: tuple[Operation, ...] = import_module(NOUNS[noun][0]).OPERATIONS
    return operations


def all_operations() -> tuple[Operation, ...]:
    """Return every operation, noun by noun."""
    return tuple(operation for noun in NOUNS for operation in load(noun))


def find(id: str) -> Operation:
    """Return the operation `id` (`grant.revoke`). An unknown one is a KeyError."""
    for operation in load(id.split(".", maxsplit=1)[0]):
        if operation.id == id:
            return operation
    raise KeyError(id)
