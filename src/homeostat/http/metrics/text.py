"""The answer to a scrape, in the format that the scraper asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from homeostat.http.metrics.server import ServerMetrics
from homeostat.http.metrics.state import StateCollector

if TYPE_CHECKING:
    from prometheus_client import Metric

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPEN_METRICS_VERSIONS = ("", "0.0.1", "1.0.0")


def exposition(server: ServerMetrics, state: StateCollector | None = None, accept: str = "") -> tuple[bytes, str]:
    """Everything there is to scrape, and its content type: OpenMetrics where `accept` prefers it, else plain text.

    Reading the state may wait for the store, so call it in a thread.
    """
    families = [*server.collect(), *(state.collect() if state is not None else ())]
    if _prefers_open_metrics(accept):
        from prometheus_client.openmetrics import exposition as openmetrics

        content: bytes = openmetrics.generate_latest(_Collected(families))  # type: ignore[no-untyped-call]
        return content, OPEN_METRICS
    from prometheus_client import generate_latest

    return generate_latest(_Collected(families)), PLAIN


class _Collected:
    """Families that were collected already, as the writers want them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _prefers_open_metrics(accept: str) -> bool:
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *rest = (word.strip() for word in part.split(";"))
        parameters: dict[str, Any] = dict(word.split("=", 1) for word in rest if "=" in word)
        name = kind.lower()
        if name not in best or (name != "text/plain" and parameters.get("version", "") not in OPEN_METRICS_VERSIONS):
            continue
        try:
            weight = float(parameters.get("q", 1))
        except ValueError:
            continue
        best[name] = max(best[name], weight)
    return 0 < best["application/openmetrics-text"] >= best["text/plain"]
