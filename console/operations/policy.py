"""Policy: what decides, and what it answers."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from console.api.authzen import EVALUATION
from console.api.flow import Flow
from console.api.gateway import CALL_CHECK
from console.api.policy import BUNDLE_SHOW
from console.errors import ExitCode, PilotError
from console.model.policy import (
    Action,
    Bundle,
    Checked,
    Evaluation,
    Explained,
    Resource,
    Subject,
)
from console.model.traffic import CallCheck
from console.operations.spec import Operation, Param, Plan, operation


class ShowBundle(msgspec.Struct, kw_only=True, frozen=True):
    """The bundle in force."""


@operation("policy.show", title="Show policies", result=Bundle)
def show(p: ShowBundle, _plan: Plan | None) -> Flow[Bundle]:  # noqa: ARG001 - every operation takes its parameters
    """Show the Cedar policies and schema that decide, with their revision."""
    return BUNDLE_SHOW()


class AskPolicy(msgspec.Struct, kw_only=True, frozen=True):
    """A question in AuthZEN's terms: may the subject do this to the resource?"""

    subject: Annotated[
        str, Param("Who asks, as TYPE:ID, like partner:acme.", positional=True, metavar="SUBJECT")
    ]
    action: Annotated[str, Param("What is to be done, like call.", positional=True)]
    resource: Annotated[
        str,
        Param("What it is done to, as TYPE:ID, like grant:grt_….", positional=True),
    ]
    context: Annotated[
        list[str],
        Param("A fact about the request, like model=aurora-1.", repeats=True, metavar="NAME=VALUE"),
    ] = []


def _entity(text: str, what: str) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if not (kind and colon and name):
        raise _bad(f"the {what} {text!r} does not say TYPE:ID", "partner:acme")
    return kind, name


def _question(p: AskPolicy) -> Evaluation:
    context: dict[str, Any] = {}
    for fact in p.context:
        name, equals, value = fact.partition("=")
        if not (name and equals):
            raise _bad(f"the fact {fact!r} does not say NAME=VALUE", "model=aurora-1")
        context[name] = value
    return Evaluation(
        Subject(*_entity(p.subject, "subject")),
        Action(p.action),
        Resource(*_entity(p.resource, "resource")),
        context,
    )


def _bad(message: str, example: str) -> PilotError:
    return PilotError("bad-value", message, exit=ExitCode.USAGE, hint=f"for example {example}")


@operation("policy.check", title="Check policy", result=Checked)
def check(p: AskPolicy, _plan: Plan | None) -> Flow[Checked]:
    """Ask whether something is allowed now. With --exit-status, a no is exit 1.

    Policy answers; of a call under a grant the gateway is asked too, which knows the locks,
    suspensions, tombstones and what limits leave, and the answer says which of them refuses.
    A pilot's own entities are taken as they are stored, whatever the question says of them.
    """
    answer = yield from EVALUATION(_question(p))
    call = yield from _at_gateway(p, needed=answer.decision)
    ways = {"policy": answer.decision, "gateway": call is None or call.allow}
    refused = [name for name, allows in ways.items() if not allows]
    return Checked(
        decision=not refused,
        context=answer.context,
        policy=answer.decision,
        gateway=call,
        refused_by=refused,
    )


def _at_gateway(p: AskPolicy, *, needed: bool) -> Flow[CallCheck | None]:
    """Ask the gateway about a call under a grant.

    Where policy says no already, the answer is known without it.
    """
    kind, name = _entity(p.resource, "resource")
    if p.action != "call" or kind.casefold() != "grant":
        return None
    facts = dict(fact.partition("=")[::2] for fact in p.context)
    asked: dict[str, Any] = {fact: facts[fact] for fact in _OF_A_CALL if fact in facts}
    try:
        return (yield from CALL_CHECK(grant=name, **asked))
    except PilotError:
        if needed:
            raise
        return None


_OF_A_CALL = ("model", "route", "capability", "address", "principal")
"""The facts about a call that the gateway decides by."""


@operation("policy.explain", title="Explain policy", result=Explained)
def explain(p: AskPolicy, _plan: Plan | None) -> Flow[Explained]:
    """Ask policy, and show the very policies that decided."""
    answer = yield from EVALUATION(_question(p))
    bundle = yield from BUNDLE_SHOW()
    reasons = _names(answer.context.get("reasons"))
    revision = str(answer.context.get("bundle_revision") or bundle.revision)
    # A bundle that was exchanged in between is not the one that decided.
    text = bundle.policies if revision == bundle.revision else ""
    return Explained(
        decision=answer.decision,
        bundle_revision=revision,
        reasons=reasons,
        errors=_errors(answer.context),
        policies=[found for name in reasons if (found := policy_text(text, name))],
    )


def _names(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _errors(context: dict[str, Any]) -> list[str]:
    """Return what went wrong while deciding, as AuthZEN tells it in the context (§ 5.5)."""
    error = context.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return [str(message)] if message else []


def policy_text(policies: str, name: str) -> str:
    """Return the Cedar policy that carries `@id("name")`, or nothing where none does."""
    found = re.search(
        rf'^@id\("{re.escape(name)}"\).*?;[ \t]*$', policies, re.DOTALL | re.MULTILINE
    )
    return found.group() if found else ""


OPERATIONS: tuple[Operation, ...] = (show, check, explain)
