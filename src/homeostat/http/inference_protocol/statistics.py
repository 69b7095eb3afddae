"""Triton's statistics of models: what was answered, how often and how fast, by version.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from homeostat.http.data_plane import DataPlane
from homeostat.http.metrics.statistics import VersionCounts
from homeostat.http.operations import Request
from homeostat.ports import ControlPlane

NANO = 1_000_000_000
MILLI = 1000


class Duration(msgspec.Struct, kw_only=True):
    """How many there were, and how many nanoseconds they took together."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(msgspec.Struct, kw_only=True):
    """Requests that were answered and that failed; the parts of their time are not measured one by one, and are 0."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(msgspec.Struct, kw_only=True):
    """What batches of one size took; not measured."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct, kw_only=True):
    """One version since the server began: `inference_count` are rows, `last_inference` milliseconds since 1970."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class StatisticsReply(msgspec.Struct, kw_only=True):
    """The versions asked for, those of one model in order."""

    model_stats: list[ModelStatistics]


class Statistics:
    """Answers from what the data plane counts anyway; of several worker processes together."""

    def __init__(
        self,
        plane: DataPlane,
        control: ControlPlane,
        counts: Callable[[], Mapping[tuple[str, int], VersionCounts]],
    ) -> None:
        self._plane = plane
        self._control = control
        self._counts = counts

    def all(self, _request: Request) -> StatisticsReply:
        """Every version that is served, or answered since the server began."""
        counts = self._counts()
        models = {model for model, _ in counts} | set(self._plane.gateway.held())
        return StatisticsReply(model_stats=[one for model in sorted(models) for one in self._of_model(model, counts)])

    def model(self, request: Request) -> StatisticsReply:
        """The same of one model. Raises `UnknownModel`."""
        model = request.path["model"]
        self._control.versions(model)
        return StatisticsReply(model_stats=self._of_model(model, self._counts()))

    def version(self, request: Request) -> StatisticsReply:
        """One version. Raises `UnknownModel` or `UnknownVersion`."""
        model, number = request.path["model"], request.path["version"]
        self._control.version(model, number)
        return StatisticsReply(model_stats=[_statistics(model, number, self._counts().get((model, number)))])

    def _of_model(self, model: str, counts: Mapping[tuple[str, int], VersionCounts]) -> list[ModelStatistics]:
        held = self._plane.gateway.held().get(model)
        served = {one.version.number for one in held.versions} if held is not None else set()
        numbers = served | {number for name, number in counts if name == model}
        return [_statistics(model, number, counts.get((model, number))) for number in sorted(numbers)]


def _statistics(model: str, number: int, counts: VersionCounts | None) -> ModelStatistics:
    counts = counts or VersionCounts()
    return ModelStatistics(
        name=model,
        version=str(number),
        last_inference=int(counts.last * MILLI),
        inference_count=counts.rows,
        execution_count=counts.executions,
        inference_stats=InferenceStatistics(
            success=Duration(count=counts.succeeded, ns=int(counts.succeeded_seconds * NANO)),
            fail=Duration(count=counts.failed, ns=int(counts.failed_seconds * NANO)),
            queue=Duration(),
            compute_input=Duration(),
            compute_infer=Duration(),
            compute_output=Duration(),
            cache_hit=Duration(),
            cache_miss=Duration(),
        ),
        batch_stats=[],
    )
