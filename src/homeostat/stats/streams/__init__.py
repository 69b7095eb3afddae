"""Detectors of changes in streams of losses, behind one interface, each with the run length that it promises.

`EDetector` is the default: a guaranteed average run length for any losses in [0, 1], and delays close to the best
possible for several sizes of change at once. `Cusum` is for a change whose size is known. The detectors of River take
part through `homeostat.connectors.river`.

Sources: Page, "Continuous inspection schemes" (1954); Lorden, "Procedures for reacting to a change in distribution"
(1971); Moustakides, "Optimal stopping times for detecting changes in distributions" (1986); Brook and Evans, "An
approach to the probability distribution of CUSUM run length" (1972); Shin, Ramdas and Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection" (2023).
"""

from __future__ import annotations

from homeostat.stats.streams.alarms import last_change
from homeostat.stats.streams.cusum import Cusum, cusum_run_length
from homeostat.stats.streams.detector import Alarm, StreamDetector
from homeostat.stats.streams.edetector import EDetector, RunLength
from homeostat.stats.streams.reference import Baseline, reference_baseline

__all__ = [
    "Alarm",
    "Baseline",
    "Cusum",
    "EDetector",
    "RunLength",
    "StreamDetector",
    "cusum_run_length",
    "last_change",
    "reference_baseline",
]
