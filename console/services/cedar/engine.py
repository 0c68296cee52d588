"""Cedar (cedarpolicy.com), through cedarpy: the engine that decides, in process.

Fail closed. Cedar skips a policy that errors, so a `forbid` whose attribute is missing
would let its `permit` stand: every decision is therefore made with the schema, and no
decision, or any diagnostic error, is a deny. A bundle that does not validate is refused
when it is loaded. Parsing is the dear part, so the parsed handles are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cedarpy

from console.errors import PilotError
from console.model.grant import Decision, GrantProjection
from console.model.ids import new_id
from console.model.text import now

SCHEMA_FILE = "schema.json"
ENTITIES_FILE = "entities.json"

_KEPT_GRANTS = 20_000
"""How many grants' parsed entities one bundle holds before it starts afresh."""


class Uid(NamedTuple):
    """A Cedar entity's name: its type and its id."""

    type: str
    id: str

    def as_json(self) -> dict[str, str]:
        """Return the structured form, which is safe for any id whatever it contains."""
        return {"type": self.type, "id": self.id}


class Question(NamedTuple):
    """One request to decide. `context` holds plain JSON values, as the schema declares."""

    principal: Uid
    action: str
    resource: Uid
    context: Mapping[str, Any] = {}


class ActionShape(NamedTuple):
    """What the schema says of an action: who may do it to what, and its context's names."""

    principals: frozenset[str]
    resources: frozenset[str]
    context: frozenset[str]


class EntitySet:
    """Entities parsed and checked against a bundle's schema; reusable, immutable."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def handle(self) -> Any:
        """The engine's own handle."""
        return self._handle


class CedarBundle:
    """Policies and the schema that they validate against, parsed once.

    `policies` is Cedar text, `schema` Cedar's JSON schema form. `revision` is the first
    16 hex digits of the SHA-256 over both. Raises PilotError `bundle-invalid`, naming the
    policy and the reason, where either does not parse, the policies do not validate, or
    one has no @id (the name that a decision gives as its reason) or another's.
    """

    def __init__(self, policies: str, schema: str) -> None:
        self.policies = policies
        self.schema = schema
        digest = hashlib.sha256(policies.encode() + b"\x00" + schema.encode())
        self.revision = digest.hexdigest()[:16]
        try:
            self._schema = cedarpy.Schema.from_json_str(schema)
            self._policies = cedarpy.PolicySet.from_str(policies)
            checked = cedarpy.validate_policies(policies, self._schema)
            names = _names(policies)
        except ValueError as error:
            raise _invalid(str(error)) from error
        if not checked.validation_passed:
            raise _invalid("; ".join(_named(error, names) for error in checked.errors))
        _require_names(names)
        self.types, self.actions = _shapes(schema)
        self._grants: dict[str, tuple[GrantProjection, EntitySet]] = {}

    @classmethod
    def load(cls, folder: Path) -> CedarBundle:
        """Read every `*.cedar` file of `folder`, in order of name, and its `schema.json`."""
        files = sorted(folder.glob("*.cedar"))
        if not files:
            raise _invalid(f"{folder} holds no .cedar file")
        try:
            policies = "\n".join(file.read_text("utf-8") for file in files)
            return cls(policies, (folder / SCHEMA_FILE).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(f"{folder} cannot be read: {error}") from error

    def entities(self, items: Sequence[Mapping[str, Any]]) -> EntitySet:
        """Parse Cedar JSON entities. Raises ValueError where the schema refuses one."""
        return EntitySet(cedarpy.Entities.from_json_str(json.dumps(items), self._schema))

    def decide(
        self,
        principal: Uid,
        action: str,
        resource: Uid,
        context: Mapping[str, Any],
        entities: EntitySet,
    ) -> Decision:
        """Decide one question. It never raises: what cannot be decided is a deny."""
        return self.decide_many([Question(principal, action, resource, context)], entities)[0]

    def decide_many(self, asked: Sequence[Question], entities: EntitySet) -> list[Decision]:
        """Decide each question against the same entities, in order."""
        at = now()
        try:
            results = cedarpy.is_authorized_batch(
                [_request(question) for question in asked],
                self._policies,
                entities.handle,
                self._schema,
            )
        except (ValueError, TypeError) as error:
            return [self.denied(str(error)) for _ in asked]
        return [
            Decision(
                id=new_id("decision"),
                allow=result.allowed and not result.diagnostics.errors,
                bundle_revision=self.revision,
                reasons=sorted(
                    result.diagnostics.id_annotations_by_reason.get(reason, reason)
                    for reason in result.diagnostics.reasons
                ),
                errors=list(result.diagnostics.errors),
                at=at,
            )
            for result in results
        ]

    def grant_entities(self, grant: GrantProjection) -> EntitySet:
        """Return the grant's and its partner's entities, parsed once for this very value.

        Raises ValueError where the schema refuses them (a bundle without the pilot's types).
        """
        kept = self._grants.get(grant.id)
        if kept is not None and kept[0] is grant:
            return kept[1]
        parsed = self.entities(entities_of(grant))
        if len(self._grants) >= _KEPT_GRANTS:
            self._grants.clear()
        self._grants[grant.id] = (grant, parsed)
        return parsed

    def denied(self, error: str) -> Decision:
        """Return the deny that a question gets which cannot be put at all."""
        return Decision(
            id=new_id("decision"),
            allow=False,
            bundle_revision=self.revision,
            errors=[error],
            at=now(),
        )

    def decide_grant(
        self, grant: GrantProjection, action: str, context: Mapping[str, Any], *, keep: bool
    ) -> Decision:
        """Decide whether the grant's partner may do `action` under it. Never raises.

        `keep` holds the parsed entities for the next decision about this very value.
        """
        try:
            entities = self.grant_entities(grant) if keep else self.entities(entities_of(grant))
        except (ValueError, TypeError) as error:
            return self.denied(str(error))
        return self.decide(
            Uid("Partner", grant.partner), action, Uid("Grant", grant.id), context, entities
        )


def decide_call(
    bundle: CedarBundle, projection: GrantProjection, capability: str, model: str, route: str
) -> Decision:
    """Decide one call of the grant's partner: `capability` by slug, `model` and `route` as asked.

    What Cedar sees is the projection as it stands; its lapses and the moment are the
    caller's to judge. Never raises. The projection's entities are parsed once: hand in the
    same object from call to call.
    """
    return bundle.decide_grant(
        projection,
        "call",
        {"capability": capability, "model": model, "route": route},
        keep=True,
    )


def decide_hold(bundle: CedarBundle, projection: GrantProjection) -> Decision:
    """Decide whether the partner may hold the grant at all, as it would be provisioned."""
    return bundle.decide_grant(projection, "hold", {}, keep=False)


def entities_of(grant: GrantProjection) -> list[dict[str, Any]]:
    """Return a grant and its partner as Cedar JSON entities."""
    partner = Uid("Partner", grant.partner).as_json()
    facts: dict[str, Any] = {
        "partner": partner,
        "state": grant.state,
        "tier": grant.tier,
        "categories": sorted({capability.category for capability in grant.capabilities}),
        "models": grant.models,
    }
    if grant.approval_id:
        facts["approval"] = grant.approval_id
    return [
        {"uid": partner, "attrs": {"state": grant.partner_state}, "parents": []},
        {
            "uid": Uid("Grant", grant.id).as_json(),
            "attrs": facts,
            "tags": {
                capability.slug: {
                    "category": capability.category,
                    "tier": capability.tier,
                    "models": capability.models,
                    "routes": capability.routes,
                }
                for capability in grant.capabilities
            },
            "parents": [],
        },
    ]


def _request(question: Question) -> dict[str, Any]:
    return {
        "principal": question.principal.as_json(),
        "action": {"type": "Action", "id": question.action},
        "resource": question.resource.as_json(),
        "context": json.dumps(question.context),
    }


def _invalid(why: str) -> PilotError:
    return PilotError(
        "bundle-invalid",
        f"the policy bundle is refused: {why}",
        hint="mend the policies or their schema; nothing is decided with a bundle in doubt",
    )


def _names(policies: str) -> dict[str, str]:
    """Return the engine's id of each policy with its @id, empty where it has none."""
    parsed = json.loads(cedarpy.policies_to_json_str(policies))
    return {
        key: policy.get("annotations", {}).get("id") or ""
        for key, policy in {**parsed["staticPolicies"], **parsed.get("templates", {})}.items()
    }


def _named(error: cedarpy.ValidationError, names: Mapping[str, str]) -> str:
    return f"{names.get(error.policy_id) or error.policy_id or 'policies'}: {error.error}"


def _require_names(names: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for key, name in names.items():
        if not name:
            raise _invalid(f"{key} has no @id, so no decision could name it as its reason")
        if name in seen:
            raise _invalid(f"two policies have the @id {name!r}")
        seen.add(name)


def _shapes(schema: str) -> tuple[dict[str, frozenset[str]], dict[str, ActionShape]]:
    """Return the entity types with their attributes' names, and the actions' shapes.

    Only the unnamed namespace is read: the pilot's names and a caller's need no prefix.
    """
    part = json.loads(schema).get("", {})
    common = part.get("commonTypes", {})

    def members(shape: Mapping[str, Any] | None) -> frozenset[str]:
        while shape is not None and shape.get("type") in common:
            shape = common[shape["type"]]
        return frozenset((shape or {}).get("attributes", {}))

    types = {name: members(said.get("shape")) for name, said in part.get("entityTypes", {}).items()}
    actions = {}
    for name, said in part.get("actions", {}).items():
        applies = said.get("appliesTo", {})
        actions[name] = ActionShape(
            frozenset(applies.get("principalTypes", ())),
            frozenset(applies.get("resourceTypes", ())),
            members(applies.get("context")),
        )
    return types, actions
