"""The OpenID AuthZEN Authorization API 1.0, answered by the bundle in force.

Its own manners, apart from the strict writes beside it: members that are not known are
ignored, whatever is wrong with a request is 400, a deny is 200, and a search that finds
nobody is an empty list. Its addresses are `http:` on a Unix socket, where the standard
asks for `https:`: nothing of it leaves the machine.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from console.api import authzen as routes
from console.api.problems import refusal
from console.model.policy import Action, Answer, Evaluation, Resource, Subject
from console.services.policy.decisions.directory import Directory
from console.services.policy.decisions.questions import Look, told
from console.services.policy.judging.facts import Reader
from console.services.store import Store
from console.services.web import Ask, Web

T = TypeVar("T")

MAX_EVALUATIONS = 1000
MAX_RESULTS = 1000
_SEMANTICS = {
    "execute_all": None,
    "deny_on_first_deny": False,
    "permit_on_first_permit": True,
}
"""To each semantic the decision that ends the batch."""


class Target(msgspec.Struct, frozen=True):
    """What a search looks for: a type. An id, where one is sent, is ignored."""

    type: str
    properties: dict[str, Any] = {}


class PageAsked(msgspec.Struct, frozen=True):
    """Which part of the results is wanted."""

    token: str = ""
    limit: int = MAX_RESULTS
    properties: dict[str, Any] = {}


class Api:
    """The six routes, over one directory and the store."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def mount(self, web: Web) -> None:
        """Serve the routes. Bodies are read here: the standard's rules are not ours."""
        web.mount_async(routes.EVALUATION._replace(body=None), self.evaluation)
        web.mount_async(routes.EVALUATIONS, self.evaluations)
        web.mount_async(routes.SEARCH_SUBJECT, self.search_subject)
        web.mount_async(routes.SEARCH_RESOURCE, self.search_resource)
        web.mount_async(routes.SEARCH_ACTION, self.search_action)
        web.mount_async(routes.CONFIGURATION, self.configuration)

    async def evaluation(self, ask: Ask) -> Answer:
        """Decide one question."""
        asked = _read(_object(ask), Evaluation)
        return await self._store.read(lambda conn: self._look(conn, ask.now).answer(asked))

    async def evaluations(self, ask: Ask) -> Answer | dict[str, list[Answer]]:
        """Decide several questions, in order. Without any it is one question."""
        body = _object(ask)
        items = body.get("evaluations", [])
        if not isinstance(items, list):
            raise _bad("evaluations: must be an array")
        if not items:
            return await self.evaluation(ask)
        if len(items) > MAX_EVALUATIONS:
            raise _bad(f"evaluations: at most {MAX_EVALUATIONS} at once")
        ends = _semantic(body)
        _defaults(body)

        def decide(conn: Connection) -> list[Answer]:
            look, answers = self._look(conn, ask.now), []
            for item in items:
                answers.append(_each(look, body, item))
                if answers[-1].decision is ends:
                    break
            return answers

        return {"evaluations": await self._store.read(decide)}

    async def search_subject(self, ask: Ask) -> dict[str, Any]:
        """Find who may do it."""
        body = _object(ask)
        wanted = _member(body, "subject", Target)
        action = _member(body, "action", Action)
        resource = _member(body, "resource", Resource)
        context = _context(body)

        def search(conn: Connection) -> list[dict[str, str]]:
            look = self._look(conn, ask.now)
            found = look.candidates(wanted.type, resource)
            if found is None:
                return []
            candidates, fixed, entities = found
            pairs = [(uid, fixed) for uid in candidates]
            allowed = look.allowed(pairs, action, context, entities)
            return [{"type": wanted.type, "id": pair[0].id} for pair in allowed]

        return _page(body, await self._store.read(search))

    async def search_resource(self, ask: Ask) -> dict[str, Any]:
        """Find to what it may be done."""
        body = _object(ask)
        subject = _member(body, "subject", Subject)
        action = _member(body, "action", Action)
        wanted = _member(body, "resource", Target)
        context = _context(body)

        def search(conn: Connection) -> list[dict[str, str]]:
            look = self._look(conn, ask.now)
            found = look.candidates(wanted.type, subject)
            if found is None:
                return []
            candidates, fixed, entities = found
            pairs = [(fixed, uid) for uid in candidates]
            allowed = look.allowed(pairs, action, context, entities)
            return [{"type": wanted.type, "id": pair[1].id} for pair in allowed]

        return _page(body, await self._store.read(search))

    async def search_action(self, ask: Ask) -> dict[str, Any]:
        """Find what may be done."""
        body = _object(ask)
        subject = _member(body, "subject", Subject)
        resource = _member(body, "resource", Resource)
        context = _context(body)
        return _page(
            body,
            await self._store.read(
                lambda conn: self._look(conn, ask.now).actions(subject, resource, context)
            ),
        )

    async def configuration(self, ask: Ask) -> dict[str, str]:
        """Say where everything is."""
        base = f"{ask.request.scheme}://{ask.request.host}"
        return {
            "policy_decision_point": base,
            "access_evaluation_endpoint": base + routes.EVALUATION.path,
            "access_evaluations_endpoint": base + routes.EVALUATIONS.path,
            "search_subject_endpoint": base + routes.SEARCH_SUBJECT.path,
            "search_resource_endpoint": base + routes.SEARCH_RESOURCE.path,
            "search_action_endpoint": base + routes.SEARCH_ACTION.path,
        }

    def _look(self, conn: Connection, at: datetime) -> Look:
        return Look(self._directory, conn, Reader(conn), at)


def _each(look: Look, body: Mapping[str, Any], item: Any) -> Answer:
    """Decide one of several; what is wrong with it alone is its own deny."""
    try:
        return look.answer(msgspec.convert(_merged(body, item), Evaluation))
    except (msgspec.ValidationError, TypeError) as error:
        return told(False, error=str(error))


def _merged(body: Mapping[str, Any], item: Any) -> dict[str, Any]:
    """Return one evaluation: a member that it names stands for itself, whole (AuthZEN §7.1.1)."""
    if not isinstance(item, dict):
        raise TypeError("an evaluation must be an object")
    names = ("subject", "action", "resource", "context")
    return {name: item.get(name, body.get(name)) for name in names if name in item or name in body}


def _defaults(body: Mapping[str, Any]) -> None:
    """Refuse defaults that are no objects: then the whole payload is wrong."""
    for name in ("subject", "action", "resource", "context"):
        if name in body and not isinstance(body[name], dict):
            raise _bad(f"{name}: must be an object")


def _semantic(body: Mapping[str, Any]) -> bool | None:
    options = body.get("options", {})
    if not isinstance(options, dict):
        raise _bad("options: must be an object")
    said = options.get("evaluations_semantic", "execute_all")
    if not isinstance(said, str) or said not in _SEMANTICS:
        raise _bad(f"options.evaluations_semantic: must be one of {', '.join(_SEMANTICS)}")
    return _SEMANTICS[said]


def _page(body: Mapping[str, Any], results: list[dict[str, str]]) -> dict[str, Any]:
    """Return the wanted part of the results. A token holds for this very question only."""
    page = _read(body["page"], PageAsked) if "page" in body else PageAsked()
    if page.limit < 1:
        raise _bad("page.limit: must be 1 or more")
    limit = min(page.limit, MAX_RESULTS)
    question = {name: value for name, value in body.items() if name != "page"}
    digest = hashlib.sha256(msgspec.json.encode(question, order="sorted")).hexdigest()[:16]
    last = _opened(page.token, digest) if page.token else ""
    rest = [each for each in results if _key(each) > last]
    part = rest[:limit]
    more = len(rest) > limit
    return {
        "results": part,
        "page": {"next_token": _closed(_key(part[-1]), digest) if more else "", "count": len(part)},
    }


def _key(result: Mapping[str, str]) -> str:
    return result.get("id") or result.get("name", "")


def _closed(last: str, digest: str) -> str:
    return base64.urlsafe_b64encode(f"{digest}{last}".encode()).decode()


def _opened(token: str, digest: str) -> str:
    try:
        told = base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        told = ""
    if not told.startswith(digest):
        raise _bad("page.token: not one that this question was given")
    return told.removeprefix(digest)


def _object(ask: Ask) -> dict[str, Any]:
    if ask.request.content_type != "application/json":
        raise _bad("the content type must be application/json")
    try:
        body = msgspec.json.decode(ask.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _bad("the body must be an object")
    return body


def _member(body: Mapping[str, Any], name: str, type: type[T]) -> T:
    if name not in body:
        raise _bad(f"{name}: is required")
    return _read(body[name], type, name)


def _context(body: Mapping[str, Any]) -> dict[str, Any]:
    context = body.get("context", {})
    if not isinstance(context, dict):
        raise _bad("context: must be an object")
    return context


def _read(value: Any, type: type[T], name: str = "") -> T:
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise _bad(f"{name}: {error}" if name else str(error)) from None


def _bad(why: str) -> Exception:
    return refusal("malformed", why)
