"""To which upstream the calls for a model go."""

from __future__ import annotations

from collections.abc import Mapping

from console.services.gateway.point.upstream.upstream import UpstreamSpec


class Routing:
    """Where calls for a model go: where `[models]` says.

    Without any `[models]`, a single upstream gets every model by its own name. Otherwise a
    model that is not mapped goes nowhere: it would reach whichever upstream comes first.
    """

    def __init__(self, specs: Mapping[str, UpstreamSpec], models: Mapping[str, str]) -> None:
        self._specs = specs
        self._models = models
        self._only = next(iter(specs.values())) if len(specs) == 1 and not models else None

    def upstream_of(self, model: str) -> tuple[UpstreamSpec, str] | None:
        """Return a model's upstream, and what the model is called there; None where it has none."""
        target = self._models.get(model)
        if target is None:
            return None if self._only is None else (self._only, model)
        name, _, there = target.partition(":")
        return self._specs[name], there or model
