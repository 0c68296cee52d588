"""The OpenID AuthZEN Authorization API 1.0, served by policy.

Bodies of these routes are lenient, as the standard asks (§ 6), and their errors are
the standard's; the services read them apart from the strict writes.
"""

from __future__ import annotations

from typing import Any

from console.api.route import Route
from console.model.policy import Answer, Evaluation

EVALUATION = Route(
    "authzen.evaluation", "policy", "POST", "/access/v1/evaluation", Answer, body=Evaluation
)
EVALUATIONS = Route("authzen.evaluations", "policy", "POST", "/access/v1/evaluations", Any)
SEARCH_SUBJECT = Route("authzen.search-subject", "policy", "POST", "/access/v1/search/subject", Any)
SEARCH_RESOURCE = Route(
    "authzen.search-resource", "policy", "POST", "/access/v1/search/resource", Any
)
SEARCH_ACTION = Route("authzen.search-action", "policy", "POST", "/access/v1/search/action", Any)
CONFIGURATION = Route(
    "authzen.configuration", "policy", "GET", "/.well-known/authzen-configuration", Any
)

ROUTES: tuple[Route[Any], ...] = (
    EVALUATION,
    EVALUATIONS,
    SEARCH_SUBJECT,
    SEARCH_RESOURCE,
    SEARCH_ACTION,
    CONFIGURATION,
)
