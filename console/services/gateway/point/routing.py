"""To which upstream the calls for a model go."""

from __future__ import annotations

from collections.abc import Mapping

from console.services.gateway.point.upstream import UpstreamSpec


class Routing:
    """Where calls for a model go."""

    def __init__(
        self, specs: Mapping[str, UpstreamSpec], models: Mapping[str, str], first: UpstreamSpec
    ) -> None:
        self._specs = specs
        self._models = models
        self._first = first

    def of(self, model: str) -> tuple[UpstreamSpec, str]:
        """Return the upstream of a model, and what the model is called there."""
        target = self._models.get(model)
        if target is None:
            return self._first, model
        name, _, there = target.partition(":")
        return self._specs[name], there or model
