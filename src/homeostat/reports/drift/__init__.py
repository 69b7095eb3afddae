"""Drift reports: the result object of `homeostat.compare` and how it looks as text and as a page."""

from __future__ import annotations

from homeostat.reports.drift.report import DriftReport

__all__ = ["DriftReport"]
