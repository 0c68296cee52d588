"""`pilotctl completion SHELL`: a script made from the registry, and the names that it asks for.

Words, flags and choices are in the script. Names (partners, grants, keys) come from what
lists have shown on this machine: completing never asks an API, a keyring or a token.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

import shtab

from console.cli.command_list import BUILTINS, HIDDEN
from console.cli.parser import Parser, add_common, common_of, no_such, operation_parser
from console.cli.topics import topics
from console.config.profile import profile_names
from console.errors import ExitCode, PilotError
from console.operations.index import NOUNS, find, load
from console.operations.spec import Kind, Operation, Param, fields

if TYPE_CHECKING:
    from console.cli.context import Context

SHELLS = ("bash", "zsh", "fish")

_INSTALL = """\
Print the script that completes pilotctl's words, flags and names in your shell.

bash:  pilotctl completion bash > ~/.local/share/bash-completion/completions/pilotctl
zsh:   pilotctl completion zsh > "${fpath[1]}/_pilotctl"
fish:  pilotctl completion fish > ~/.config/fish/completions/pilotctl.fish"""

_FUNCTION = {
    "bash": """\
{name}() {{
  local word profile="${{PILOTCTL_PROFILE:-}}" before=""
  for word in "${{COMP_WORDS[@]}}"; do
    case "$before" in --profile) profile="$word" ;; esac
    before="$word"
  done
  PILOTCTL_PROFILE="$profile" compgen -W "$(PILOTCTL_PROFILE="$profile" pilotctl {command} \
{kind} 2>/dev/null | cut -f1)" -- "$1"
}}
""",
    "zsh": """\
{name}() {{
  local at=${{words[(I)--profile]}} profile="${{PILOTCTL_PROFILE:-}}" line
  local -a found
  (( at )) && profile="${{words[at+1]}}"
  for line in "${{(@f)$(PILOTCTL_PROFILE="$profile" pilotctl {command} {kind} 2>/dev/null)}}"; do
    [[ -n "$line" ]] && found+=("${{${{line%%$'\\t'*}}//:/\\\\:}}:${{line#*$'\\t'}}")
  done
  _describe -V '{kind}' found
}}
""",
    "fish": """\
function {name}
  set -l profile $PILOTCTL_PROFILE
  set -l words (commandline -opc)
  if set -l at (contains -i -- --profile $words)
    set profile $words[(math $at + 1)]
  end
  PILOTCTL_PROFILE="$profile" pilotctl {command} {kind} 2>/dev/null
end
""",
}
"""What asks for names, in each shell. The profile is the one that the line names so far."""


def run(argv: list[str], context: Context) -> int:
    """Print the script for one shell."""
    parser = parser_of()
    namespace = parser.understood(argv[1:])
    output = context.output(common_of(namespace))
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if namespace.shell not in SHELLS:
        raise no_such("shell", namespace.shell or "", SHELLS, see=f"there are {', '.join(SHELLS)}")
    output.text(script(namespace.shell, _profiles(context)))
    return ExitCode.DONE


def parser_of(_name: str = "completion") -> Parser:
    """Return the parser of this command."""
    parser = Parser("pilotctl completion", _INSTALL)
    parser.add_argument("shell", nargs="?", help=" | ".join(SHELLS))
    add_common(parser)
    return parser


def script(shell: str, profiles: list[str]) -> str:
    """Return the completion script for `shell`: bash, zsh or fish."""
    root = argparse.ArgumentParser("pilotctl", allow_abbrev=False, add_help=False)
    commands = root.add_subparsers(dest="command")
    kinds: set[str] = set()
    for noun, (_, summary) in NOUNS.items():
        of_noun = commands.add_parser(noun, help=summary, description=summary, add_help=False)
        verbs = of_noun.add_subparsers(dest="verb")
        for op in load(noun):
            _graft(verbs, op.verb, op.summary, _described(op, kinds), profiles)
    for name, (module, summary) in BUILTINS.items():
        _graft(commands, name, summary, _by_hand(name, module), profiles)
    preamble = "".join(
        _FUNCTION[shell].format(name=_function(kind), kind=kind, command=next(iter(HIDDEN)))
        for kind in sorted(kinds)
    )
    return shtab.complete(root, shell=shell, preamble={shell: preamble})  # type: ignore[arg-type]


def _graft(
    into: Any, name: str, summary: str, parser: argparse.ArgumentParser, profiles: list[str]
) -> None:
    for action in parser._actions:  # argparse has no other way to read it back
        if "--profile" in action.option_strings and profiles:
            action.choices = profiles
    into.add_parser(name, help=summary, description=summary, add_help=False, parents=[parser])


def _described(op: Operation, kinds: set[str]) -> argparse.ArgumentParser:
    parser = operation_parser(op)
    params: dict[str, Param] = {field.name: field.param for field in fields(op)}
    for action in parser._actions:  # as in `_graft`
        _offer(action, params.get(action.dest), kinds)
    return parser


def _by_hand(name: str, module: str) -> argparse.ArgumentParser:
    made = getattr(import_module(module), "parser_of", None)
    parser: argparse.ArgumentParser = made(name) if made else Parser(f"pilotctl {name}")
    if made is None:
        words = [*topics(), *NOUNS, *BUILTINS] if name == "help" else []
        parser.add_argument("topic", nargs="?", help="a topic or a command").choices = words
    for action in parser._actions:  # as in `_graft`
        _offer(action, None, set())
    return parser


def _offer(action: argparse.Action, param: Param | None, kinds: set[str]) -> None:
    """Say what a shell may offer for one argument."""
    if param is not None and param.choices:
        action.choices = list(param.choices)
    elif param is not None and param.completes:
        (item,) = get_args(find(param.completes).result)
        kinds.add(item.__name__)
        action.complete = _names(item.__name__)  # type: ignore[attr-defined]
    elif action.metavar == "DIR" or (param is not None and param.kind is Kind.FOLDER):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif action.metavar in {"FILE", "PATH"}:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif " | " in (action.help or "") and action.nargs != 0:
        action.choices = (action.help or "").split(" | ")


def _names(kind: str) -> dict[str, str]:
    name = _function(kind)
    return {"bash": name, "zsh": name, "fish": f"({name})"}


def _function(kind: str) -> str:
    return f"_pilotctl_names_{kind.lower()}"


def _profiles(context: Context) -> list[str]:
    try:
        return profile_names(context.environ)
    except PilotError:
        return []
