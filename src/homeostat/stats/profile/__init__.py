"""Mergeable summaries of windows of rows."""

from __future__ import annotations

from homeostat.stats.profile.builder import ProfileBuilder
from homeostat.stats.profile.categorical import CategoricalSummary
from homeostat.stats.profile.numeric import NumericSummary
from homeostat.stats.profile.profile import Profile, Summary
from homeostat.stats.profile.sample import RowSample
from homeostat.stats.profile.text import TextSummary

__all__ = [
    "CategoricalSummary",
    "NumericSummary",
    "Profile",
    "ProfileBuilder",
    "RowSample",
    "Summary",
    "TextSummary",
]
