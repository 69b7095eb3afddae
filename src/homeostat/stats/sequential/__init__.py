"""Inference that stays valid however often it is looked at: e-values, betting and e-detectors.

An e-value has expectation at most 1 while the null hypothesis holds, at every stopping time, so by Ville's inequality
"act once E ≥ 1/α" is wrong with probability at most α over the whole run, whoever looks and whenever. All evidence
here is returned as a natural logarithm, so that hour-long streams neither overflow nor vanish.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024); Shin, Ramdas and
Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (2023); Robbins, "Statistical methods
related to the law of the iterated logarithm" (1970), for the mixture.
"""

from __future__ import annotations

from homeostat.stats.sequential.betting import betting_log_evidence
from homeostat.stats.sequential.losses import LossDetector, change_point, loss_detector
from homeostat.stats.sequential.paired import paired_log_evidence

__all__ = ["LossDetector", "betting_log_evidence", "change_point", "loss_detector", "paired_log_evidence"]
