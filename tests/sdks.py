"""The official SDKs, imported when a test first uses one.

Importing both takes longer than reading all other tests, and every worker reads every file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anthropic
    import openai
else:

    class _Sdk:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # what a reader of tests asks of everything it finds
                raise AttributeError(name)
            return getattr(import_module(self._name), name)

    anthropic = _Sdk("anthropic")
    openai = _Sdk("openai")

__all__ = ["anthropic", "openai"]
