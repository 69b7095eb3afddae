"""Tests of fixed samples, for reading: effect, interval and p-value of one look at a sample of a size set before.

Every result says its effect with the interval, the p-value beside it, and the rows it came from, in one sentence.
What is looked at again and again belongs in `homeostat.stats.sequential`.
"""

from __future__ import annotations

from homeostat.stats.inference.auc import delong
from homeostat.stats.inference.clusters import (
    ClusteredResult,
    clustered_difference,
    design_effect,
    entity_means,
    intraclass_correlation,
)
from homeostat.stats.inference.counts import McNemarResult, ProportionsResult, mcnemar, two_proportions
from homeostat.stats.inference.cuped import CupedResult, cuped
from homeostat.stats.inference.experiment import ArmComparison, ExperimentResult, analyze_experiment
from homeostat.stats.inference.margins import (
    MarginResult,
    equivalent_means,
    equivalent_proportions,
    non_inferior_means,
    non_inferior_proportions,
    score_interval,
)
from homeostat.stats.inference.means import (
    Moments,
    cohens_d,
    hedges_g,
    lift,
    minimum_effect,
    welch,
    welch_from_moments,
)
from homeostat.stats.inference.models import ModelComparison, compare_losses, compare_models, paired_interval
from homeostat.stats.inference.omnibus import anova, kruskal_wallis
from homeostat.stats.inference.paired import paired_t, sign_test, wilcoxon_signed_rank
from homeostat.stats.inference.planning import (
    SampleSize,
    sample_size,
    sample_size_mann_whitney,
    sample_size_mcnemar,
    sample_size_means,
    sample_size_proportions,
)
from homeostat.stats.inference.power import (
    detectable_effect,
    detectable_gain,
    detectable_rank_effect,
    detectable_share,
    power_mann_whitney,
    power_mcnemar,
    power_means,
    power_proportions,
    sequential_inflation,
)
from homeostat.stats.inference.proportions import (
    cohens_h,
    compare_proportions,
    newcombe_interval,
    odds_ratio,
    risk_ratio,
)
from homeostat.stats.inference.ranks import mann_whitney
from homeostat.stats.inference.results import Result
from homeostat.stats.inference.series import (
    SeriesResult,
    autocorrelation,
    newey_west_error,
    series_difference,
    series_mean,
)
from homeostat.stats.inference.tables import ChiSquareResult, SplitResult, chi_square, sample_ratio_mismatch

__all__ = [
    "ArmComparison",
    "ChiSquareResult",
    "ClusteredResult",
    "CupedResult",
    "ExperimentResult",
    "MarginResult",
    "McNemarResult",
    "ModelComparison",
    "Moments",
    "ProportionsResult",
    "Result",
    "SampleSize",
    "SeriesResult",
    "SplitResult",
    "analyze_experiment",
    "anova",
    "autocorrelation",
    "chi_square",
    "clustered_difference",
    "cohens_d",
    "cohens_h",
    "compare_losses",
    "compare_models",
    "compare_proportions",
    "cuped",
    "delong",
    "design_effect",
    "detectable_effect",
    "detectable_gain",
    "detectable_rank_effect",
    "detectable_share",
    "entity_means",
    "equivalent_means",
    "equivalent_proportions",
    "hedges_g",
    "intraclass_correlation",
    "kruskal_wallis",
    "lift",
    "mann_whitney",
    "mcnemar",
    "minimum_effect",
    "newcombe_interval",
    "newey_west_error",
    "non_inferior_means",
    "non_inferior_proportions",
    "odds_ratio",
    "paired_interval",
    "paired_t",
    "power_mann_whitney",
    "power_mcnemar",
    "power_means",
    "power_proportions",
    "risk_ratio",
    "sample_ratio_mismatch",
    "sample_size",
    "sample_size_mann_whitney",
    "sample_size_mcnemar",
    "sample_size_means",
    "sample_size_proportions",
    "score_interval",
    "sequential_inflation",
    "series_difference",
    "series_mean",
    "sign_test",
    "two_proportions",
    "welch",
    "welch_from_moments",
    "wilcoxon_signed_rank",
]
