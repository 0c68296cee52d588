"""What a result means for whoever waits for it: the exit code, and why it is not 0."""

from __future__ import annotations

from typing import Any, NamedTuple

from console.errors import ExitCode
from console.model.account import IssuedToken, OperatorAccount, OperatorCut
from console.model.audit import Event, EventProof, LogCheck
from console.model.enforcement import IssuedKey, Receipt
from console.model.grant import Grant, GrantPlan, GrantState
from console.model.policy import Answer, Checked, Explained
from console.model.stored import Page
from console.operations.spec import Effect, Operation


class Ending(NamedTuple):
    """How an operation ended. `negative` is an answer of no, which is an answer."""

    exit: ExitCode
    why: str = ""
    """For a person, on stderr; empty where there is nothing to say."""
    negative: bool = False
    """With --exit-status, exit 1."""


DONE = Ending(ExitCode.DONE)


def outcome(op: Operation, result: Any, *, waited: bool = True) -> Ending:
    """Return how `op` ended with this result. `waited` is False for --no-wait.

    Looking at something unfinished is done once it was looked at; making or ending it is
    not done before it is so.
    """
    match result:
        case Receipt() | Grant() if op.effect is Effect.READ:
            return DONE
        case Receipt():
            return _of_receipt(result, waited=waited)
        case Grant():
            return _of_grant(result, waited=waited)
        case GrantPlan():
            return Ending(ExitCode.DONE, negative=bool(result.gaps) or not result.decision.allow)
        case Answer() | Checked() | Explained():
            return Ending(ExitCode.DONE, negative=not result.decision)
        case Event() | EventProof() if result.fault:
            return Ending(ExitCode.LOG_FAILED, f"the log's store was changed: {result.fault}")
        case Page() if faults := [each for each in result.items if _fault(each)]:
            named = ", ".join(str(each.index) for each in faults[:5])
            return Ending(
                ExitCode.LOG_FAILED,
                f"the log's store was changed: {len(faults)} entries here, the first are {named}; "
                "see `fault`, and pilotctl audit verify",
            )
        case LogCheck() if not result.good:
            count = len(result.findings)
            return Ending(ExitCode.LOG_FAILED, f"the log failed verification: {count} found")
        case IssuedKey() if result.secret is None and not result.receipt_id:
            return Ending(ExitCode.DONE, "issued before: the key itself was shown then, once")
        case IssuedKey() if result.receipt_id:
            return _of_rotation(result, waited=waited)
        case OperatorCut() if result.state == "partial":
            away = "; ".join(f"{each.service}: {each.why}" for each in result.services if each.why)
            return Ending(ExitCode.UNVERIFIED, f"not done everywhere yet: {away}")
        case IssuedToken() if result.secret is None:
            return Ending(ExitCode.DONE, "issued before: the token itself was shown then, once")
        case IssuedToken() if result.account.unaware:
            return _unaware(result.account)
        case OperatorAccount() if result.unaware and op.effect is not Effect.READ:
            return _unaware(result)
        case Page() if result.partial:
            why = "; ".join(result.warnings) or "some rows could not be had"
            return Ending(ExitCode.UNVERIFIED, why)
        case _:
            return DONE


def _unaware(account: OperatorAccount) -> Ending:
    where = " and ".join(account.unaware)
    return Ending(
        ExitCode.UNVERIFIED,
        f"done at policy; {where} did not take it in yet, and will once reached",
    )


def _of_receipt(receipt: Receipt, *, waited: bool) -> Ending:
    if receipt.state == "verified" and receipt.log is not None and receipt.logged_at is not None:
        return DONE
    if receipt.state == "verifying" and not waited:
        return Ending(ExitCode.PENDING, f"follow it: pilotctl receipt show {receipt.id}")
    if receipt.state == "verified":
        if not waited:
            return Ending(ExitCode.PENDING, "verified at every point; not looked for in the log")
        return Ending(
            ExitCode.UNVERIFIED,
            receipt.why or "verified at every point, but not proven to be in the log",
        )
    why = receipt.why or "not every point has refused"
    return Ending(ExitCode.UNVERIFIED, f"unverified: {why}")


def _of_rotation(issued: IssuedKey, *, waited: bool) -> Ending:
    """Return how a rotation without grace ended: the new key is there in any case."""
    if issued.receipt is not None:
        ending = _of_receipt(issued.receipt, waited=waited)
        return ending._replace(why=f"the old version: {ending.why}") if ending.why else ending
    why = f"the old version: follow it with pilotctl receipt show {issued.receipt_id}"
    return Ending(ExitCode.UNVERIFIED if waited else ExitCode.PENDING, why)


def _of_grant(grant: Grant, *, waited: bool) -> Ending:
    match grant.state:
        case GrantState.DRAFT:
            missing = f"{len(grant.gaps)} missing" if grant.gaps else "not activated"
            return Ending(ExitCode.PENDING, f"a draft: {missing}")
        case GrantState.PENDING_APPROVAL:
            return Ending(ExitCode.PENDING, "it waits for approval")
        case GrantState.APPROVED | GrantState.PROVISIONING:
            code = ExitCode.UNVERIFIED if waited else ExitCode.PENDING
            return Ending(code, "the gateway has not taken it yet")
        case _:
            return DONE


def _fault(row: object) -> str:
    return row.fault if isinstance(row, Event) else ""
