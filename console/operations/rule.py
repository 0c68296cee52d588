"""Detection rules: what is looked for, switched, tuned, tried on the history, and added."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.audit import (
    RULE_ADD,
    RULE_DISABLE,
    RULE_ENABLE,
    RULE_LIST,
    RULE_REMOVE,
    RULE_SHOW,
    RULE_TEST,
    RULE_TUNE,
)
from console.api.flow import Flow
from console.errors import ExitCode, PilotError
from console.model.audit import Severity
from console.model.operator import Direction, Role
from console.model.rule import (
    AddRule,
    ChangeRule,
    DetectionRule,
    RuleState,
    RuleTrial,
    TuneRule,
)
from console.model.stored import Page
from console.operations import limits_text
from console.operations.listing import pages
from console.operations.params import Listing, Since, Until, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length

RuleName = Annotated[
    str, Param("The rule's name.", kind=Kind.SLUG, completes="rule.list", positional=True)
]
Threshold = Annotated[
    int | None,
    Param("How many make an alert; of a norm, the least: of spend in units, 5.00.",
          kind=Kind.MONEY, asked=True),
]  # fmt: skip
Within = Annotated[
    int | None, Param("Within which time, like 5m.", kind=Kind.DURATION, flag="window", asked=True)
]
Factor = Annotated[
    int | None, Param("How many times the norm is too much.", kind=Kind.NUMBER, asked=True)
]


class ListRules(Listing, kw_only=True, frozen=True):
    """Which rules are listed."""

    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(RuleState))
    ] = ""
    origin: Annotated[
        str,
        Param("Only those that ship, or your own.", kind=Kind.CHOICE, choices=("shipped", "own")),
    ] = ""


@operation("rule.list", title="List rules", result=Page[DetectionRule])
def list_rules(p: ListRules, _plan: Plan | None) -> Flow[Page[DetectionRule]]:
    """List detection rules by name, with how each is set."""
    return pages(RULE_LIST, p, state=p.state, origin=p.origin)


class ShowRule(msgspec.Struct, kw_only=True, frozen=True):
    """Which rule is shown."""

    rule: RuleName


@operation("rule.show", title="Show rule", result=DetectionRule, subject="rule")
def show(p: ShowRule, _plan: Plan | None) -> Flow[DetectionRule]:
    """Show a rule: what it looks for, how it is tuned, and what to do when it fires."""
    return RULE_SHOW(rule=p.rule)


class TryRule(msgspec.Struct, kw_only=True, frozen=True):
    """Which rule is tried, on what part of the history, and how it is tuned for that."""

    rule: RuleName
    since: Since = None
    until: Until = None
    threshold: Threshold = None
    window_seconds: Within = None
    factor: Factor = None


@operation("rule.test", title="Try rule on the history", result=RuleTrial, subject="rule")
def attempt(p: TryRule, _plan: Plan | None) -> Flow[RuleTrial]:
    """Say what a rule would have found, without alerting. Seven days where nothing is named."""
    least = None
    if p.threshold is not None:
        least = _in_its_unit(p.threshold, (yield from RULE_SHOW(rule=p.rule)))
    return (
        yield from RULE_TEST(
            rule=p.rule,
            since=p.since,
            until=p.until,
            threshold=least,
            window_seconds=p.window_seconds,
            factor=p.factor,
        )
    )


def _in_its_unit(typed: int | None, rule: DetectionRule) -> int | None:
    """Return the threshold that was typed, as the rule has it: micro-units are of spend only."""
    if typed is None or rule.spends:
        return typed
    count, rest = divmod(typed, limits_text.MICROS)
    if rest:
        raise PilotError(
            "bad-value",
            f"threshold: {rule.id} counts, so {limits_text.shown_money(typed)} is no threshold",
            exit=ExitCode.USAGE,
            hint="a whole number",
        )
    return count


class AddOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which file becomes a rule."""

    text: Annotated[
        str,
        Param("The rule's file (TOML).", kind=Kind.FILE, positional=True, flag="file",
              metavar="FILE"),
    ]  # fmt: skip
    off: Annotated[bool, Param("Leave it switched off, to be tried first.", kind=Kind.FLAG)] = False
    reason: Why


def _new(p: AddOne) -> AddRule:
    return AddRule(text=p.text, enabled=not p.off, reason=p.reason)


def plan_add(p: AddOne) -> Flow[Plan]:
    """Have the file read, and say what it means."""
    rule = yield from RULE_ADD(_new(p), validate=True)
    return Plan(
        title=f"Add the rule {rule.id}",
        sections=[
            Section(
                "What it does",
                [
                    *_says(rule),
                    "it is left off: `rule test`, then `rule enable`"
                    if p.off
                    else "it looks at what comes from now on",
                ],
            )
        ],
    )


@operation(
    "rule.add",
    title="Add rule",
    result=DetectionRule,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_add,
)
def add(p: AddOne, _plan: Plan | None) -> Flow[DetectionRule]:
    """Add a rule of your own. A file that is wrong is refused, naming the line."""
    return RULE_ADD(_new(p))


class ChangeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which rule is changed."""

    rule: RuleName
    reason: Why


def _says(rule: DetectionRule) -> list[str]:
    within = length(rule.window_seconds)
    factor = f", {rule.factor:g} times the norm" if rule.factor else ""
    least = limits_text.amount(rule.threshold) if rule.spends else str(rule.threshold)
    of = "spend" if rule.spends else rule.reads
    return [
        f"{rule.title} ({rule.severity})",
        f"{rule.kind} of {of}: {least} within {within}{factor}",
    ]


_TOLD = "the alerts it made stay, and an alert says that less is watched for"
"""What a plan says of a rule that will look no more."""


def _look(p: ChangeOne, verb: str, does: str) -> Flow[Plan]:
    rule = yield from RULE_SHOW(rule=p.rule)
    return Plan(
        title=f"{verb} {rule.id}",
        sections=[Section("What it does", [*_says(rule), does])],
        subject=rule,
        revision=rule.revision,
    )


def plan_enable(p: ChangeOne) -> Flow[Plan]:
    """Look at what is switched on."""
    return _look(p, "Switch on", "it looks at what comes from now on")


@operation(
    "rule.enable",
    title="Switch rule on",
    result=DetectionRule,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_enable,
    subject="rule",
)
def enable(p: ChangeOne, _plan: Plan | None) -> Flow[DetectionRule]:
    """Switch a rule on."""
    return RULE_ENABLE(ChangeRule(reason=p.reason), rule=p.rule)


def plan_disable(p: ChangeOne) -> Flow[Plan]:
    """Look at what is switched off."""
    return _look(p, "Switch off", f"it finds nothing more; {_TOLD}")


@operation(
    "rule.disable",
    title="Switch rule off",
    result=DetectionRule,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_disable,
    subject="rule",
)
def disable(p: ChangeOne, plan: Plan | None) -> Flow[DetectionRule]:
    """Switch a rule off, which raises an alert. One that guards an invariant stays on."""
    revision = yield from _revision(p, plan)
    return (yield from RULE_DISABLE(ChangeRule(reason=p.reason), rule=p.rule, if_match=revision))


def _revision(p: ChangeOne, plan: Plan | None) -> Flow[int]:
    """Return the revision of the rule that was planned on, or is there now."""
    if plan is not None and plan.revision is not None:
        return plan.revision
    return (yield from RULE_SHOW(rule=p.rule)).revision


class TuneOne(msgspec.Struct, kw_only=True, frozen=True):
    """How a rule is set. What is not named goes back to the file's value."""

    rule: RuleName
    threshold: Threshold = None
    window_seconds: Within = None
    factor: Factor = None
    severity: Annotated[
        Severity | None,
        Param("How bad its alerts are.", kind=Kind.CHOICE, choices=tuple(Severity), asked=True),
    ] = None
    reason: Why


def _tuning(p: TuneOne, rule: DetectionRule) -> TuneRule:
    return TuneRule(
        threshold=_in_its_unit(p.threshold, rule),
        window_seconds=p.window_seconds,
        factor=None if p.factor is None else float(p.factor),
        severity=p.severity,
        reason=p.reason,
    )


def plan_tune(p: TuneOne) -> Flow[Plan]:
    """Ask what the rule would be like."""
    before = yield from RULE_SHOW(rule=p.rule)
    asked = _tuning(p, before)
    after = yield from RULE_TUNE(asked, rule=p.rule, if_match=before.revision, validate=True)
    sections = [Section("Now", _says(before)), Section("Then", _says(after))]
    if after.weaker:
        told = "an alert says so"
        sections.append(Section("It becomes weaker", [*after.weaker, told]))
    return Plan(
        title=f"Tune {before.id}", sections=sections, subject=before, revision=before.revision
    )


@operation(
    "rule.tune",
    title="Tune rule",
    result=DetectionRule,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_tune,
    subject="rule",
)
def tune(p: TuneOne, plan: Plan | None) -> Flow[DetectionRule]:
    """Set a rule's threshold, window, factor or severity; with nothing named, undo that.

    A lower threshold, a longer window or a higher severity makes it stricter. Anything else
    may make it weaker: that raises an alert, and a rule that guards an invariant refuses it.
    """
    known = plan.subject if plan else None
    rule = known if isinstance(known, DetectionRule) else (yield from RULE_SHOW(rule=p.rule))
    return (yield from RULE_TUNE(_tuning(p, rule), rule=p.rule, if_match=rule.revision))


def plan_remove(p: ChangeOne) -> Flow[Plan]:
    """Look at what is removed."""
    return _look(p, "Remove", f"its file is deleted; {_TOLD}")


@operation(
    "rule.remove",
    title="Remove rule",
    result=DetectionRule,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_remove,
    subject="rule",
)
def remove(p: ChangeOne, plan: Plan | None) -> Flow[DetectionRule]:
    """Remove a rule of your own, and its file. Those that ship can be switched off."""
    revision = yield from _revision(p, plan)
    return (yield from RULE_REMOVE(ChangeRule(reason=p.reason), rule=p.rule, if_match=revision))


OPERATIONS: tuple[Operation, ...] = (
    list_rules,
    show,
    attempt,
    enable,
    disable,
    tune,
    add,
    remove,
)
