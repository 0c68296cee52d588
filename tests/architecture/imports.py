"""Reading the program's imports: which file of which room asks for which other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

CONSOLE = Path(__file__).parents[2] / "console"


class Edge(NamedTuple):
    """One file that imports another, at any time: also in a function, also for types."""

    importer: str
    """As a path below `console/`, and so is `imported`."""
    imported: str
    line: int

    @property
    def rooms(self) -> tuple[str, str]:
        """The rooms of both."""
        return room_of(self.importer), room_of(self.imported)


def room_of(path: str) -> str:
    """Return the folder of a file, or its own name where it lies at the top."""
    folder, _, name = path.rpartition("/")
    return folder or name.removesuffix(".py")


@cache
def files() -> dict[str, str]:
    """Return the text of each file by its path below `console/`."""
    return {
        path.relative_to(CONSOLE).as_posix(): path.read_text()
        for path in sorted(CONSOLE.rglob("*.py"))
    }


@cache
def edges() -> tuple[Edge, ...]:
    """Return every import of one of our files by another."""
    modules = {_module(path): path for path in files()}
    found = []
    for path, text in files().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    target = modules.get(f"{node.module}.{alias.name}", modules.get(node.module))
                    if target is not None:
                        found.append(Edge(path, target, node.lineno))
    return tuple(found)


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the sets of nodes that reach each other, each sorted (Tarjan's components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in list(graph):
        if node not in number:
            visit(node)
    return sorted(found)


def _module(path: str) -> str:
    return f"console.{path.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
