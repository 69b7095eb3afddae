"""Experiments judged at any moment: pooled by stratum, from sums that add up, within budgets of error kept apart."""

from __future__ import annotations

from homeostat.stats.experiments.bandit import thompson_weights
from homeostat.stats.experiments.judging import gates, judge, judge_summary, shares_of_budget
from homeostat.stats.experiments.models import ModelMetrics, model_metrics
from homeostat.stats.experiments.planning import ExperimentSize, UnitsNeeded, experiment_size
from homeostat.stats.experiments.reading import Reading, readings
from homeostat.stats.experiments.results import Check, Judgement, MetricJudgement
from homeostat.stats.experiments.simulation import (
    EvidencePaths,
    SimulatedExperiments,
    binomial_interval,
    evidence_paths,
    simulate,
)
from homeostat.stats.experiments.summary import MetricSummary, Summary
from homeostat.stats.experiments.units import MetricPlan, Plan, Units

__all__ = [
    "Check",
    "EvidencePaths",
    "ExperimentSize",
    "Judgement",
    "MetricJudgement",
    "MetricPlan",
    "MetricSummary",
    "ModelMetrics",
    "Plan",
    "Reading",
    "SimulatedExperiments",
    "Summary",
    "Units",
    "UnitsNeeded",
    "binomial_interval",
    "evidence_paths",
    "experiment_size",
    "gates",
    "judge",
    "judge_summary",
    "model_metrics",
    "readings",
    "shares_of_budget",
    "simulate",
    "thompson_weights",
]
