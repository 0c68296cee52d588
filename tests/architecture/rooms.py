"""The rooms inside the big parts, and what each may import of the others: the diagram."""

from __future__ import annotations

BASE = {"services", "services/listening"}
"""What a service stands on: its folder, settings, TLS, events, a client, how it runs."""
SERVING = {*BASE, "services/wire", "services/store", "services/web", "services/operators"}
"""What a service that answers operators stands on."""

_CONTROL = "services/gateway/control"
_POINT = "services/gateway/point"
_POLICY = "services/policy"
_AUDIT = "services/audit"
_DECISION = "services/gateway/decision"

_JUDGING = {*SERVING, "services/cedar", f"{_POLICY}/state", f"{_POLICY}/judging"}
_KEEPING = {*SERVING, f"{_AUDIT}/state", f"{_AUDIT}/log"}

ROOMS: dict[str, set[str]] = {
    "services/wire": set(),
    "services/store": set(),
    "services": set(),
    "services/listening": {"services"},
    "services/cedar": {"services/wire"},
    "services/web": {*BASE, "services/store"},
    "services/operators": {*BASE, "services/store", "services/web"},
    _DECISION: {*BASE, "services/wire"},
    f"{_CONTROL}/state": {*SERVING, _DECISION},
    f"{_CONTROL}/access": {*SERVING, _DECISION, f"{_CONTROL}/state"},
    f"{_CONTROL}/closing": {*SERVING, _DECISION, f"{_CONTROL}/state", f"{_CONTROL}/access"},
    f"{_CONTROL}/calls": {*SERVING, _DECISION, f"{_CONTROL}/state", f"{_CONTROL}/access"},
    _CONTROL: {
        *SERVING, _DECISION, f"{_CONTROL}/state", f"{_CONTROL}/access", f"{_CONTROL}/closing",
        f"{_CONTROL}/calls",
    },
    f"{_POINT}/dialect": {*BASE, _DECISION},
    f"{_POINT}/intake": {*BASE, _DECISION, f"{_POINT}/dialect"},
    f"{_POINT}/upstream": {*BASE, f"{_POINT}/dialect"},
    _POINT: {
        *BASE, "services/wire", "services/cedar", "services/store", _DECISION,
        f"{_POINT}/dialect", f"{_POINT}/intake", f"{_POINT}/upstream",
    },
    f"{_POLICY}/state": SERVING,
    f"{_POLICY}/judging": {*SERVING, "services/cedar", f"{_POLICY}/state"},
    f"{_POLICY}/grants": _JUDGING,
    f"{_POLICY}/partners": {*_JUDGING, f"{_POLICY}/grants"},
    f"{_POLICY}/evidence": _JUDGING,
    f"{_POLICY}/pilots": {*_JUDGING, f"{_POLICY}/grants", f"{_POLICY}/partners"},
    f"{_POLICY}/decisions": _JUDGING,
    _POLICY: {
        *_JUDGING, f"{_POLICY}/grants", f"{_POLICY}/partners", f"{_POLICY}/evidence",
        f"{_POLICY}/pilots", f"{_POLICY}/decisions",
    },
    f"{_AUDIT}/state": SERVING,
    f"{_AUDIT}/log": {*SERVING, f"{_AUDIT}/state"},
    f"{_AUDIT}/rules": _KEEPING,
    f"{_AUDIT}/paging": {*_KEEPING, f"{_AUDIT}/rules"},
    f"{_AUDIT}/alerts": {*_KEEPING, f"{_AUDIT}/rules", f"{_AUDIT}/paging"},
    _AUDIT: {*_KEEPING, f"{_AUDIT}/rules", f"{_AUDIT}/paging", f"{_AUDIT}/alerts"},
    "services/owner": {*SERVING, _CONTROL, _POLICY, _AUDIT},
    "services/backup": {
        *SERVING, _DECISION, _CONTROL, f"{_CONTROL}/state", f"{_CONTROL}/access",
        f"{_CONTROL}/closing", f"{_CONTROL}/calls", _POLICY, f"{_POLICY}/state",
        f"{_POLICY}/judging", f"{_POLICY}/evidence", f"{_POLICY}/partners", _AUDIT,
        f"{_AUDIT}/state", f"{_AUDIT}/log",
    },
    "services/supervisor": {*BASE, "services/web", "services/backup"},
    "services/demo": {
        *SERVING, "services/cedar", "services/supervisor", _DECISION, _CONTROL,
        f"{_CONTROL}/state", f"{_CONTROL}/closing", f"{_CONTROL}/calls", _POLICY,
        f"{_POLICY}/state", f"{_POLICY}/partners", _AUDIT, f"{_AUDIT}/state", f"{_AUDIT}/log",
        f"{_AUDIT}/rules", f"{_AUDIT}/alerts",
    },
    "tui/theme": set(),
    "tui/terminal": {"tui/theme"},
    "tui/widgets": {"tui/theme", "tui/terminal"},
    "tui/link": {"tui/widgets"},
    "tui/views": {"tui/theme", "tui/widgets", "tui/link"},
    "tui/places": {"tui/theme", "tui/widgets", "tui/link", "tui/views"},
    "tui/dialogs": {"tui/theme", "tui/terminal", "tui/widgets", "tui/link", "tui/views",
                    "tui/places"},
    "tui/actions": {"tui/theme", "tui/terminal", "tui/widgets", "tui/link", "tui/views",
                    "tui/places", "tui/dialogs"},
    "tui/app": {"tui/theme", "tui/terminal", "tui/widgets", "tui/link", "tui/views",
                "tui/places", "tui/dialogs", "tui/actions"},
    "tui": {"tui/theme", "tui/terminal", "tui/widgets", "tui/link", "tui/views", "tui/places",
            "tui/app"},
}  # fmt: skip
"""Room to the rooms of `services` and `tui` that it may import, beside itself."""
