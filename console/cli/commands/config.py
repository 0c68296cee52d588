"""`pilotctl config explain | path | init`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from console.cli.parser import Parser, add_common, common_of, no_such
from console.config.bindings import TABLES
from console.config.paths import config_file, local_home
from console.config.profile import Profile, load_profile, profile_names
from console.config.profile_settings import BY_NAME
from console.credentials.sources import describe
from console.errors import ExitCode
from console.model.stored import Page
from console.model.text import now

if TYPE_CHECKING:
    from console.cli.context import Context

_VERBS = ("explain", "path", "init")


class Explained(msgspec.Struct, kw_only=True):
    """One setting in force, and where it came from."""

    name: str
    value: str
    source: str
    help: str


def run(argv: list[str], context: Context) -> int:
    """Explain the settings, name the file, or write a first one."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output = context.output(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if namespace.verb not in _VERBS:
        raise no_such("verb", namespace.verb or "", _VERBS, see="")
    if namespace.verb == "explain":
        output.check(Explained)
        profile = context.profile(common)
        page = Page(as_of=now(), source=str(profile.file), items=_rows(profile, context))
        output.result(page, Page[Explained])
        return ExitCode.DONE
    file = _file(common.config, context)
    if namespace.verb == "init":
        _init(file, context)
    output.result({"file": str(file), "exists": file.exists()}, dict)
    return ExitCode.DONE


def parser_of(_name: str = "config") -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "pilotctl config",
        "explain: each setting and where it came from\n"
        "path:    where the configuration file is\n"
        "init:    write a first one (0600), for the services of `pilotctl up`",
    )
    parser.add_argument("verb", nargs="?", help=" | ".join(_VERBS))
    add_common(parser)
    return parser


def _rows(profile: Profile, context: Context) -> list[Explained]:
    names = ", ".join(profile_names(context.environ, config=str(profile.file)))
    rows = [
        Explained(
            name="profile", value=profile.name, source=profile.chosen_by, help=f"known: {names}"
        )
    ]
    for name, value in profile.values.items():
        shown = describe(value.value) if name == "token" else value.value
        rows.append(
            Explained(name=name, value=_shown(shown), source=value.source, help=BY_NAME[name].help)
        )
    return rows + [
        Explained(
            name=f"console.{each.table}.{each.name}",
            value=each.value,
            source=each.source,
            help=TABLES[each.table],
        )
        for each in profile.bindings
    ]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _file(named: str, context: Context) -> Any:
    from pathlib import Path  # noqa: PLC0415  # read with its neighbours, used once

    return Path(named).expanduser() if named else config_file(context.environ)


def _init(file: Any, context: Context) -> None:
    from console.config.write import create_config  # noqa: PLC0415  # only writing needs tomli_w

    run_folder = local_home(context.environ) / "run"
    profile = {api: f"unix:{run_folder}/{api}.sock" for api in ("policy", "gateway", "audit")} | {
        "tier": "development",
        "read_only": False,
    }
    document = {"default_profile": "local", "profiles": {"local": profile}}
    create_config(file, document, heading="pilotctl: see `pilotctl help profiles`")
    load_profile(context.environ, config=str(file))
