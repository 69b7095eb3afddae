"""Experiments judged at any moment: pooled by stratum, from sums that add up, within budgets of error kept apart."""

from __future__ import annotations

from homeostat.stats.experiments.judging import gates, judge, judge_summary, shares_of_budget
from homeostat.stats.experiments.results import Check, Judgement, MetricJudgement
from homeostat.stats.experiments.summary import MetricSummary, Summary
from homeostat.stats.experiments.units import MetricPlan, Plan, Units

__all__ = [
    "Check",
    "Judgement",
    "MetricJudgement",
    "MetricPlan",
    "MetricSummary",
    "Plan",
    "Summary",
    "Units",
    "gates",
    "judge",
    "judge_summary",
    "shares_of_budget",
]
