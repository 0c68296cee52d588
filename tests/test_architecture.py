"""The arrows of the design, held by reading the code, and by counting what commands load.

`RULES` is the diagram: what each part may import of the others. Whatever is not in it is
refused, also inside a function, also for types.
"""

from __future__ import annotations

import ast
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "console"

RULES: dict[str, set[str]] = {
    "errors": set(),
    "programs": set(),
    "streams": set(),
    "private_files": set(),
    "parsing": {"streams"},
    "model": {"errors"},
    "api": {"errors", "model"},
    "trust": {"errors", "model", "programs", "private_files"},
    # trust: what an operation proves it checks itself, purely
    "operations": {"errors", "parsing", "streams", "model", "api", "trust"},
    "present": {"errors", "model", "operations"},
    "config": {"errors", "parsing", "model", "private_files"},
    "credentials": {"errors", "model", "config", "programs"},
    "net": {"errors", "model", "api", "credentials", "config"},
    "session": {
        "errors", "model", "api", "trust", "config", "credentials", "net",
        "private_files",
    },
    "services": {"errors", "parsing", "model", "api", "trust", "programs", "streams"},
    "cli": {
        "errors", "parsing", "model", "api", "operations", "present", "config", "credentials",
        "net", "session", "services", "programs", "streams", "private_files",
    },
    "tui": {
        "errors", "parsing", "model", "api", "operations", "present", "config", "credentials",
        "net", "session", "private_files",
    },
    "__main__": {"cli", "tui", "session", "config", "streams"},
}  # fmt: skip
"""Part to the parts that it may import, beside itself and the version."""

ONLY: dict[str, tuple[str, ...]] = {
    "httpx": ("net/",),
    "difflib": ("parsing/suggest.py",),
    "textual": ("tui/",),
    "rich": ("tui/",),
    "keyring": ("credentials/",),
    "tomli_w": ("config/",),
    "shtab": ("cli/commands/completion.py",),
    "aiohttp": ("services/",),
    "sqlalchemy": ("services/",),
    "cedarpy": ("services/cedar/engine.py",),
    "rfc8785": ("trust/canonical.py",),
    "cryptography": ("trust/", "services/"),
    "msgspec": (
        "model/", "api/", "operations/", "present/", "credentials/", "net/", "cli/",
        "tui/", "services/", "session/session.py", "session/pinned_log.py",
    ),
}  # fmt: skip
"""Library to the only places that may import it. Any other is not one of ours."""

STREAMS: dict[str, str] = {
    "cli/output.py": "stdout: every result",
    "cli/stderr.py": "stderr: everything for people",
    "streams.py": "stdout: help and --version, which must not wait for what results need",
    "credentials/keychain.py": "stdout of a process of its own, which the console reads",
    "tui/terminal/crash_report.py": "stderr, when the screen is gone",
    "services/failures.py": "stderr of a service: its log",
    "services/runner.py": "stderr of a service: its log",
    "services/supervisor/__main__.py": "stderr of the supervisor: its log",
    "services/supervisor/launch.py": "stderr of the supervisor: its log",
}
"""Who may write to a standard stream, and what."""

ASKING = {"isatty", "fileno", "encoding"}
"""What anyone may ask of a standard stream."""

BANNED = {"utils", "util", "helpers", "helper", "base", "manager", "managers", "common", "misc"}


class Import(NamedTuple):
    """One import: of which module, where, and whether it waits until it is needed."""

    module: str
    file: str
    line: int
    lazy: bool


def files() -> list[Path]:
    return sorted(CONSOLE.rglob("*.py"))


def here(path: Path) -> str:
    return path.relative_to(CONSOLE).as_posix()


def part(path: str) -> str:
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Return each file's syntax, parsed once for all rules and let go with the last of them."""
    return {here(path): ast.parse(path.read_text()) for path in files()}


@pytest.fixture(scope="module")
def imports(trees: dict[str, ast.Module]) -> list[Import]:
    return list(_read_imports(trees))


def _read_imports(trees: dict[str, ast.Module]) -> Iterator[Import]:
    for name, tree in trees.items():
        for node, lazy in walk(tree, lazy=False):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, name, node.lineno, lazy)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}:{node.lineno} imports relatively"
                module = node.module or ""
                for alias in node.names:
                    yield Import(f"{module}.{alias.name}", name, node.lineno, lazy)


def walk(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Walk the tree, telling what runs only when it is called, or only for the checker."""
    for child in ast.iter_child_nodes(node):
        waits = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            waits = True
        yield child, waits
        yield from walk(child, lazy=waits)


def test_imports_follow_the_arrows(imports):
    wrong = []
    for each in imports:
        top, _, rest = each.module.partition(".")
        if top != "console" or rest.split(".")[0] in {"", "__version__"}:
            continue
        target, own = rest.split(".")[0], part(each.file)
        if own != "__init__" and target not in RULES[own] | {own}:
            wrong.append(f"console/{each.file}:{each.line} imports {each.module}")
    assert not wrong, "\n".join(wrong)


def test_the_diagram_has_no_circle_and_names_every_part():
    order = list(TopologicalSorter(RULES).static_order())
    parts = {part(here(path)) for path in files()} - {"__init__"}
    assert parts <= set(order)


def test_the_fronts_do_not_know_each_other_and_the_services_know_neither(imports):
    assert not {"cli", "tui"} & (RULES["services"] | RULES["operations"] | RULES["session"])
    assert "tui" not in RULES["cli"]
    assert "cli" not in RULES["tui"]
    early = [
        f"console/{each.file}:{each.line}"
        for each in imports
        if each.module.startswith(("console.services", "console.cli.tour"))
        and part(each.file) != "services"
        and each.file != "cli/tour.py"
        and not (each.file.startswith("cli/commands/") and each.lazy)
    ]
    assert not early, "only `up`, `demo` and its tour may, when they run:\n" + "\n".join(early)


def test_each_library_is_imported_in_its_own_place(imports):
    wrong = []
    for each in imports:
        top = each.module.split(".")[0]
        if top in {"console", *sys.stdlib_module_names}:
            continue
        if not any(each.file.startswith(place) for place in ONLY.get(top, ())):
            wrong.append(f"console/{each.file}:{each.line} imports {top}")
    assert not wrong, "\n".join(wrong)


def test_standard_streams_have_single_writers(trees):
    wrong = []
    for name, tree in trees.items():
        if name in STREAMS:
            continue
        asked = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ASKING
        }
        # `terminal` asks through a function of its own
        asked |= {
            id(argument)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_is_tty"
            for argument in node.args
        }
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
            writes = (
                isinstance(node, ast.Attribute)
                and text in {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
                and id(node) not in asked
            ) or (
                isinstance(node, ast.Call)
                and text.startswith(("print(", "os.write(1", "os.write(2"))
            )
            if writes:
                wrong.append(f"console/{name}:{node.lineno} {text[:60]}")
    assert not wrong, "\n".join(wrong)


def test_modules_are_named_for_what_they_hold():
    named = {path.stem for path in CONSOLE.rglob("*")}
    assert not named & BANNED


def test_a_moment_always_has_a_zone(trees):
    wrong = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            naive = called.endswith(("datetime.utcnow", "datetime.today", "utcfromtimestamp"))
            zoneless = called.endswith("datetime.now") and not (node.args or node.keywords)
            at = (
                called.endswith("datetime.fromtimestamp")
                and len(node.args) + len(node.keywords) < 2
            )
            if naive or zoneless or at:
                wrong.append(f"console/{name}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


SPAWNS: dict[str, str] = {
    "credentials/sources.py": "the keyring's process, and the profile's own command",
    "cli/context.py": "the console, opened by the demo",
    "cli/commands/doctor.py": "what the console would do on this terminal",
    "cli/commands/demo_tour.py": "the tour's commands",
    "services/supervisor/launch.py": "the supervisor",
    "services/supervisor/child.py": "each service and point",
    "services/demo/stage.py": "the demo's traffic and guard",
    "services/audit/paging/delivery.py": "an on-call command: a program in the pilot's own folder",
    "trust/parallel_hashing.py": "workers of a log's verification, by multiprocessing",
}
"""Who may start a process, and which."""

STARTS = (
    "subprocess.", "create_subprocess_", "os.exec", "os.spawn", "os.posix_spawn", "os.system",
    "os.popen", "get_context", "multiprocessing.Process", "ProcessPoolExecutor",
)  # fmt: skip


def test_processes_are_started_in_known_places_and_never_from_the_working_directory(trees):
    wrong = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name not in SPAWNS:
                called = ast.unparse(node.func)
                if any(start in f"{called}(" for start in STARTS):
                    wrong.append(f"console/{name}:{node.lineno} starts a process: {called}")
            if name == "programs.py":
                continue
            # an interpreter of our own is started by `console.programs` alone
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if text == "sys.executable" or (
                isinstance(node, ast.Constant) and node.value in ("-m", "-c")
            ):
                wrong.append(f"console/{name}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)
    assert all((CONSOLE / name).exists() for name in SPAWNS)


# What each command loads.

LOADED = """
import json, os, sys
sys.argv = ["pilotctl", *sys.argv[1:]]
from console.__main__ import main
code = main()
with open(os.environ["LOADED_TO"], "w") as file:
    json.dump([code, sorted(sys.modules)], file)
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Run a command in a new interpreter; return its exit code and the modules that it loaded."""

    def run(*words: str, **environ: str) -> tuple[int, set[str]]:
        to = tmp_path / "loaded.json"
        subprocess.run(
            [sys.executable, "-c", LOADED, *words],
            cwd=ROOT,
            env={**os.environ, "LOADED_TO": str(to), **environ},
            capture_output=True,
            check=True,
            timeout=60,
        )
        code, modules = json.loads(to.read_text())
        return code, set(modules)

    return run


@pytest.fixture(scope="module")
def bare() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        check=True,
        text=True,
    )
    return set(json.loads(done.stdout))


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "console"}


def foreign(modules: set[str], bare: set[str]) -> set[str]:
    tops = {name.split(".")[0] for name in modules - bare}
    return {top for top in tops - sys.stdlib_module_names - {"console"} if not top.startswith("_")}


def test_version_loads_nothing_but_itself(loaded, bare):
    code, modules = loaded("--version")
    assert code == 0
    assert ours(modules) == {"console", "console.__main__", "console.streams"}
    assert not foreign(modules, bare)
    assert len(modules - bare) <= 20


def test_help_loads_the_table_of_contents_and_no_library(loaded, bare):
    code, modules = loaded("--help")
    assert code == 0
    assert "console.operations.index" in modules
    assert len(ours(modules)) <= 17
    assert not foreign(modules, bare)
    assert not modules & {"argparse", "asyncio", "ssl", "socket", "console.operations.spec"}
    assert len(modules - bare) <= 80


class _NoGrants(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"as_of":"2026-03-01T12:00:00Z","source":"policy","items":[]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        pass


class _Policy(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def policy_socket() -> Iterator[None]:
    """A policy API without grants, where the local profile looks for it."""
    run = Path(os.environ["XDG_STATE_HOME"]) / "pilotctl/local/run"
    run.mkdir(parents=True)
    with _Policy(str(run / "policy.sock"), _NoGrants) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("policy_socket")
def test_a_list_loads_its_own_noun_and_one_http_client(loaded, bare):
    code, modules = loaded("grant", "list")
    assert code == 0
    nouns = {path.stem for path in (CONSOLE / "operations").glob("*.py")}
    noun_modules = {f"console.operations.{noun}" for noun in nouns - {"index", "spec"}}
    from console.operations.index import NOUNS

    of_nouns = {module for module, _ in NOUNS.values()}
    assert of_nouns & modules & noun_modules == {"console.operations.grant"}
    assert not {name for name in ours(modules) if part(name.replace(".", "/")[8:]) == "tui"}
    assert not {name for name in modules if name.startswith("console.services")}
    heavy = {
        "textual", "rich", "keyring", "cryptography", "rfc8785", "tomli_w", "aiohttp",
        "sqlalchemy", "cedarpy", "click", "asyncio",
    }  # fmt: skip
    assert not heavy & {name.split(".")[0] for name in modules - bare}
    assert not {name for name in modules if name.startswith("console.trust.")}
    assert len(ours(modules)) <= 95
    assert len(modules - bare) <= 300
