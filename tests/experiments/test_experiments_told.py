"""What people are told of experiments: whole ids, how an undecided one ended, and whose buckets are taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from homeostat.cli.output import table
from homeostat.errors import ExperimentsDisagree
from homeostat.experiments.story import story_of
from homeostat.records import Arm, ExperimentDraft, ExperimentMetric, MetricRole

WHO = {"actor": "ann", "reason": "to know"}


def test_an_id_is_never_cut_short() -> None:
    narrow = Console(width=60)
    long = "the reason why, which goes on and on and on and on and on"
    with narrow.capture() as shown:
        narrow.print(table("", ["experiment", "a", "b", "why"], [["phishing-experiment-12", "weaker", long, long]]))
    assert "phishing-experiment-12" in shown.get()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown.get()


def test_what_ended_undecided_says_so_and_taken_buckets_say_whose(small_systems: Any) -> None:
    small = small_systems.small_system(small_systems.quiet_policy())
    try:
        orders, two = small.system.control, small.register(small_systems.fitted())
        draft = ExperimentDraft(
            model=small_systems.MODEL,
            name="try",
            arms=(Arm(name="control", version=1, weight=0.5), Arm(name="new", version=two.number, weight=0.5)),
            metrics=(ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),),
        )
        one = orders.create_experiment(draft, **WHO)
        with pytest.raises(ExperimentsDisagree, match=rf"{one.id} \(draft\)"):
            orders.create_experiment(ExperimentDraft(**{**_fields(draft), "name": "other"}), **WHO)
        orders.start_experiment(one.id, **WHO)
        small.drive(1)
        ended = orders.abort_experiment(one.id, actor="ann", reason="no time for it")
        story = story_of(ended, orders.decisions(small_systems.MODEL))
        page = story.to_html()
        assert "Given up" in page
        assert "How it ended</b> no time for it" in page
        assert "Still open" not in page
        assert "Still open" in replace(story, state="running").to_html()
    finally:
        small.system.close()


def _fields(draft: ExperimentDraft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in draft.__struct_fields__}
