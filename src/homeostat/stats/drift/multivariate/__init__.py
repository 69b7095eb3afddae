"""Tests that look at all features of two samples of rows at once; `compare_samples` is the default."""

from homeostat.stats.drift.multivariate.classifier import Culprit, DomainResult, domain_classifier
from homeostat.stats.drift.multivariate.compare import FeatureShift, SamplesComparison, compare_samples
from homeostat.stats.drift.multivariate.matrix import DesignMatrices, design_matrix
from homeostat.stats.drift.multivariate.mmd import MmdResult, mmd
from homeostat.stats.drift.multivariate.pca import ReconstructionResult, pca_reconstruction

__all__ = [
    "Culprit",
    "DesignMatrices",
    "DomainResult",
    "FeatureShift",
    "MmdResult",
    "ReconstructionResult",
    "SamplesComparison",
    "compare_samples",
    "design_matrix",
    "domain_classifier",
    "mmd",
    "pca_reconstruction",
]
