"""The one object that both fronts receive: a profile, who answers it, and the drivers.

It joins what operations describe with the means to do it, and remembers what this
console believes of the log.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from console.api.flow import Flow, Report
from console.api.route import Call
from console.config.profile import Profile
from console.credentials.secret import Secret
from console.credentials.sources import Token, obtain
from console.model.operator import Direction
from console.model.stored import Page
from console.net.client import Apis
from console.net.driver import Drive, Exchange, arun, run
from console.session.pinned_log import PinnedLog, log_folder

if TYPE_CHECKING:
    from console.config.completion_names import Names

T = TypeVar("T")


class Session:
    """One profile in use. Close it: `close`, or `aclose` after `arun`."""

    def __init__(
        self,
        profile: Profile,
        environ: Mapping[str, str] | None = None,
        *,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.profile = profile
        self.read_only = profile.read_only
        """Whether no call that opens access may leave; the console lifts and sets it."""
        self._environ = os.environ if environ is None else environ
        self._on_exchange = on_exchange or (lambda _: None)
        self._token: Token | None = None
        self.apis = Apis(
            {api: profile.setting(api) for api in ("policy", "gateway", "audit")},
            token=self._secret,
            ca_file=profile.setting("ca_file"),
        )

    @cached_property
    def log_trust(self) -> PinnedLog:
        """What this console believes of the profile's log."""
        return PinnedLog(log_folder(self.profile, self._environ), self.profile.setting("log_key"))

    def token(self) -> Token | None:
        """Return the API token, asking its source once and again when it has run out."""
        ends = self._token.expires_at if self._token else None
        if self._token is None or (ends and ends.timestamp() <= time.time()):
            self._token = obtain(
                self.profile.setting("token"), self._environ, profile=self.profile.name
            )
        return self._token

    def drive(
        self,
        *,
        seconds: float = math.inf,
        idempotency_key: str = "",
        on_report: Callable[[Report], None] | None = None,
        awaited_api: str = "",
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> Drive:
        """Return what one run of a flow needs; `seconds` from now is its deadline.

        `awaited_api` is waited for where it is just starting again, until `is_given_up`.
        """
        return Drive(
            self.apis,
            idempotency_key=idempotency_key,
            deadline=time.monotonic() + seconds,
            on_report=on_report or (lambda _: None),
            on_exchange=self._on_exchange,
            permit=self._permit,
            log_trust=self.log_trust,
            awaited_api=awaited_api,
            is_given_up=is_given_up,
        )

    def run(self, flow: Flow[T], drive: Drive | None = None) -> T:
        """Drive `flow` to its result."""
        return self._remembered(run(flow, drive or self.drive()))

    async def arun(self, flow: Flow[T], drive: Drive | None = None) -> T:
        """Drive `flow` to its result without blocking the loop."""
        return self._remembered(await arun(flow, drive or self.drive()))

    @cached_property
    def names(self) -> Names:
        """What completion may offer: see `config.names`."""
        from console.config.completion_names import Names  # noqa: PLC0415  # what changes things needs none

        return Names(self.profile.name, self._environ)

    def _remembered(self, result: T) -> T:
        if isinstance(result, Page):
            self.names.remember(result.items)
        return result

    def close(self) -> None:
        """Close what `run` opened."""
        self.apis.close()

    async def aclose(self) -> None:
        """Close everything."""
        await self.apis.aclose()

    def _permit(self, call: Call) -> None:
        """Refuse what opens access while this session is read-only. What closes always goes."""
        if self.read_only and call.route.direction is Direction.OPENS:
            raise self.profile.read_only_refusal(call.route.id)

    def _secret(self) -> Secret | None:
        token = self.token()
        return token.secret if token else None
