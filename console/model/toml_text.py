"""TOML out of a file that a person wrote: whatever is wrong with it is one error."""

from __future__ import annotations

import tomllib
from typing import Any


def toml_table(text: str) -> dict[str, Any]:
    """Return the table of a TOML document. Raises `tomllib.TOMLDecodeError`.

    Python's reader leaves a number of more than 4,300 digits and deep nesting to other errors.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise tomllib.TOMLDecodeError("a number in it has too many digits") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from error
