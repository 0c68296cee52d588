"""What an operation is: one value that every front interprets.

The CLI command, the palette entry, the form, the confirmation, the completion, the
reference and the "copy as command" line all come from the `Operation`. Nothing here
or in a noun's module knows a terminal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from console.api.flow import Flow
from console.model.enforcement import Blast
from console.model.grant import Gap
from console.model.operator import Direction, Role

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")


class Effect(StrEnum):
    """How much care an operation asks of its caller."""

    READ = "read"
    CHANGE = "change"
    DESTRUCTIVE = "destructive"


class Kind(StrEnum):
    """How a parameter is written by a person, so that each front can offer the right input.

    `when` is a time or a distance from now (`2027-02-01`, `90d`); `since` a distance
    back or a time; `duration` a length (`30d`, `72h`); `file` a path whose text is
    sent, `folder` one that is read on this machine; `limits` what `limits_text` reads; `money`
    an amount in units (`3.50`), which is micro-units to the program. The ids of a `subject`
    may come from `--ids-from -`.
    """

    TEXT = "text"
    LONG_TEXT = "long_text"
    SLUG = "slug"
    ID = "id"
    CHOICE = "choice"
    NUMBER = "number"
    FLAG = "flag"
    WHEN = "when"
    SINCE = "since"
    DURATION = "duration"
    NETWORK = "network"
    FILE = "file"
    FOLDER = "folder"
    STAGE = "stage"
    LIMITS = "limits"
    MONEY = "money"


class Param(msgspec.Struct, frozen=True):
    """What the fronts must know of a parameter beyond its name, type and default."""

    help: str
    kind: Kind = Kind.TEXT
    completes: str = ""
    """The id of the list operation whose rows (`slug`, else `id`) are its values."""
    positional: bool = False
    metavar: str = ""
    repeats: bool = False
    """A list: the flag may be given again, or once with commas."""
    choices: tuple[str, ...] = ()
    flag: str = ""
    """The flag's name without dashes, where it is not the field's own (`capability`)."""
    asked: bool = False
    """It may be left out, but it is what the verb is for: a form asks where none such is known."""


class Field(NamedTuple):
    """One parameter of an operation, ready for a parser or a form."""

    name: str
    type: Any
    param: Param
    required: bool
    default: Any

    @property
    def flag(self) -> str:
        """What a person calls it: `capability`, `not-before`."""
        return self.param.flag or self.name.replace("_", "-")


class Section(msgspec.Struct, frozen=True):
    """A heading of a plan and its lines: `What ends`, `What stays`, `What is missing`."""

    title: str
    lines: list[str]


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What an operation will do, said before it is done.

    Where `name` is not empty it must be typed to confirm: always for a destructive
    effect, and for a change that turned out to reach far. `revision` is what the plan was
    made on, sent as If-Match; `subject` the object as it was then, so that a conflict can
    show the difference. `partners` is the blast radius in partners.
    """

    title: str
    sections: list[Section] = []
    gaps: list[Gap] = []
    name: str = ""
    name_is_guess: bool = False
    """Whoever knows the usual name could not be asked: another one is as good a confirmation."""
    revision: int | None = None
    subject: Any = None
    partners: int = 0
    irreversible: str = ""
    blast: Blast | None = None
    """What a closing verb ends, as it was counted; several plans can be summed by it."""


class Operation(NamedTuple):
    """One verb. `run` takes its parameters and the plan it was confirmed on."""

    id: str
    title: str
    effect: Effect
    direction: Direction
    role: Role
    params: type[msgspec.Struct]
    result: Any
    """The result's type: a struct, or `Page[struct]` for a list."""
    run: Callable[[Any, Plan | None], Flow[Any]]
    plan: Callable[[Any], Flow[Plan]] | None
    summary: str
    """The first line of the docstring."""
    help: str
    key: str = ""
    """The default key in the console, for the some 25 everyday verbs."""
    subject: str = ""
    """The noun of the row that it acts on (`grant`), where it acts on one."""
    converges: bool = False
    """Ends later than its request is answered: takes --wait, --timeout, --no-wait."""
    secret: str = ""
    """The member of the result that is a secret: the front hands it over, never prints it."""

    @property
    def noun(self) -> str:
        """The first word of the command."""
        return self.id.split(".")[0]

    @property
    def verb(self) -> str:
        """The second word of the command."""
        return self.id.split(".")[1]

    @property
    def awaited_api(self) -> str:
        """The API that is waited for where it is just starting again; empty: none.

        Closing is one write at the gateway: it does not fail because that is restarting.
        """
        return "gateway" if self.direction is Direction.CLOSES else ""


def operation(
    id: str,
    *,
    title: str,
    result: Any,
    effect: Effect = Effect.READ,
    direction: Direction = Direction.NEUTRAL,
    role: Role = Role.VIEWER,
    plan: Callable[[Any], Flow[Plan]] | None = None,
    key: str = "",
    subject: str = "",
    converges: bool = False,
    secret: str = "",
) -> Callable[[Callable[[Any, Plan | None], Flow[Any]]], Operation]:
    """Make the decorated flow function the operation `id`.

    The function's first parameter is annotated with the name of the parameter struct, which
    its module defines before it; its docstring is the help. A change without a plan is a
    mistake in the program: ValueError.
    """
    if effect is not Effect.READ and plan is None:
        raise ValueError(f"{id} changes things, so it needs a plan")

    def made(run: Callable[[Any, Plan | None], Flow[Any]]) -> Operation:
        text = inspect.cleandoc(run.__doc__ or "")
        # Looked up, and not evaluated: starting a command waits for this.
        params = getattr(run, "__globals__")[next(iter(run.__annotations__.values()))]  # noqa: B009
        return Operation(
            id, title, effect, direction, role, params, result, run, plan,
            text.split("\n", 1)[0], text, key, subject, converges, secret,
        )  # fmt: skip

    return made


def fields(op: Operation) -> list[Field]:
    """Return the operation's parameters in order, positional ones as they are written."""
    out = []
    for field, hint in _declared(op.params):
        param = next((a for a in get_args(hint)[1:] if isinstance(a, Param)), None)
        if param is None or get_origin(hint) is not Annotated:
            raise TypeError(f"{op.id}: parameter {field.name} has no Param")
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        out.append(Field(field.name, get_args(hint)[0], param, field.required, default))
    return out


@cache
def _declared(params: type) -> list[tuple[Any, Any]]:
    # annotations are compiled each time they are read: milliseconds of each look at a screen
    hints = get_type_hints(params, include_extras=True)
    return [(field, hints[field.name]) for field in msgspec.structs.fields(params)]
