"""Why a call is not served: the stable codes, and what each means on the wire.

A code never changes its meaning; callers, detections and `call explain` branch on it.
The same table gives the HTTP status, the words for the partner and the mend for the
operator, so that no two places disagree.
"""

from __future__ import annotations

from typing import NamedTuple

from console.model.traffic import Outcome


class Kind(NamedTuple):
    """One code: its HTTP status, what the caller is told, what an operator can do.

    `outcome` is what the call record says. `decided` marks a refusal that the decision
    itself makes: only such a refusal can prove that a closing verb holds.
    """

    status: int
    says: str
    mend: str
    outcome: Outcome = Outcome.DENIED
    decided: bool = True


_ERROR = Outcome.ERROR
_BLOCKED = Outcome.BLOCKED

CODES: dict[str, Kind] = {
    "key_missing": Kind(
        401,
        "No API key was given: send it as a bearer token or as x-api-key.",
        "the caller must send its key",
    ),
    "key_unknown": Kind(
        401,
        "This API key is not known here.",
        "compare its last four characters with `pilotctl key list`; `pilotctl key issue` makes one",
    ),
    "key_revoked": Kind(
        403,
        "This API key was revoked.",
        "a revoked key never serves again; `pilotctl key issue` makes another under the grant",
    ),
    "key_rotated": Kind(
        403,
        "This API key was replaced by a newer one, and its time is over.",
        "the holder must use the newer version; `pilotctl key list` shows which it is",
    ),
    "grant_revoked": Kind(
        403,
        "The access that this API key belonged to was revoked.",
        "a revoked grant never serves again; re-access is a new grant: `pilotctl grant create`",
    ),
    "locked": Kind(
        403,
        "Access is locked.",
        "`pilotctl lock release LOCK` lifts the lock, where that is right",
        _BLOCKED,
    ),
    "grant_suspended": Kind(
        403,
        "Access is suspended.",
        "`pilotctl grant show GRANT` names what lapsed and the command that mends it",
    ),
    "grant_expired": Kind(
        403, "Access has expired.", "re-access is a new grant: `pilotctl grant create`"
    ),
    "grant_not_yet_valid": Kind(
        403, "Access has not begun yet.", "it opens by itself at the grant's not_before"
    ),
    "grant_not_active": Kind(
        403, "Access is not active.", "`pilotctl grant show GRANT` says what is missing"
    ),
    "model_out_of_scope": Kind(
        403,
        "This key gives no access to that model.",
        "grant the model: `pilotctl grant create … --model MODEL`",
    ),
    "route_out_of_scope": Kind(
        403,
        "This key gives no access to that route.",
        "no granted capability opens the route; grant one that does",
    ),
    "capability_out_of_scope": Kind(
        403,
        "This key gives no access to that capability here.",
        "the capability named is not granted for this model and route",
    ),
    "network_not_allowed": Kind(
        403,
        "Calls from this network are not allowed.",
        "the grant names its networks; a grant with others is a new grant",
    ),
    "principal_missing": Kind(
        403,
        "This access is for named users: name the user in `safety_identifier`, `user` or "
        "`metadata.user_id`.",
        "the grant names its principals; the partner must say which of them calls",
    ),
    "principal_not_allowed": Kind(
        403,
        "The user that this call names has no access.",
        "`pilotctl principal list` has its hash; the grant names who may call: "
        "`pilotctl grant show GRANT`",
    ),
    "policy_denied": Kind(
        403,
        "Policy does not allow this call.",
        "`pilotctl policy explain` names the policies that decided",
    ),
    "policy_stale": Kind(
        503,
        "Policy has not been heard of for too long; this access is held back.",
        "start the policy service: `pilotctl status`, `pilotctl up`",
        decided=False,
    ),
    "point_fenced": Kind(
        503,
        "This enforcement point is not certain of its state and serves nothing.",
        "the point lost its control: `pilotctl status`",
        decided=False,
    ),
    "point_stopped": Kind(
        503,
        "This enforcement point was stopped, and the call with it.",
        "calls in flight have `[data_plane] drain_seconds`, or `pilotctl down --drain SECONDS`",
        Outcome.ERROR,
        decided=False,
    ),
    "rate_limited": Kind(
        429,
        "Too many calls: try again later.",
        "`pilotctl grant show GRANT` has its limits; `pilotctl grant amend GRANT` changes them",
        decided=False,
    ),
    "budget_exhausted": Kind(
        402,
        "The budget of this access is used up.",
        "`pilotctl usage budgets` says what is left; `pilotctl grant amend GRANT` changes it",
        decided=False,
    ),
    "over_limit": Kind(
        400,
        "The call may use more tokens than its limit allows in a minute.",
        "the caller must ask for fewer tokens, or `pilotctl grant amend GRANT` allows more",
        decided=False,
    ),
    "price_missing": Kind(
        403,
        "This model cannot be called under a budget yet.",
        "set its price: `pilotctl price set MODEL --input-price … --output-price …`",
        decided=False,
    ),
    "limits_unknown": Kind(
        503,
        "Limits cannot be counted at this moment: try again.",
        "the point cannot ask gateway control: `pilotctl status`",
        decided=False,
    ),
    "route_unknown": Kind(
        404,
        "There is no such route here.",
        "use /v1/models, /v1/chat/completions, /v1/responses or /v1/messages",
    ),
    "feature_unknown": Kind(
        400, "The request asks for a feature that is not offered here.", "leave the member out"
    ),
    "request_invalid": Kind(
        400, "The request is not valid.", "mend the request", _ERROR, decided=False
    ),
    "answer_unknown": Kind(
        404,
        "There is no earlier answer with this id.",
        "an answer's id works under its own grant, with models of the same upstream",
        decided=False,
    ),
    "too_large": Kind(
        413, "The request is too large.", "send less than 8 MiB", _ERROR, decided=False
    ),
    "encoding_unknown": Kind(
        415,
        "The body is encoded in a way that is not taken here.",
        "the caller must send the body without Content-Encoding",
        _ERROR,
        decided=False,
    ),
    "point_busy": Kind(
        503,
        "This enforcement point answers as many requests as it can.",
        "`pilotctl point list` shows what is in flight; add a port under [data_plane]",
        _ERROR,
        decided=False,
    ),
    "point_failed": Kind(
        500,
        "This enforcement point failed on the request.",
        "look at the point's log in the state folder",
        _ERROR,
        decided=False,
    ),
    "record_failed": Kind(
        503,
        "The call could not be recorded, so it is not served.",
        "look at the disk under the services' state folder",
        _ERROR,
        decided=False,
    ),
    "upstream_unreachable": Kind(
        502,
        "The model API behind this gateway cannot be reached.",
        "look at [upstreams] in pilot.toml, and at the upstream itself",
        _ERROR,
        decided=False,
    ),
    "upstream_timeout": Kind(
        504,
        "The model API behind this gateway did not answer in time.",
        "look at the upstream",
        _ERROR,
        decided=False,
    ),
    "upstream_malformed": Kind(
        502,
        "The model API behind this gateway gave an answer that is none.",
        "look at base_url in pilot.toml: something else answers there",
        _ERROR,
        decided=False,
    ),
    "upstream_broken": Kind(
        502,
        "The model API behind this gateway stopped in the middle of its answer.",
        "look at the upstream",
        _ERROR,
        decided=False,
    ),
    "upstream_error": Kind(
        502,
        "The model API behind this gateway answered with an error.",
        "the upstream's own words are in the answer to the caller",
        _ERROR,
        decided=False,
    ),
    "model_unmapped": Kind(
        404,
        "This model is not served here.",
        "name the model's upstream under [models] in pilot.toml, and restart: `pilotctl up`",
        _ERROR,
        decided=False,
    ),
    "internal_error": Kind(
        500,
        "The enforcement point failed at this call.",
        "a fault of pilotctl: look at the point's log in the state folder, and report it",
        _ERROR,
        decided=False,
    ),
    "caller_gone": Kind(
        499,
        "The caller hung up.",
        "nothing to mend: usage up to there is recorded as estimated",
        Outcome.ALLOWED,
        decided=False,
    ),
    "point_restarted": Kind(
        500,
        "The enforcement point stopped during the call.",
        "look at the point's log in the state folder",
        _ERROR,
        decided=False,
    ),
}
"""Every code that a call record or an answer can carry. Codes only ever get added."""

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""HTTP status to the error type that both SDK dialects know; others are `api_error`."""


def error_type(status: int) -> str:
    """Return the SDKs' error type for an HTTP status."""
    return ERROR_TYPES.get(status, "api_error")
