"""The facts of a page are those of the control plane: read from whole systems in memory."""

from __future__ import annotations

import math

import pytest

from homeostat.dashboard.facts import CARD_HISTORY, HISTORY, PageFacts, read_all, read_facts
from homeostat.dashboard.pages import render_model, render_overview
from homeostat.errors import UnknownModel
from homeostat.records import Finding, Policy, Rollout, Stage
from homeostat.reports.format import percent
from homeostat.rollouts.rules import promotion_threshold
from homeostat.wiring import open_system


@pytest.fixture
def moving(small_systems):
    """A system whose second version answers a share of the traffic, after some labelled rows."""
    small = small_systems.small_system()
    small.drive(2)
    small.register(small_systems.fitted(cut=0.001))
    small.system.control.start_rollout("mail", 2, actor="ann", reason="it may be better")
    small.drive(3)
    return small


def page_of(small, *models) -> PageFacts:
    return PageFacts(models=list(models), now=small.clock.now(), simulated=True, version="0.2.0", server="here")


def test_facts_are_those_of_the_stores(moving):
    facts = read_facts(moving.system.control, "mail")
    records = moving.system.records(Finding, "mail")
    for check in HISTORY:
        mine = [finding for finding in facts.findings if finding.check == check]
        theirs = [finding for finding in records if finding.check == check]
        assert mine == theirs[-HISTORY[check] :]
    assert facts.status.production == 1
    assert facts.version == moving.system.registry.version("mail", 1)
    assert facts.rollouts == moving.system.records(Rollout, "mail")
    assert facts.decisions == moving.system.control.decisions("mail")
    assert [version.number for version in facts.versions] == [1, 2]
    assert facts.policy == moving.system.policy("mail")
    assert facts.routes == [facts.status.route]
    served = next(move for move in moving.system.control.stages("mail", 1) if move.target is Stage.PRODUCTION)
    assert facts.since == served.at


def test_a_whole_system_is_told_with_its_own_figures(moving, read):
    facts = read_facts(moving.system.control, "mail")
    page = read(render_model(page_of(moving, facts)))
    daily = [finding for finding in facts.findings if finding.check == "performance daily"][-1]
    assert f"mail is healthy: accuracy {percent(daily.statistic)} over the last day." in page.text
    assert f"{daily.window.rows} labelled rows, the last day" in page.text
    assert f"{facts.status.labelled} of {facts.status.rows} rows" in page.text
    rollout, evidence = facts.status.rollout, facts.experiments[-1].evidence
    assert rollout is not None
    assert "Rollout of version 2 over version 1" in page.section("rollout")
    assert "begun 3 Mar 2025, 08:02:00 3 min ago by ann" in page.section("rollout")
    assert "it may be better" in page.section("rollout")
    assert f"{evidence['pairs']} labelled pairs" in page.section("rollout")
    assert f"of the {math.exp(promotion_threshold(facts.policy or Policy())):.0f} that promotes it" in page.section(
        "rollout"
    )
    assert "v2 rollout began by ann it may be better" in page.section("decisions")
    assert "v1 put into production by test the first" in page.section("decisions")


def test_a_rollback_shows_in_its_own_words(moving, read):
    moving.system.control.abort("mail", actor="ann", reason="second thoughts")
    page = read(render_model(page_of(moving, read_facts(moving.system.control, "mail"))))
    assert "No rollout is under way." in page.section("rollout")
    assert "v2 over v1" in page.section("rollout")
    assert "aborted second thoughts" in page.section("rollout")
    assert "v2 rollout aborted by ann" in page.section("decisions")
    assert f"v1 answers {percent(1.0, 0)} of the traffic" in page.section("serving")


def test_a_harmed_model_opens_with_its_fall(small_systems, read):
    # Made with an accuracy that it never reaches again: every label is the other one.
    small = small_systems.small_system()
    small.drive(2)
    small.system.registry.install(
        "mail",
        small.register(small_systems.fitted(flipped=True)).number,
        at=small.clock.now(),
        actor="ann",
        reason="by mistake",
    )
    small.drive(4)
    facts = read_facts(small.system.control, "mail")
    page = read(render_model(page_of(small, facts)))
    assert (
        f"mail is degraded: accuracy {percent(0.0)} over the last day, and {percent(0.98)} when it was made."
        in page.text
    )
    assert facts.alerts
    assert "critical performance open" in page.section("alerts")
    assert "v1 promoted" not in page.section("decisions")
    assert "v2 promoted by ann by mistake" in page.section("decisions")


def test_an_unknown_model_is_an_error_that_names_the_others(moving):
    with pytest.raises(UnknownModel) as error:
        read_facts(moving.system.control, "spam")
    assert error.value.data["known"] == ["mail"]


def test_one_model_is_read_whole_and_several_as_cards(moving, read):
    control = moving.system.control
    assert read_all(control) == [read_facts(control, "mail")]

    class Two:
        """The same model under two names."""

        def __getattr__(self, name):
            return getattr(control, name)

        def status(self):
            return control.status() * 2

    cards = read_all(Two())
    assert len(cards) == 2
    assert cards[0].decisions == control.decisions("mail")[-1:]
    for check, most in CARD_HISTORY.items():
        assert sum(finding.check == check for finding in cards[0].findings) <= most
    text = read(render_overview(page_of(moving, *cards))).text
    assert "All 2 models are healthy." in text
    assert "rollout: v2 in" in text


def test_an_empty_server_has_no_models(small_systems, read):
    small = small_systems.small_system()
    system = open_system(small.system.settings, clock=small.clock, in_memory=True)
    assert read_all(system.control) == []
