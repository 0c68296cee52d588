"""How this program starts its own modules as processes: never from the working directory.

`python -m` and `python -c` look for modules in the folder that they are started in first, so
that whoever can write there runs as the operator (`-P`: docs.python.org/3/using/cmdline.html).
`PYTHONPATH` does the same where it holds a relative or an empty entry.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds this package."""

_INSTALLED = {"site-packages", "dist-packages"}
_SAFE_PATH = "PYTHONSAFEPATH"


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules."""
    return (sys.executable, "-P", "-m", module, *arguments)


def code_command(code: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs `code`, which imports our modules."""
    return (sys.executable, "-P", "-c", code, *arguments)


def module_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return `environ` for a process of ours: `PYTHONPATH` names absolute folders only.

    A package that is not installed is found where this one was.
    """
    given = environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [each for each in given if Path(each).is_absolute()]
    if ROOT.name not in _INSTALLED and str(ROOT) not in folders:
        folders.append(str(ROOT))
    made = {name: value for name, value in environ.items() if name != "PYTHONPATH"}
    return {**made, "PYTHONPATH": os.pathsep.join(folders)} if folders else made


@contextmanager
def safe_interpreters() -> Iterator[None]:
    """Keep the working directory out of interpreters that the standard library starts meanwhile.

    `multiprocessing` builds its own command lines; they inherit this process's environment.
    """
    before = {name: os.environ.get(name) for name in (_SAFE_PATH, "PYTHONPATH")}
    environ = module_environment()
    os.environ[_SAFE_PATH] = "1"
    if "PYTHONPATH" in environ:
        os.environ["PYTHONPATH"] = environ["PYTHONPATH"]
    else:
        os.environ.pop("PYTHONPATH", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
