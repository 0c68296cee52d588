"""What each API says of itself, and who it takes the caller for."""

from __future__ import annotations

from console.api.route import Api, Route
from console.model.operator import ServiceStatus

APIS: tuple[Api, ...] = ("policy", "gateway", "audit")

STATUS: dict[str, Route[ServiceStatus]] = {
    api: Route(f"{api}.status", api, "GET", "/v1/status", ServiceStatus) for api in APIS
}
"""By API."""
