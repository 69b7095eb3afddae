"""Tests of fixed samples, for reading: effect, interval and p-value of one look at a sample whose size was set before."""

from __future__ import annotations

from homeostat.stats.inference.counts import McNemarResult, ProportionsResult, mcnemar, two_proportions

__all__ = ["McNemarResult", "ProportionsResult", "mcnemar", "two_proportions"]
