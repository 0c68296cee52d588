"""Questions in AuthZEN's terms, put to the bundle over one snapshot of the store.

What cannot be asked is a deny that says so: an entity or action that is not known, or an
attribute that the schema refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from console.model.grant import Decision
from console.model.policy import Action, Answer, Evaluation, Resource, Subject
from console.services.cedar.engine import ActionShape, Question, Uid
from console.services.policy.decisions.directory import Directory, Entities
from console.services.policy.judging.facts import Reader


class Look(NamedTuple):
    """One snapshot, and the moment that questions are decided for."""

    directory: Directory
    conn: Connection
    reader: Reader
    at: datetime

    def answer(self, asked: Evaluation) -> Answer:
        """Decide one question: an entity that does not exist is a deny that says so."""
        bundle = self.directory.bundle
        principal = self._find(asked.subject.type, asked.subject.id, asked.subject.properties)
        resource = self._find(asked.resource.type, asked.resource.id, asked.resource.properties)
        for role, found in (("subject", principal), ("resource", resource)):
            if found is None:
                return told(False, error=f"the {role} is not known here")
        shape = bundle.actions.get(asked.action.name)
        if shape is None:
            return told(False, error="the action is not known here")
        assert principal is not None
        assert resource is not None
        try:
            entities = bundle.entities(list({**principal[1], **resource[1]}.values()))
        except (ValueError, TypeError) as error:
            return told(False, error=str(error))
        decision = bundle.decide(
            principal[0],
            asked.action.name,
            resource[0],
            _of_action(shape, asked.action, asked.context),
            entities,
        )
        return _of(decision)

    def candidates(
        self, wanted: str, other: Subject | Resource
    ) -> tuple[list[Uid], Uid, Entities] | None:
        """Return every entity of the type, the fixed one, and all their entities.

        None where the type or the fixed entity is not held here.
        """
        kind = self.directory.type_of(wanted)
        fixed = self._find(other.type, other.id, other.properties)
        if kind is None or fixed is None or not self.directory.knows(*fixed):
            return None
        every = self.directory.every(self.reader, self.conn, kind, self.at)
        entities: Entities = {}
        for each in (*every.values(), fixed[1]):
            entities |= each
        return list(every), fixed[0], entities

    def allowed(
        self,
        pairs: list[tuple[Uid, Uid]],
        action: Action,
        context: Mapping[str, Any],
        entities: Entities,
    ) -> list[tuple[Uid, Uid]]:
        """Return those of the pairs, of a principal and a resource, that are allowed."""
        shape = self.directory.bundle.actions.get(action.name)
        if shape is None or not pairs:
            return []
        sent = _of_action(shape, action, context)
        questions = [Question(pair[0], action.name, pair[1], sent) for pair in pairs]
        decisions = self._decide(questions, entities)
        return [pair for pair, decision in zip(pairs, decisions, strict=True) if decision.allow]

    def actions(
        self, subject: Subject, resource: Resource, context: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        """Return the names of what the subject may do to the resource."""
        principal = self._find(subject.type, subject.id, subject.properties)
        target = self._find(resource.type, resource.id, resource.properties)
        if principal is None or target is None:
            return []
        if not (self.directory.knows(*principal) and self.directory.knows(*target)):
            return []
        questions = [
            Question(principal[0], name, target[0], _of_action(shape, Action(name), context))
            for name, shape in sorted(self.directory.bundle.actions.items())
            if principal[0].type in shape.principals and target[0].type in shape.resources
        ]
        decisions = self._decide(questions, {**principal[1], **target[1]})
        return [
            {"name": question.action}
            for question, decision in zip(questions, decisions, strict=True)
            if decision.allow
        ]

    def _decide(self, questions: list[Question], entities: Entities) -> list[Decision]:
        bundle = self.directory.bundle
        try:
            parsed = bundle.entities(list(entities.values()))
        except (ValueError, TypeError) as error:
            return [bundle.denied(str(error)) for _ in questions]
        return bundle.decide_many(questions, parsed)

    def _find(
        self, type: str, id: str, properties: Mapping[str, Any]
    ) -> tuple[Uid, Entities] | None:
        known = self.directory.type_of(type)
        if known is None:
            return None
        uid = Uid(known, id)
        found = self.directory.find(self.reader, self.conn, uid, properties, self.at)
        return None if found is None else (uid, found)


def _of_action(shape: ActionShape, action: Action, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context that the schema declares for an action.

    An action's property `x` is the context's `action_x`: Cedar's actions have none.
    """
    sent = {**context, **{f"action_{name}": said for name, said in action.properties.items()}}
    return {name: value for name, value in sent.items() if name in shape.context}


def _of(decision: Decision) -> Answer:
    context: dict[str, Any] = {
        "id": decision.id,
        "bundle_revision": decision.bundle_revision,
        "reasons": decision.reasons,
    }
    if decision.errors:
        context["error"] = {"message": "; ".join(decision.errors)}
    return Answer(decision.allow, context)


def told(decision: bool, *, error: str) -> Answer:
    """Return an answer that no policy made, with what is wrong."""
    return Answer(decision, {"error": {"message": error}})
