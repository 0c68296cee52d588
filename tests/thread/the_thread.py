"""What the log holds after the thread, whichever front it went through."""

from __future__ import annotations

from collections.abc import Sequence

ASIDE = frozenset({"service.start", "point.register", "policy.activate", "calls.digest"})
"""What the services record of their own start and by the clock, in no particular order."""

SET_UP = [
    "pilot.create",
    "capability.create",
    "terms.publish",
    "partner.create",
]
GRANT = [
    "grant.create",  # a draft: everything is missing
    "partner.verify",
    "terms.accept",
    "assessment.create",
    "assessment.accept",
    "grant.provision",  # the operator lets it go on
    "grant.activate",  # the gateway has taken it
    "key.issue",
]
SEE = [
    "alert.create",  # a call from outside the declared network
    "alert.acknowledge",
]
TAKE = [
    "grant.revoke",
    "receipt.verify",
    "alert.create",  # the revoked key is used
    "alert.close",  # true positive: the first alert, contained by the revocation
]
THREAD = [*SET_UP, *GRANT, *SEE, *TAKE]
"""The actions of the thread's events, in the order in which they must be in the log."""


def done_in(actions: Sequence[str]) -> list[str]:
    """Return what was done, without what the services record by themselves."""
    return [each for each in actions if each not in ASIDE and not each.startswith("read.")]
