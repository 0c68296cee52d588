"""The policy bundle in force: the one that ships, or the folder that the settings name."""

from __future__ import annotations

from pathlib import Path

from console.services.cedar.engine import CedarBundle

SHIPPED = Path(__file__).parent / "policies"
"""The pilot's own policies and schema, package data."""


def bundle_in(folder: Path | None = None) -> CedarBundle:
    """Load the bundle of `folder`, the shipped one where it is None.

    Raises PilotError `bundle-invalid` where it does not validate.
    """
    return CedarBundle.load(folder or SHIPPED)
