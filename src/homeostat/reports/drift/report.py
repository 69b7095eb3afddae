"""What `homeostat.compare` found, to be read by people and programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeostat.stats.drift.comparison import DriftComparison, FeatureDrift
from homeostat.stats.profile import Profile

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A comparison of two tables: the decision, its reasons feature by feature, and both profiles.

    It shows itself in a notebook, and prints as text. `methods` holds the further measures that were asked for, by
    feature and name; `together` what tests of several features at once found, by name; `lost` the columns that could
    not be compared, with the reason, and `added` those that the reference does not have.
    """

    comparison: DriftComparison
    reference: Profile
    current: Profile
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    together: Mapping[str, Any] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether the current table as a whole drifted."""
        return self.comparison.drifted

    @property
    def verdict(self) -> str:
        """`healthy`, `harmed`, `insufficient` or `no_data`."""
        return self.comparison.verdict

    @property
    def severity(self) -> str:
        """`none`, `low`, `medium`, `high` or `critical`."""
        return self.comparison.severity

    @property
    def features(self) -> dict[str, FeatureDrift]:
        """Each feature's drift by its name."""
        return self.comparison.features

    @property
    def words(self) -> str:
        """What changed and how much, in a sentence or two."""
        return self.comparison.words

    @property
    def advice(self) -> str:
        """Whether it matters for the model, and what to do."""
        return self.comparison.advice

    def ranked(self) -> list[FeatureDrift]:
        """The features: drifted ones first, the strongest first."""
        severities = ("none", "low", "medium", "high", "critical")
        return sorted(
            self.features.values(), key=lambda one: (not one.drifted, -severities.index(one.severity), -one.effect)
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the profiles as plain values, fit for JSON; what is not known or not finite is `None`."""
        found = self.comparison
        return {
            "drifted": self.drifted,
            "verdict": self.verdict,
            "severity": self.severity,
            "words": self.words,
            "advice": self.advice,
            "preset": found.preset,
            "level": found.level,
            "share_drifted": found.share_drifted,
            "strength": found.strength,
            "rows": {"reference": found.reference_rows, "current": found.rows},
            "lost": dict(self.lost),
            "added": list(self.added),
            "features": {
                one.name: {
                    **{name: _plain(getattr(one, name)) for name in FeatureDrift.__slots__ if name != "name"},
                    **(
                        {"methods": {name: _plain(result) for name, result in self.methods[one.name].items()}}
                        if one.name in self.methods
                        else {}
                    ),
                }
                for one in self.ranked()
            },
            "together": {name: _plain(result) for name, result in self.together.items()},
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """One row a feature, drifted ones first, as a pandas frame."""
        import pandas as pd

        rows = [{name: getattr(one, name) for name in FeatureDrift.__slots__} for one in self.ranked()]
        frame = pd.DataFrame(rows, columns=list(FeatureDrift.__slots__))
        for method in sorted({name for results in self.methods.values() for name in results}):
            frame[method] = [_estimate(self.methods.get(one.name, {}).get(method)) for one in self.ranked()]
        return frame

    def to_text(self) -> str:
        """The report as text for a terminal or a mail."""
        from homeostat.reports.drift.text import render_text

        return render_text(self)

    def to_html(self) -> str:
        """The report as one page of HTML that needs nothing else."""
        from homeostat.reports.drift.html import render_page

        return render_page(self)

    def save_html(self, path: str | Path) -> Path:
        """Write the report as one HTML file, with the distributions of both sides drawn over each other."""
        target = Path(path)
        target.write_text(self.to_html(), encoding="utf-8")
        return target

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from homeostat.reports.drift.html import render_fragment

        return render_fragment(self)


def _plain(value: Any) -> Any:
    """A result as JSON has it: numbers of numpy as numbers, what is not finite as `None`, dataclasses as objects."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)


def _estimate(result: Any) -> float | None:
    return None if result is None else float(result.estimate)
