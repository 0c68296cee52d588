"""Carrying out an operation: plan, dry run, confirmation, run, result, exit code.

The order is the promise: nothing that changes anything is sent before it was confirmed,
and what closes access is never held up by what holds up what opens it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from console.api.flow import Report
from console.cli.context import Context
from console.cli.gc_tuning import started
from console.cli.output import Output
from console.cli.parser import Parsed
from console.cli.secret_handover import Handover, each_to_its_file, lost, not_lost
from console.cli.stderr import Stderr
from console.config.profile import Profile
from console.config.profile_settings import Tier
from console.errors import ExitCode, PilotError
from console.model.account import IssuedToken
from console.model.enforcement import IssuedKey
from console.model.operator import Direction
from console.model.stored import Page
from console.model.text import now
from console.operations.outcome import Ending, outcome
from console.operations.spec import Effect, Operation, Plan, fields
from console.present.plan import plan_lines
from console.streams import ignore_interrupts

if TYPE_CHECKING:
    from console.net.driver import Drive
    from console.session.session import Session

FOLLOW_SECONDS = 60.0
"""Seconds for which a command follows what it started, without --timeout."""

_ENDINGS = {
    ExitCode.PENDING: "pending",
    ExitCode.UNVERIFIED: "unverified",
    ExitCode.LOG_FAILED: "log-failed",
}


def execute(parsed: Parsed, context: Context) -> ExitCode:
    """Carry out what was parsed, and return the exit code. Raises `PilotError`."""
    profile = context.profile(parsed.common)
    output, stderr = context.output(parsed.common), context.stderr(parsed.common)
    output.check(parsed.operation.result)
    if not parsed.asked.dry_run:
        check_permitted(parsed.operation.id, parsed.operation.direction, profile, context)
    session = context.session(parsed.common, profile)
    started()
    execution = _Execution(parsed, context, session, output, stderr)
    try:
        return execution.carry_out()
    except KeyboardInterrupt:
        sent = execution.sent
        if sent is None:
            raise
        from console.net.driver import interruption  # noqa: PLC0415  # it is loaded by then

        raise interruption(parsed.operation.id, sent) from None
    finally:
        ignore_interrupts()
        session.close()


def check_permitted(what: str, direction: Direction, profile: Profile, context: Context) -> None:
    """Refuse `what` where it opens and this profile does not. What closes is never refused."""
    if direction is not Direction.OPENS:
        return
    if profile.read_only:
        raise profile.read_only_refusal(what)
    if profile.tier is Tier.PRODUCTION and not profile.explicit and not context.terminal.can_ask:
        raise PilotError(
            "implicit-production",
            f"{profile.name!r} is a production profile that was not named for this command",
            exit=ExitCode.REFUSED,
            hint=command_line(context.argv, "--profile", profile.name),
        )


@contextmanager
def changing(what: str, look: str) -> Iterator[None]:
    """Say of an interruption within that `what` may have been done, and how to `look` at it."""
    try:
        yield
    except KeyboardInterrupt:
        raise PilotError(
            "interrupted",
            f"interrupted: {what} may have been done, whole or in part",
            exit=ExitCode.UNVERIFIED,
            hint=look,
        ) from None


class _Execution:
    """One command on its way."""

    def __init__(
        self,
        parsed: Parsed,
        context: Context,
        session: Session,
        output: Output,
        stderr: Stderr,
    ) -> None:
        self._op = parsed.operation
        self._asked = parsed.asked
        self._params = parsed.params
        self._failed = list(parsed.refused)
        """The items of several that could not be acted on, by what was given, and why."""
        self._waited = False
        self._given = len(parsed.params) + len(parsed.refused)
        self._common = parsed.common
        self._context = context
        self._session = session
        self._output = output
        self._stderr = stderr
        self._drives: list[Drive] = []
        """One for each run that was begun."""

    @property
    def sent(self) -> Drive | None:
        """The last run that sent something which changes things, if one did."""
        return next((drive for drive in reversed(self._drives) if drive.writes), None)

    def carry_out(self) -> ExitCode:
        """Do it, in the promised order."""
        if self._op.effect is Effect.READ:
            return self._finish(self._run(self._params[0], None, "")[0])
        if self._asked.ids_from:
            return self._several()
        plans = [self._plan(self._params[0])]
        if self._asked.dry_run:
            self._show(plans)
            return ExitCode.DONE
        self._check_revision(plans[0])
        self._confirm(plans)
        if self._op.secret:
            return self._hand_over(plans[0])
        result, ending = self._run(self._params[0], plans[0], self._asked.idempotency_key)
        return self._finish(result, ending)

    def _several(self) -> ExitCode:
        """Act on each item that can be acted on, and report those that cannot."""
        plans: list[Plan | None] = []
        able: list[msgspec.Struct] = []
        for params in self._params:
            try:
                plan = self._plan(params)
                self._check_revision(plan)
            except PilotError as failure:
                self._failed.append((_subject(self._op, params), failure))
                continue
            able.append(params)
            plans.append(plan)
        self._params = able
        if self._asked.dry_run:
            self._show(plans)
            return self._reported(0, [])
        if not self._given:
            self._stderr.note("the list is empty: there is nothing to do")
        elif able:
            for named, error in self._failed:
                self._stderr.note(f"not acted on: {named}: {error.message}")
            self._confirm(plans)
        return self._batch(plans, self._handovers() if able else [])

    def _plan(self, params: msgspec.Struct) -> Plan | None:
        assert self._op.plan is not None
        drive = self._session.drive(on_report=self._report, awaited_api=self._awaited_api)
        try:
            return self._session.run(self._op.plan(params), drive)
        except PilotError as error:
            agreed = self._asked.yes or self._asked.confirm is not None
            closes = self._op.direction is Direction.CLOSES and agreed
            if closes and error.exit in {ExitCode.UNAVAILABLE, ExitCode.FAILED}:
                self._stderr.note(f"the blast radius cannot be counted: {error.message}")
                self._waited = error.exit is ExitCode.UNAVAILABLE
                return None
            raise

    @property
    def _awaited_api(self) -> str:
        """What the operation waits for, once: its plan may have waited already."""
        return "" if self._waited else self._op.awaited_api

    def _show(self, plans: list[Plan | None]) -> None:
        if self._common.format in {"json", "jsonl"}:
            plain = [msgspec.to_builtins(plan) for plan in plans]
            self._output.json(plain if self._asked.ids_from else plain[0])
            return
        for plan in plans:
            self._output.lines(plan_lines(plan) if plan else [])

    def _check_revision(self, plan: Plan | None) -> None:
        wanted = self._asked.revision
        if wanted is None or plan is None:
            return
        found = plan.revision or getattr(plan.subject, "revision", None)
        if found is None:
            raise PilotError(
                "usage", f"{self._op.id} acts on nothing that has a revision", exit=ExitCode.USAGE
            )
        if found != wanted:
            raise PilotError(
                "stale",
                f"it is at revision {found} now, not {wanted}",
                exit=ExitCode.CONFLICT,
                hint="look at it again, and decide anew",
                detail={"current": msgspec.to_builtins(plan.subject)},
            )

    def _confirm(self, plans: list[Plan | None]) -> None:
        known = [plan for plan in plans if plan is not None]
        name = self._name_to_type(known)
        unknown = not known or any(plan.name_is_guess for plan in known)
        if self._asked.confirm and (unknown or self._is_meant(self._asked.confirm, name)):
            return
        if not name and self._asked.yes:
            return
        if self._asked.confirm is not None:
            raise self._unconfirmed(f"--confirm {self._asked.confirm!r} is not {name!r}", name)
        if name and self._asked.yes:
            raise self._unconfirmed(f"--yes is not enough: it wants {name!r} confirmed", name)
        if not self._context.terminal.can_ask:
            raise self._unconfirmed("it was not confirmed, and nobody can be asked", name)
        for plan in known:
            self._stderr.lines(plan_lines(plan))
        if name:
            answer = self._stderr.ask(f"Type {name} to go on:")
            agreed = answer is not None and answer.strip() == name
        else:
            answer = self._stderr.ask("Go on? [y/N]")
            agreed = answer is not None and answer.strip().lower() in {"y", "yes"}
        if not agreed:
            raise self._unconfirmed("declined: nothing was changed", name)

    def _name_to_type(self, plans: list[Plan]) -> str:
        destructive = self._op.effect is Effect.DESTRUCTIVE
        wide = any(plan.name for plan in plans)
        if not destructive and not wide:
            return ""
        if self._asked.ids_from:
            return f"{self._given} {self._op.noun}s"
        return next((plan.name for plan in plans if plan.name), "") or self._positional()

    def _is_meant(self, confirmed: str, name: str) -> bool:
        return confirmed == name if name else confirmed == self._positional()

    def _positional(self) -> str:
        """Return what the command line itself names, where the plan names nothing."""
        for field in fields(self._op):
            if field.param.positional:
                return str(getattr(self._params[0], field.name))
        return self._op.id

    def _unconfirmed(self, why: str, name: str) -> PilotError:
        flags = ("--confirm", name) if name else ("--yes",)
        return PilotError(
            "not-confirmed",
            f"{self._op.id}: {why}",
            exit=ExitCode.NOT_CONFIRMED,
            hint=command_line(self._context.argv, *flags),
        )

    def _hand_over(self, plan: Plan | None) -> ExitCode:
        handover = Handover(
            self._context.terminal, secret_file=self._asked.secret_file, format=self._common.format
        )
        handover.prepare()
        issued, ending = self._run_secret(
            self._params[0], plan, self._asked.idempotency_key, handover
        )
        with not_lost(issued):
            code = self._finish(issued, ending, quiet=not handover.prints_answer)
            handover.sync()
        return code

    def _handovers(self) -> list[Handover]:
        if not self._op.secret:
            return []
        return each_to_its_file(
            self._context.terminal,
            folder=self._asked.secret_file,
            names=[_subject(self._op, params) for params in self._params],
            format=self._common.format,
        )

    def _run_secret(
        self, params: msgspec.Struct, plan: Plan | None, key: str, handover: Handover
    ) -> tuple[Any, Ending | None]:
        """Run what makes a key, and hand that over: as soon as it is there, where possible."""
        early = False
        kept: IssuedKey | IssuedToken | None = None
        """What is there, and is handed over with the answer only."""

        def report(report: Report) -> None:
            nonlocal early, kept
            if isinstance(report.state, IssuedKey | IssuedToken) and not early:
                early = handover.early(report.state, self._output, self._stderr)
                kept = None if early else report.state
            self._report(report)

        try:
            issued, ending = self._run(params, plan, key, report)
        except BaseException as error:
            handover.abandon()
            if kept is None:
                raise
            raise lost(kept, str(error) or "interrupted") from error
        if early:
            return msgspec.structs.replace(issued, secret=None), ending
        return handover.deliver(issued, self._output, self._stderr), ending

    def _run(
        self,
        params: msgspec.Struct,
        plan: Plan | None,
        key: str,
        on_report: Callable[[Report], None] | None = None,
    ) -> tuple[Any, Ending | None]:
        drive = self._session.drive(
            seconds=self._seconds(),
            idempotency_key=key,
            on_report=on_report or self._report,
            awaited_api=self._awaited_api,
        )
        self._drives.append(drive)
        try:
            result = self._session.run(self._op.run(params, plan), drive)
        except PilotError as error:
            raise _with_difference(error, plan) from error
        return result, outcome(self._op, result, waited=self._asked.wait)

    def _seconds(self) -> float:
        if not self._op.converges:
            return math.inf
        if not self._asked.wait:
            return 0.0
        return FOLLOW_SECONDS if self._asked.timeout is None else self._asked.timeout

    def _report(self, report: Report) -> None:
        self._stderr.progress(report.text)

    def _finish(
        self, result: Any, ending: Ending | None = None, *, quiet: bool = False
    ) -> ExitCode:
        """Write the result and say how it ended; `quiet` leaves standard output alone."""
        ending = ending or outcome(self._op, result, waited=self._asked.wait)
        if not quiet:
            self._output.result(result, self._op.result)
        if ending.exit is not ExitCode.DONE:
            self._tell(ending)
        elif ending.why:
            self._stderr.note(ending.why)
        if self._asked.exit_status and ending.negative and ending.exit is ExitCode.DONE:
            return ExitCode.FAILED
        return ending.exit

    def _tell(self, ending: Ending) -> None:
        code = _ENDINGS.get(ending.exit, "failed")
        self._stderr.error(PilotError(code, ending.why or code, exit=ending.exit))

    def _batch(self, plans: list[Plan | None], handovers: list[Handover]) -> ExitCode:
        """Run it for each id; one that fails stops none of the others."""
        try:
            return self._each(plans, handovers)
        finally:
            for each in handovers:
                each.abandon()

    def _each(self, plans: list[Plan | None], handovers: list[Handover]) -> ExitCode:
        results: list[Any] = []
        codes: list[ExitCode] = []
        short: list[str] = []
        """What was done, and not to its end."""
        for place, (params, plan) in enumerate(zip(self._params, plans, strict=True)):
            key = f"{self._asked.idempotency_key}.{place}" if self._asked.idempotency_key else ""
            try:
                if handovers:
                    result, ending = self._run_secret(params, plan, key, handovers[place])
                else:
                    result, ending = self._run(params, plan, key)
            except PilotError as error:
                self._failed.append((_subject(self._op, params), error))
                continue
            except KeyboardInterrupt:
                self._failed += self._not_finished(place)
                break
            results.append(result)
            if ending and ending.exit is not ExitCode.DONE:
                codes.append(ending.exit)
                short.append(f"{_subject(self._op, params)}: {ending.why}")
        failures = [*short, *(f"{named}: {error.message}" for named, error in self._failed)]
        page: Page[Any] = Page(
            as_of=now(),
            source=self._session.profile.name,
            items=results,
            partial=bool(failures),
            warnings=failures,
        )
        self._output.result(page, Page[self._op.result])  # type: ignore[name-defined]  # at run time
        return self._reported(len(results) - len(short), codes, short)

    def _not_finished(self, place: int) -> list[tuple[str, PilotError]]:
        """Return what an interruption leaves of the item at `place` and of those after it."""
        first, *others = (_subject(self._op, params) for params in self._params[place:])
        unsent = PilotError("interrupted", "interrupted: not sent", exit=ExitCode.INTERRUPTED)
        error = unsent
        if len(self._drives) > place and self._drives[place].writes:
            from console.net.driver import interruption  # noqa: PLC0415  # it is loaded by then

            error = interruption(self._op.id, self._drives[place])
        return [(first, error), *((each, unsent) for each in others)]

    def _reported(
        self, done: int, codes: Sequence[ExitCode], short: Sequence[str] = ()
    ) -> ExitCode:
        """Say which items failed and why, each with its own exit code, and return the whole's."""
        every = [*codes, *(error.exit for _, error in self._failed)]
        if not every:
            return ExitCode.DONE
        one = len(set(every)) == 1 and (not done or every[0] is ExitCode.UNVERIFIED)
        code = every[0] if one else ExitCode.UNVERIFIED
        told = [*short, *(f"{named}: {error.message}" for named, error in self._failed)]
        items = [{"id": named, **error.facts()} for named, error in self._failed]
        self._stderr.error(
            PilotError(
                "partial" if done else "failed",
                f"{done} of {self._given} done; " + "; ".join(told),
                exit=code,
                detail={"failed": items} if items else None,
            )
        )
        return code


def _subject(op: Operation, params: msgspec.Struct) -> str:
    field = next(field for field in fields(op) if field.param.positional)
    return str(getattr(params, field.name))


def _with_difference(error: PilotError, plan: Plan | None) -> PilotError:
    """Return a conflict with what changed since the plan was made."""
    current = error.detail.get("current")
    if error.exit is ExitCode.CONFLICT and current and plan is not None and plan.subject:
        from console.present.diff import difference_lines  # noqa: PLC0415  # conflicts are rare

        error.detail["difference"] = difference_lines(plan.subject, current)
        error.hint = error.hint or "look at it again, and decide anew"
    return error


def command_line(argv: tuple[str, ...], *flags: str) -> str:
    """Return what was typed, quoted for a shell, with `flags` instead of its confirmation."""
    kept: list[str] = []
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word == "--confirm":
            skip = True
        elif word not in {"--yes", "-y"} and not word.startswith("--confirm="):
            kept.append(word)
    return shlex.join(["pilotctl", *kept, *flags])
