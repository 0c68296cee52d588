"""The rooms inside the services and the screen: their arrows, their circles and their size."""

from __future__ import annotations

from collections import Counter
from graphlib import TopologicalSorter

from tests.architecture.imports import circles, edges, files, room_of
from tests.architecture.rooms import ROOMS

MAX_FILES = 20


def test_the_rooms_have_an_order_and_each_folder_is_one():
    order = set(TopologicalSorter(ROOMS).static_order())
    there = {
        room_of(path)
        for path, text in files().items()
        if path.startswith(("services/", "tui/")) and text
    }
    assert there == set(ROOMS) == order


def test_a_room_imports_only_what_the_diagram_allows():
    wrong = [
        f"{edge.importer}:{edge.line} imports {edge.imported}"
        for edge in edges()
        if set(edge.rooms) <= set(ROOMS)
        and edge.rooms[0] != edge.rooms[1]
        and edge.rooms[1] not in ROOMS[edge.rooms[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_reaches_itself_by_its_imports():
    graph: dict[str, set[str]] = {path: set() for path in files()}
    for edge in edges():
        graph[edge.importer].add(edge.imported)
    assert circles(graph) == []


def test_circles_are_found_by_their_whole_set_of_files():
    graph = {
        "a": ["b"],
        "b": ["c"],
        "c": ["a", "d"],
        "d": ["e"],
        "e": ["e"],
        "f": ["g"],
        "g": ["f"],
    }
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_no_folder_holds_more_files_than_a_reader_takes_in():
    sizes = Counter(room_of(path) for path in files() if not path.endswith("__init__.py"))
    many = {room: size for room, size in sizes.items() if size > MAX_FILES}
    assert set(many) <= {"model", "operations"}, "these two become a folder for each noun"


def test_the_point_knows_nothing_of_policy_and_the_supervisor_nothing_of_the_demo():
    apart = (
        ("services/gateway/point/", "services/policy/"),
        ("services/supervisor/", "services/demo/"),
    )
    wrong = {
        (edge.importer, edge.imported)
        for edge in edges()
        for importer, imported in apart
        if edge.importer.startswith(importer) and edge.imported.startswith(imported)
    }
    assert wrong == set()
