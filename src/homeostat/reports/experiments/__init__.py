"""The report of an experiment: what it is told from, and the page."""

from __future__ import annotations

from homeostat.reports.experiments.html import render_experiment
from homeostat.reports.experiments.story import Estimate, ExperimentStory, Look, Marked

__all__ = ["Estimate", "ExperimentStory", "Look", "Marked", "render_experiment"]
