"""The whole contract: every route of each API, from the modules that declare them."""

from __future__ import annotations

from typing import Any

from console.api import audit, authzen, gateway, operators, policy
from console.api.route import Api, Route

CONTRACT: dict[Api, tuple[Route[Any], ...]] = {
    "policy": (*policy.ROUTES, *authzen.ROUTES, *operators.routes("policy")),
    "gateway": (*gateway.ROUTES, *operators.routes("gateway")),
    "audit": (*audit.ROUTES, *operators.routes("audit")),
}
"""API to its routes."""

ROUTES: tuple[Route[Any], ...] = tuple(route for routes in CONTRACT.values() for route in routes)
"""All of them."""
