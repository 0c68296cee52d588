"""The point's lease: the right to serve, which ends by itself.

It is counted by CLOCK_BOOTTIME from the moment before the question was sent, so neither
a stopped process, a suspended machine nor a changed wall clock can stretch it.
"""

from __future__ import annotations

from console.services.gateway.decision.boot_clock import boottime


class LeaseHeld:
    """The lease that a point holds, if any, and how old its knowledge of policy is."""

    __slots__ = ("_ends", "_given_up", "_policy_age", "_policy_at")

    def __init__(self) -> None:
        self._ends = 0.0
        self._given_up = False
        self._policy_age: float | None = None
        self._policy_at = 0.0

    def renew(self, asked_at: float, seconds: float, policy_age: float | None) -> None:
        """Take the answer to a question that was sent at `asked_at` (boot time)."""
        if not self._given_up:
            self._ends = max(self._ends, asked_at + seconds)
        self._policy_age = policy_age
        self._policy_at = asked_at

    def drop(self) -> None:
        """Give the lease up at once."""
        self._ends = 0.0

    def give_up(self) -> None:
        """Give the lease up for good: an answer that is still on its way brings none."""
        self._given_up = True
        self._ends = 0.0

    @property
    def holds(self) -> bool:
        """Whether the point may serve at this very moment."""
        return boottime() < self._ends

    @property
    def policy_age(self) -> float | None:
        """Seconds since control last heard of policy, as well as the point can know."""
        if self._policy_age is None:
            return None
        return self._policy_age + max(0.0, boottime() - self._policy_at)
