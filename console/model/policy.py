"""The policy bundle, and AuthZEN questions and answers (Authorization API 1.0)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from console.model.traffic import CallCheck


class Bundle(msgspec.Struct, kw_only=True, frozen=True):
    """The Cedar policies and schema that decide."""

    revision: str
    """SHA-256 of policies and schema, the first 16 hex digits."""
    policies: str
    schema: str
    activated_at: datetime


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who asks (AuthZEN §5.1)."""

    type: str
    id: str
    properties: dict[str, Any] = {}


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be done (AuthZEN §5.3)."""

    name: str
    properties: dict[str, Any] = {}


class Resource(msgspec.Struct, frozen=True, omit_defaults=True):
    """What it is to be done to (AuthZEN §5.2)."""

    type: str
    id: str
    properties: dict[str, Any] = {}


class Evaluation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question (AuthZEN §6.1). Unknown members are ignored, as the standard asks."""

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision (AuthZEN §5.5). `context` tells the reasons."""

    decision: bool
    context: dict[str, Any] = {}


class Checked(msgspec.Struct, kw_only=True, frozen=True):
    """Whether something is allowed now: by policy, and where it is a call by the gateway too."""

    decision: bool
    context: dict[str, Any] = {}
    """What policy tells of its reasons."""
    policy: bool
    """Policy's own answer, as any AuthZEN client gets it."""
    gateway: CallCheck | None = None
    """The gateway's, of a call under a grant; None where it has no say."""
    refused_by: list[str] = []
    """`policy`, `gateway`, or both."""


class Explained(msgspec.Struct, kw_only=True, frozen=True):
    """An answer, with the policies that gave it."""

    decision: bool
    bundle_revision: str
    reasons: list[str]
    """Names of the policies that decided; none decided where it is empty: a deny."""
    errors: list[str]
    policies: list[str]
    """The text of those policies."""
