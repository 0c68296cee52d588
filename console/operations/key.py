"""Keys: the credentials with which partners call under a grant."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from console.api.flow import Flow, Report
from console.api.gateway import (
    KEY_ISSUE,
    KEY_LIST,
    KEY_ROTATE,
    KEY_SHOW,
    LOCK_BLAST,
    RECEIPT_SHOW,
    REVOKE,
)
from console.api.policy import GRANT_SHOW
from console.errors import ExitCode, PilotError
from console.model.enforcement import (
    MAX_GRACE_SECONDS,
    Credential,
    CredentialState,
    IssuedKey,
    IssueKey,
    LockKind,
    LockTarget,
    Receipt,
    Revoke,
    RotateKey,
    TombstoneKind,
)
from console.model.grant import Grant, GrantState
from console.model.operator import Direction, Role
from console.model.scope import shown_networks
from console.model.stored import Page
from console.model.text import Slug
from console.operations.closing import ends, follow, stays
from console.operations.listing import pages
from console.operations.params import GrantFilter, Listing, PartnerFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length, to_the_second

KeyId = Annotated[str, Param("The key's id.", kind=Kind.ID, completes="key.list", positional=True)]


class ListKeys(Listing, kw_only=True, frozen=True):
    """Which keys are listed."""

    grant: GrantFilter = ""
    partner: PartnerFilter = ""
    holder: Annotated[
        str, Param("Only held by this organisation.", kind=Kind.SLUG, completes="partner.list")
    ] = ""
    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(CredentialState))
    ] = ""


@operation("key.list", title="List keys", result=Page[Credential])
def list_keys(p: ListKeys, _plan: Plan | None) -> Flow[Page[Credential]]:
    """List keys: who holds each, when it was last used, from where."""
    return pages(KEY_LIST, p, grant=p.grant, partner=p.partner, holder=p.holder, state=p.state)


class ShowKey(msgspec.Struct, kw_only=True, frozen=True):
    """Which key is shown."""

    credential: KeyId


@operation("key.show", title="Show key", result=Credential, subject="credential")
def show(p: ShowKey, _plan: Plan | None) -> Flow[Credential]:
    """Show what is known of a key. The key itself is nowhere: only its hash is stored."""
    return KEY_SHOW(credential=p.credential)


class IssueOne(msgspec.Struct, kw_only=True, frozen=True):
    """Under which grant, and who holds it."""

    grant: Annotated[
        str,
        Param("The grant it is under.", kind=Kind.ID, completes="grant.list", positional=True),
    ]
    holder: Annotated[
        Slug | None,
        Param(
            "A subprocessor of the partner that holds it; the partner itself without it.",
            kind=Kind.SLUG,
            completes="partner.list",
        ),
    ] = None
    reason: Why


def plan_issue(p: IssueOne) -> Flow[Plan]:
    """Look at what the key would open."""
    grant = yield from GRANT_SHOW(grant=p.grant)
    return Plan(
        title=f"Issue a key of {grant.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"{p.holder or grant.partner} holds a key under {grant.id}",
                    f"it opens {', '.join(grant.capabilities)} (tier {grant.tier})",
                    f"models: {', '.join(grant.models) or 'ALL of the capabilities'}",
                    f"networks: {', '.join(shown_networks(grant.networks, grant.tier))}",
                    f"until {to_the_second(grant.expires_at)}",
                    *_not_yet(grant),
                ],
            ),
            Section("What stays", ["other keys of the grant go on"]),
        ],
        gaps=grant.gaps,
        subject=grant,
        partners=1,
    )


def _not_yet(grant: Grant) -> list[str]:
    if grant.state == GrantState.ACTIVE:
        return []
    return [f"the grant is {grant.state.replace('_', ' ')}: the key is refused while it is"]


@operation(
    "key.issue",
    title="Issue key",
    result=IssuedKey,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_issue,
    key="K",
    subject="grant",
    secret="secret",  # noqa: S106 - the name of the result's member
)
def issue(p: IssueOne, _plan: Plan | None) -> Flow[IssuedKey]:
    """Issue a key under a grant. It is shown once, and stored nowhere."""
    return KEY_ISSUE(IssueKey(grant_id=p.grant, holder=p.holder, reason=p.reason))


class RotateOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which key is replaced, and how long it works beside its next version."""

    credential: KeyId
    grace: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_GRACE_SECONDS)],
        Param("How long the old version goes on; 0s ends it at once.", kind=Kind.DURATION),
    ] = 86400
    reason: Why


def plan_rotate(p: RotateOne) -> Flow[Plan]:
    """Look at the key, and at who uses it."""
    key = yield from KEY_SHOW(credential=p.credential)
    if p.grace:
        old = f"the old version (v{key.version}, …{key.hint}) works for {length(p.grace)} more"
        then = "then the gateway ends it by itself, verified at every point"
    else:
        old = f"the old version (v{key.version}, …{key.hint}) ends at once"
        then = "verified at every point, then in the log"
    used = f"last used {to_the_second(key.last_used_at)}" if key.last_used_at else "never used"
    return Plan(
        title=f"Rotate {p.credential} of {key.partner}",
        sections=[
            Section(
                "What it does",
                [f"{key.holder} gets its next version, shown once", old, then],
            ),
            Section(
                "In use",
                [used + (f" from {key.last_network}" if key.last_network else "")],
            ),
            Section("What stays", ["the grant and its other keys go on"]),
        ],
        revision=key.revision,
        subject=key,
        partners=1,
    )


@operation(
    "key.rotate",
    title="Rotate key",
    result=IssuedKey,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_rotate,
    key="v",
    subject="credential",
    converges=True,
    secret="secret",  # noqa: S106 - the name of the result's member
)
def rotate(p: RotateOne, plan: Plan | None) -> Flow[IssuedKey]:
    """Replace a key by its next version, which is shown once. Both work until the grace is over.

    `key show` tells who still uses the old version: its calls since, the last one, and from
    where. At the end of the grace the gateway ends it by itself, with a receipt. `--grace 0s`
    ends it at once; that is followed and proven as `key revoke` is.
    """
    plan = plan or (yield from plan_rotate(p))
    assert plan.revision is not None
    change = RotateKey(grace_seconds=p.grace, reason=p.reason)
    issued = yield from KEY_ROTATE(change, credential=p.credential, if_match=plan.revision)
    if not issued.receipt_id:
        return issued
    yield Report("the new version is there; the old one ends", issued)
    try:
        receipt = yield from RECEIPT_SHOW(receipt=issued.receipt_id)
    except PilotError:
        return issued  # the key must be handed over, whatever became of the rest
    return msgspec.structs.replace(issued, receipt=(yield from follow(receipt)))


class RevokeKey(msgspec.Struct, kw_only=True, frozen=True):
    """Which key is ended for ever."""

    credential: KeyId
    reason: Why


def plan_revoke(p: RevokeKey) -> Flow[Plan]:
    """Ask the gateway what ends."""
    blast = yield from LOCK_BLAST(LockTarget(kind=LockKind.CREDENTIAL, id=p.credential))
    key: Credential | None = None
    try:
        key = yield from KEY_SHOW(credential=p.credential)
    except PilotError as error:
        if error.exit is ExitCode.NOT_FOUND:
            raise
    partner = key.partner if key else ", ".join(blast.partners)
    held = f", held by {key.holder}, ending in {key.hint}" if key else ""
    return Plan(
        title=f"Revoke {p.credential}{' of ' + partner if partner else ''}",
        sections=[
            Section(
                "What it does",
                [
                    f"the key{held} never works again",
                    "verified at every point, then in the log",
                ],
            ),
            ends(blast),
            stays(blast),
        ],
        name=partner or p.credential,
        name_is_guess=not partner,
        subject=key,
        partners=len(blast.partners),
        irreversible="A revoked key cannot come back. The grant can have another.",
        blast=blast,
    )


@operation(
    "key.revoke",
    title="Revoke key",
    result=Receipt,
    effect=Effect.DESTRUCTIVE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_revoke,
    key="x",
    subject="credential",
    converges=True,
)
def revoke(p: RevokeKey, _plan: Plan | None) -> Flow[Receipt]:
    """End a key for ever, and prove it. The grant and its other keys go on.

    Followed and proven as `grant revoke` is; short of that: unverified, why, and exit 9.
    """
    receipt = yield from REVOKE(
        Revoke(kind=TombstoneKind.CREDENTIAL, id=p.credential, reason=p.reason)
    )
    return (yield from follow(receipt))


OPERATIONS: tuple[Operation, ...] = (list_keys, show, issue, rotate, revoke)
