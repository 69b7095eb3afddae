"""Inference that stays valid however often it is looked at: e-values, betting and e-detectors.

An e-value has expectation at most 1 while the null hypothesis holds, at every stopping time, so by Ville's inequality
"act once E ≥ 1/α" is wrong with probability at most α over the whole run, whoever looks and whenever. All evidence
here is returned as a natural logarithm, so that hour-long streams neither overflow nor vanish.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024); Shin, Ramdas and
Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (2023); Robbins, "Statistical methods
related to the law of the iterated logarithm" (1970), for the mixture.
"""

from __future__ import annotations

from homeostat.stats.sequential.asymptotic import (
    AsymptoticDifference,
    AsymptoticMean,
    asymptotic_difference,
    asymptotic_mean,
)
from homeostat.stats.sequential.betting import betting_log_evidence
from homeostat.stats.sequential.bounded import BoundedMean, bounded_log_evidence, bounded_mean
from homeostat.stats.sequential.budget import AlphaBudget
from homeostat.stats.sequential.evalues import (
    DiscoveryResult,
    ELond,
    average_log_evidence,
    e_bh,
    e_to_p,
    p_to_log_e,
    product_log_evidence,
    running_p,
)
from homeostat.stats.sequential.losses import LossDetector, change_point, loss_detector
from homeostat.stats.sequential.noninferiority import (
    NonInferiority,
    NonInferiorityResult,
    noninferiority_log_evidence,
)
from homeostat.stats.sequential.normal_mixture import (
    normal_mixture_bound,
    normal_mixture_log_evidence,
    normal_mixture_rho,
)
from homeostat.stats.sequential.paired import paired_log_evidence
from homeostat.stats.sequential.paired_difference import (
    PairedDifference,
    paired_difference_interval,
    paired_difference_log_evidence,
)
from homeostat.stats.sequential.quantiles import Quantile, QuantileDifference, quantile_log_evidence
from homeostat.stats.sequential.result import SequencePath, SequentialResult
from homeostat.stats.sequential.sample_ratio import SampleRatio, SampleRatioResult, sample_ratio_log_evidence
from homeostat.stats.sequential.shares import Share, share_interval, share_log_evidence
from homeostat.stats.sequential.two_bernoulli import TwoBernoulli, two_bernoulli_log_evidence

__all__ = [
    "AlphaBudget",
    "AsymptoticDifference",
    "AsymptoticMean",
    "BoundedMean",
    "DiscoveryResult",
    "ELond",
    "LossDetector",
    "NonInferiority",
    "NonInferiorityResult",
    "PairedDifference",
    "Quantile",
    "QuantileDifference",
    "SampleRatio",
    "SampleRatioResult",
    "SequencePath",
    "SequentialResult",
    "Share",
    "TwoBernoulli",
    "asymptotic_difference",
    "asymptotic_mean",
    "average_log_evidence",
    "betting_log_evidence",
    "bounded_log_evidence",
    "bounded_mean",
    "change_point",
    "e_bh",
    "e_to_p",
    "loss_detector",
    "noninferiority_log_evidence",
    "normal_mixture_bound",
    "normal_mixture_log_evidence",
    "normal_mixture_rho",
    "p_to_log_e",
    "paired_difference_interval",
    "paired_difference_log_evidence",
    "paired_log_evidence",
    "product_log_evidence",
    "quantile_log_evidence",
    "running_p",
    "sample_ratio_log_evidence",
    "share_interval",
    "share_log_evidence",
    "two_bernoulli_log_evidence",
]
