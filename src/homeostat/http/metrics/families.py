"""Metrics by name, and families of samples that any scraper can read whatever they are labelled with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from prometheus_client import Metric

LONGEST_LABEL = 200
DIGEST = 8
# Parsers stop at some control characters; a newline they escape.
CONTROLS = {code: "\ufffd" for code in (*range(32), 127) if code != ord("\n")}

# `untyped` is for names that end in _total by custom, but whose value may fall.
Kind = Literal["counter", "gauge", "histogram", "untyped"]


@dataclass(frozen=True, slots=True)
class Described:
    """A metric: its name, its kind, the names of its labels, and what it means."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


def label_value(value: object) -> str:
    """A value as a label may have it: valid UTF-8 without control characters, at most 200 characters long.

    What is cut off is replaced by a digest, so that two long names stay two.

    >>> label_value("a" * 1000)[-12:]
    'aaa…41edece4'
    """
    text = str(value)
    if len(text) > LONGEST_LABEL:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGEST]
        text = f"{text[: LONGEST_LABEL - DIGEST - 1]}…{digest}"
    return text.encode("utf-8", "replace").decode("utf-8").translate(CONTROLS)


def number_of(value: Any) -> float | None:
    """A finite number as it is, anything else as `None`: what is not known is left out."""
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


class Families:
    """Collects samples of described metrics; a sample whose labels are there already is left out."""

    def __init__(self, described: Iterable[Described]) -> None:
        self._described = {one.name: one for one in described}
        self._samples: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in self._described}

    def add(self, name: str, value: Any, *labels: object) -> None:
        """Add a sample, where there is a finite value."""
        number = number_of(value)
        if number is not None:
            self._samples[name].setdefault(tuple(label_value(label) for label in labels), number)

    def families(self) -> list[Metric]:
        """The metrics that have samples, in the order in which they were described."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, UntypedMetricFamily

        makers: dict[str, Any] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "untyped": UntypedMetricFamily,
        }
        found: list[Metric] = []
        for name, samples in self._samples.items():
            if not samples:
                continue
            one = self._described[name]
            family = makers[one.kind](name, one.meaning, labels=one.labels)
            for labels, value in samples.items():
                family.add_metric(labels, value)
            found.append(family)
        return found
