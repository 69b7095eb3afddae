"""Effects by segment: true to the rows, read from the log column by column, and without a say in the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from homeostat.errors import InvalidExperiment
from homeostat.experiments.story import story_of
from homeostat.frames import Columns
from homeostat.records import Arm, ExperimentDraft, ExperimentMetric, MetricRole

WHO = {"actor": "ann", "reason": "to know"}


def draft(small_systems: Any, candidate: int, **more: Any) -> ExperimentDraft:
    return ExperimentDraft(
        model=small_systems.MODEL,
        name="try",
        arms=(Arm(name="control", version=1, weight=0.5), Arm(name="new", version=candidate, weight=0.5)),
        metrics=(ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),),
        observation_seconds=0.0,
        label_seconds=30.0,
        minimum_units=20,
        **more,
    )


def served(small_systems: Any, *, segments: tuple[str, ...]) -> tuple[Any, Any, list[list[str]]]:
    """An experiment whose new arm is wrong where 0 < x < 0.3 alone; what it knows, and columns read."""
    small = small_systems.small_system(small_systems.quiet_policy())
    try:
        shifted = small.register(small_systems.fitted(cut=0.3))
        control = small.system.control
        one = control.create_experiment(draft(small_systems, shifted.number, segments=segments), **WHO)
        control.start_experiment(one.id, **WHO)
        scanned: list[list[str]] = []
        scan = small.system.log.scan

        def watched(model: str, columns: Any, **more: Any) -> Any:
            scanned.append(list(columns))
            return scan(model, columns, **more)

        small.system.log.scan = watched
        for round_ in range(3):
            x = np.tile([-0.9, -0.5, 0.2, 0.8], 10)
            ids = [f"{round_}-{place}" for place in range(len(x))]
            small.system.predict(small_systems.MODEL, Columns({"x": x}), ids=ids, entities=[f"e{one}" for one in ids])
            small.wait(20)
            small.system.label(small_systems.MODEL, ids, small_systems.truth(x).tolist())
            small.wait(20)
            small.system.tick()
        return control.experiment(one.id), control.decisions(small_systems.MODEL), scanned
    finally:
        small.system.close()


def test_the_table_by_segment_is_that_of_the_segments_rows(small_systems: Any) -> None:
    one, decisions, scanned = served(small_systems, segments=("x",))
    rows = one.evidence["by_segment"]
    assert [(row["feature"], row["segment"]) for row in rows] == [
        ("x", words) for words in ("at most -0.9", "above -0.9 to -0.5", "above -0.5 to 0.2", "above 0.2")
    ]
    # It is wrong in the third segment alone, and of units each has a quarter.
    assert [round(row["effect"], 6) for row in rows] == [0, 0, -1, 0]
    whole = one.evidence["readings"][0]
    assert [sum(row["units"][side] for row in rows) for side in (0, 1)] == whole["units"]
    assert all(min(row["units"]) > 0 for row in rows)
    # One column of the log, once for each look with new rows.
    assert scanned == [["prediction_id", "feature.x"]] * 3
    page = story_of(one, decisions).to_html()
    assert "x: above -0.5 to 0.2" in page
    assert "For reading only" in page


def test_segments_change_nothing_that_is_decided(small_systems: Any) -> None:
    split, _, _ = served(small_systems, segments=("x",))
    plain, _, scanned = served(small_systems, segments=())
    assert not scanned
    assert "by_segment" not in plain.evidence
    kept = {name: value for name, value in split.evidence.items() if name != "by_segment"}
    assert kept == plain.evidence
    assert (split.state, split.verdict, split.outcome) == (plain.state, plain.verdict, plain.outcome)


@pytest.mark.parametrize("segments", [("y",), ("x", "x"), ("a", "b", "c", "d")])
def test_segments_that_mean_nothing_are_refused(small_systems: Any, segments: tuple[str, ...]) -> None:
    small = small_systems.small_system(small_systems.quiet_policy())
    try:
        two = small.register(small_systems.fitted())
        with pytest.raises(InvalidExperiment, match="feature"):
            small.system.control.create_experiment(draft(small_systems, two.number, segments=segments), **WHO)
        assert small.system.control.experiments() == []
    finally:
        small.system.close()
