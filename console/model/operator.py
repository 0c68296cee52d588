"""Operators: who they are, and what each role may do."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What an operator may do. `admin` includes every other; all include `viewer`."""

    VIEWER = "viewer"
    RESPONDER = "responder"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Direction(StrEnum):
    """Which way an operation moves access: what stops openings never stops a closing."""

    OPENS = "opens"
    CLOSES = "closes"
    NEUTRAL = "neutral"


class Operator(msgspec.Struct, kw_only=True, frozen=True):
    """Someone who may use the operator APIs. `uid` is their OS user on this machine."""

    name: str
    uid: int
    roles: list[str]
    groups: list[str] = []
    kind: str = "person"
    """`person`, `service` or `break-glass`: see `model.account`. `owner` is the OS user who owns
    the pilot's folder, at the machine."""
    frozen: bool = False
    """May look and close, and opens nothing until somebody thaws them."""


class ServiceStatus(msgspec.Struct, kw_only=True, frozen=True):
    """What each service says of itself, and who it takes the caller for."""

    service: str
    version: str
    as_of: datetime
    operator: Operator
    sequence: int = 0
    """policy: projection sequence; gateway: change sequence; audit: tree size."""
    healthy: bool = True
    notes: list[str] = []
    """What is wrong with the service itself, in words, worst first."""
    dependency_notes: list[str] = []
    """What it lacks (another service, an upstream, a break-glass account) while it is well."""
    damage: list[str] = []
    """Which of the notes say that what it stored is not whole: what it lists may be wrong."""


def may(roles: list[str], needed: Role) -> bool:
    """Tell whether someone with `roles` may do what asks for `needed`."""
    if Role.ADMIN in roles:
        return True
    if needed is Role.VIEWER:
        return bool(roles)
    return needed in roles or (needed is Role.RESPONDER and Role.OPERATOR in roles)
